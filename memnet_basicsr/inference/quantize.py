"""Post-training quantization of exported networks to int8."""
import contextlib
import logging
import tempfile
from os import path as osp

from ..errors import UsageError
from .file_list import list_files
from .image_io import SUFFIXES, read_image_file
from .restorer import Restorer

SIDE, MOST = 128, 48  # pixels and number of the crops that ranges are taken from


def calibration_inputs(net, description, folder):
    """Calibration inputs for the ranges of the activations.

    Args:
        net (nn.Module): Network in evaluation mode.
        description (dict): Its description.
        folder (str): Low-quality images, such as the network is for; at most 48 are read, evenly spaced.

    Returns:
        list[ndarray]: float32, (1, c, h, w), of the centers of the images.

    Raises:
        UsageError: If the folder has no images, or one cannot be read.
    """
    files = list_files([folder], SUFFIXES).images
    restorer, inputs = Restorer(net, description, device='cpu'), []
    restorer.net.register_forward_pre_hook(lambda _, args: inputs.append(args[0].numpy()))
    scale = (description.get('scale') or [1])[0]
    for path, _ in files[::-(-len(files) // MOST)]:
        pixels = read_image_file(path).pixels
        top, left = (max(v - SIDE, 0) // 2 for v in pixels.shape[:2])
        restorer(pixels[top:top + SIDE, left:left + SIDE], scale)
    return inputs


def quantize(content, inputs):
    """Quantize every convolution of a network to int8 except the first and the last ones.

    Activations are quantized per tensor, weights per output channel; sums between convolutions stay float.

    Args:
        content (bytes): ONNX model.
        inputs (list[ndarray]): See :func:`calibration_inputs`.

    Returns:
        bytes: ONNX model with QuantizeLinear and DequantizeLinear nodes.

    Raises:
        UsageError: If the package onnxruntime is missing.
    """
    try:
        import onnx
        from onnxruntime import quantization
    except ImportError as error:
        raise UsageError(f'quantizing needs the package {error.name} (pip install onnx onnxruntime)') from None

    class Reader(quantization.CalibrationDataReader):

        def __init__(self):
            self.inputs = iter(inputs)

        def get_next(self):
            img = next(self.inputs, None)
            return None if img is None else {'lq': img}

    model = onnx.load_from_string(content)
    with tempfile.TemporaryDirectory() as folder, _no_warnings():
        path = osp.join(folder, 'int8.onnx')
        quantization.quantize_static(
            model,
            path,
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=['Conv'],
            nodes_to_exclude=_outer_convolutions(model.graph.node),
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            extra_options={'OpTypesToExcludeOutputQuantization': ['Conv']})
        with open(path, 'rb') as f:
            return f.read()


@contextlib.contextmanager
def _no_warnings():
    """Silence the advice to run other tools first, which onnxruntime logs as warnings of the root logger."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _outer_convolutions(nodes):
    """Names of the first and the last convolutions of the graph."""
    names = set()
    for ordered, sources, targets in ((nodes, 'input', 'output'), (reversed(nodes), 'output', 'input')):
        reached = set()  # tensors on the other side of a convolution
        for node in ordered:
            behind = any(v in reached for v in getattr(node, sources))
            if node.op_type == 'Conv' and not behind:
                names.add(node.name)
            if behind or node.op_type == 'Conv':
                reached.update(getattr(node, targets))
    return sorted(names)
