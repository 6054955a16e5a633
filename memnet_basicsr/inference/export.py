import json
import torch

from ..atomic_file import write_atomically
from ..errors import UsageError
from .backends import Engine, is_installed
from .onnx_graph import TOLERANCE, to_onnx
from .weights import KEY, load_network


def export_onnx(source, path, opset=17):
    """Export the inference form of a network of a weights file to ONNX, see :func:`to_onnx`.

    The caller prepares the input as the network expects it (range [0, 1], channels, enlarged for super-resolution by
    MemNet, padded). The description is stored as metadata ``memnet_basicsr``. If onnxruntime is installed, its outputs
    for images of several sizes are compared with those of torch.

    Args:
        source (str): Path, bundled name or address of weights.
        path (str): ``.onnx`` file.
        opset (int): ONNX operator set version. Default: 17.

    Returns:
        dict: ``difference``, the largest to torch (None without onnxruntime), and ``multiple``, the number of pixels
            that both sides of an image must be multiples of.

    Raises:
        UsageError: If the package onnx is missing, or the outputs of the exported network differ.
    """
    net, description = load_network(source)
    graph = to_onnx(net, description['network_g'], opset)
    graph = graph._replace(content=_described(graph.content, description))
    difference = _difference(net, graph)
    if difference is not None and not difference <= TOLERANCE:
        raise UsageError(
            f'{path}: not written, because the exported {description["network_g"]["type"]} differs from torch '
            f'by {difference:.2g} (for images of other sizes than the traced one)')
    write_atomically(path, graph.content)
    return {'difference': difference, 'multiple': graph.multiple}


def _described(content, description):
    """Add the description to an ONNX model."""
    import onnx
    model = onnx.load_from_string(content)
    model.metadata_props.add(key=KEY, value=json.dumps(description))
    onnx.checker.check_model(model)
    return model.SerializeToString()


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
