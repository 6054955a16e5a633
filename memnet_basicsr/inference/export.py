import inspect
import io
import json
import math
import numpy as np
import torch
import warnings
from torch.overrides import TorchFunctionMode

from ..atomic_file import write_atomically
from ..errors import UsageError
from .inference import declared_multiple
from .restorer import input_channels
from .weights import KEY, load_network

# largest difference to torch that passes, on images in [0, 1]; float32 does not allow much less
TOLERANCE = 1e-4


def export_onnx(source, path, opset=17):
    """Export the network of a weights file to ONNX: input ``lq``, output ``out``, (n, c, h, w), all but c dynamic.

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
    try:
        import onnx
    except ImportError:
        raise UsageError('the export needs the package onnx (pip install onnx)') from None
    net, description = load_network(source)
    channels = input_channels(net, description['network_g'])
    multiple = _needed_multiple(net, channels)
    # sizes that need padding, so that the padding of networks that pad by themselves is exported too
    sizes = [(1, 20, 28), (2, 36, 60), (1, 45, 33)] if multiple == 1 else \
        [(n, h * multiple, w * multiple) for n, h, w in ((1, 2, 3), (2, 4, 5), (1, 3, 2))]
    images = [torch.rand(n, channels, h, w, generator=torch.Generator().manual_seed(0)) for n, h, w in sizes]

    model = onnx.load_from_string(_export(net, images[0], opset))
    model.metadata_props.add(key=KEY, value=json.dumps(description))
    onnx.checker.check_model(model)
    content = model.SerializeToString()
    difference = _difference(net, content, images)
    if difference is not None and not difference <= TOLERANCE:
        raise UsageError(
            f'{path}: not written, because the exported {description["network_g"]["type"]} differs from torch '
            f'by {difference:.2g} (for images of other sizes than the traced one)')
    write_atomically(path, content)
    return {'difference': difference, 'multiple': multiple}


class UnflattenAsReshape(TorchFunctionMode):
    """Replace ``unflatten`` by a reshape, whose trace does not hold the sizes as constants."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is not torch.Tensor.unflatten:
            return func(*args, **(kwargs or {}))
        x, dim, sizes = args
        shape, sizes = list(x.shape), list(sizes)
        if -1 in sizes:
            sizes[sizes.index(-1)] = shape[dim] // math.prod(v for v in sizes if v != -1)
        dim %= len(shape)
        return x.reshape(shape[:dim] + sizes + shape[dim + 1:])


def _export(net, img, opset):
    options = {
        'input_names': ['lq'],
        'output_names': ['out'],
        'opset_version': opset,
        'dynamic_axes': {
            'lq': {
                0: 'n',
                2: 'h',
                3: 'w'
            },
            'out': {
                0: 'n',
                2: 'h_out',
                3: 'w_out'
            }
        }
    }
    # the newer exporter needs another package and does not support padding that depends on the size
    if 'dynamo' in inspect.signature(torch.onnx.export).parameters:
        options['dynamo'] = False
    buffer = io.BytesIO()
    with torch.no_grad(), UnflattenAsReshape(), warnings.catch_warnings():
        # it warns about its age and about branches that depend on the size, which the comparison covers
        warnings.simplefilter('ignore')
        torch.onnx.export(net, (img, ), buffer, **options)
    return buffer.getvalue()


@torch.no_grad()
def _needed_multiple(net, channels):
    """Number that sides must be multiples of, found by trying, since networks that declare one may pad themselves."""
    for multiple in (1, declared_multiple(net), 2, 4, 8, 16, 32, 64):
        height, width = (21, 29) if multiple == 1 else (3 * multiple, 5 * multiple)
        try:
            net(torch.zeros(1, channels, height, width))
            return multiple
        except (RuntimeError, AssertionError) as error:
            reason = str(error)
    raise UsageError(f'the network fails even if both sides are multiples of 64: {reason}')


@torch.no_grad()
def _difference(net, content, images):
    """Largest difference of ONNX to torch; infinite if ONNX fails, None without onnxruntime."""
    try:
        import onnxruntime
    except ImportError:
        return None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(content, options, providers=['CPUExecutionProvider'])
    largest = 0.
    for img in images:
        want = net(img).numpy()
        try:
            out, = session.run(None, {'lq': img.numpy()})
        except Exception:  # onnxruntime's exceptions share no base class
            return float('inf')
        if out.shape != want.shape:
            return float('inf')
        largest = max(largest, float(np.abs(out - want).max()))
    return largest
