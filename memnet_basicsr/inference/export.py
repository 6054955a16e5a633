import math
import torch

from ..atomic_file import write_atomically
from ..errors import UsageError
from .backends import Engine, is_installed
from .onnx_graph import TOLERANCE, describe_graph, to_onnx
from .quantize import calibration_inputs, quantize
from .weights import load_network


def export_onnx(source, path, opset=17, calibrate=None):
    """Export the inference form of a network of a weights file to ONNX, see :func:`to_onnx`.

    The caller prepares the input as the network expects it (range [0, 1], channels, enlarged for super-resolution by
    MemNet, padded). The description is stored as metadata ``memnet_basicsr``. If onnxruntime is installed, its outputs
    for images of several sizes are compared with those of torch.

    Args:
        source (str): Path, bundled name or address of weights.
        path (str): ``.onnx`` file.
        opset (int): ONNX operator set version. Default: 17.
        calibrate (str | None): Folder of low-quality images: quantize to int8, see :func:`quantize`. Default: None.

    Returns:
        dict: ``difference``, the largest to torch (None without onnxruntime), before quantizing; ``multiple``, the
            number of pixels that both sides of an image must be multiples of; and ``psnr``, of the outputs in int8 to
            those in fp32 (None without ``calibrate``).

    Raises:
        UsageError: If a package is missing, the outputs of the exported network differ, or there are no images.
    """
    net, description = load_network(source)
    graph = to_onnx(net, description['network_g'], opset)
    difference = _difference(net, graph)
    if difference is not None and not difference <= TOLERANCE:
        raise UsageError(
            f'{path}: not written, because the exported {description["network_g"]["type"]} differs from torch '
            f'by {difference:.2g} (for images of other sizes than the traced one)')
    psnr = None
    if calibrate is not None:
        inputs = calibration_inputs(net, description, calibrate)
        exact, graph = graph, graph._replace(content=quantize(graph.content, inputs))
        psnr = _psnr(*(Engine('onnxruntime', v) for v in (graph, exact)), inputs)
    write_atomically(path, describe_graph(graph, description))
    return {'difference': difference, 'multiple': graph.multiple, 'psnr': psnr}


def _psnr(one, two, inputs):
    """PSNR in dB between the outputs of two networks, clipped to [0, 1]."""
    errors = [(one(v).clamp(0, 1) - two(v).clamp(0, 1)).square().mean() for v in map(torch.from_numpy, inputs)]
    return -10 * math.log10(max(torch.stack(errors).mean().item(), 1e-12))


@torch.no_grad()
def _difference(net, graph):
    """Largest difference of ONNX Runtime to torch; infinite if it fails, None if it is not installed."""
    if not is_installed('onnxruntime'):
        return None
    largest = 0.
    try:
        engine = Engine('onnxruntime', graph)
        for img in graph.images():
            out, want = engine(img), net(img)
            largest = max(largest, float((out - want).abs().max()) if out.shape == want.shape else float('inf'))
    except UsageError:
        return float('inf')
    return largest
