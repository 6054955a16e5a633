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

# largest difference to torch that passes, on pictures in [0, 1]: far below one gray level of 16 bit is not to be had
TOLERANCE = 1e-4


def export_onnx(source, path, opset=17):
    """Write the network of a weights file as ONNX: input ``lq`` and output ``out``, (n, c, h, w), all but c dynamic.

    The picture goes in as the network takes it (range [0, 1], channels, enlarged for MemNet's super-resolution); tiles,
    colour and padding are the caller's. The description goes along as metadata ``memnet_basicsr``. Where onnxruntime is
    installed, the file is run on pictures of several sizes and must give what torch gives.

    Args:
        source (str): Path, packaged name or address of weights.
        path (str): ``.onnx`` file.
        opset (int): Version of the operator set. Default: 17.

    Returns:
        dict: ``difference``, the largest to torch (None without onnxruntime), and ``multiple``, of which both sides of
            a picture must be multiples.

    Raises:
        UsageError: If the package onnx is missing, or the exported network is not the same.
    """
    try:
        import onnx
    except ImportError:
        raise UsageError('the export needs the package onnx (pip install onnx)') from None
    net, description = load_network(source)
    channels = input_channels(net, description['network_g'])
    multiple = _needed_multiple(net, channels)
    # sizes that a network which pads by itself has to pad, so that the padding is exported too
    sizes = [(1, 20, 28), (2, 36, 60), (1, 45, 33)] if multiple == 1 else \
        [(n, h * multiple, w * multiple) for n, h, w in ((1, 2, 3), (2, 4, 5), (1, 3, 2))]
    pictures = [torch.rand(n, channels, h, w, generator=torch.Generator().manual_seed(0)) for n, h, w in sizes]

    model = onnx.load_from_string(_export(net, pictures[0], opset))
    model.metadata_props.add(key=KEY, value=json.dumps(description))
    onnx.checker.check_model(model)
    content = model.SerializeToString()
    difference = _difference(net, content, pictures)
    if difference is not None and not difference <= TOLERANCE:
        raise UsageError(
            f'{path}: not written, since the exported {description["network_g"]["type"]} differs from torch '
            f'by {difference:.2g} (on pictures of other sizes than the one it was traced with)')
    write_atomically(path, content)
    return {'difference': difference, 'multiple': multiple}


class UnflattenAsReshape(TorchFunctionMode):
    """While open, ``unflatten`` is a reshape: its trace would hold the sizes as constants, a reshape's does not."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is not torch.Tensor.unflatten:
            return func(*args, **(kwargs or {}))
        x, dim, sizes = args
        shape, sizes = list(x.shape), list(sizes)
        if -1 in sizes:
            sizes[sizes.index(-1)] = shape[dim] // math.prod(v for v in sizes if v != -1)
        dim %= len(shape)
        return x.reshape(shape[:dim] + sizes + shape[dim + 1:])


def _export(net, picture, opset):
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
    # the newer exporter wants one more package and cannot follow padding that depends on the size
    if 'dynamo' in inspect.signature(torch.onnx.export).parameters:
        options['dynamo'] = False
    buffer = io.BytesIO()
    with torch.no_grad(), UnflattenAsReshape(), warnings.catch_warnings():
        # it warns that it is the older one, and at every decision that depends on the size; the check is the judge
        warnings.simplefilter('ignore')
        torch.onnx.export(net, (picture, ), buffer, **options)
    return buffer.getvalue()


@torch.no_grad()
def _needed_multiple(net, channels):
    """What sides must be multiples of; found by trying: networks that declare one may pad by themselves."""
    for multiple in (1, declared_multiple(net), 2, 4, 8, 16, 32, 64):
        height, width = (21, 29) if multiple == 1 else (3 * multiple, 5 * multiple)
        try:
            net(torch.zeros(1, channels, height, width))
            return multiple
        except (RuntimeError, AssertionError) as error:
            reason = str(error)
    raise UsageError(f'the network takes no picture of sides that are multiples of 64: {reason}')


@torch.no_grad()
def _difference(net, content, pictures):
    """Largest difference of ONNX to torch; infinite where ONNX fails, None without onnxruntime."""
    try:
        import onnxruntime
    except ImportError:
        return None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(content, options, providers=['CPUExecutionProvider'])
    largest = 0.
    for picture in pictures:
        want = net(picture).numpy()
        try:
            out, = session.run(None, {'lq': picture.numpy()})
        except Exception:  # onnxruntime's exceptions share no base class of their own
            return float('inf')
        if out.shape != want.shape:
            return float('inf')
        largest = max(largest, float(np.abs(out - want).max()))
    return largest
