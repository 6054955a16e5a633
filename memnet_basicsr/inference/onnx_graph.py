"""Networks as ONNX graphs, for files and for the backends."""
import inspect
import io
import json
import math
import torch
import warnings
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from typing import NamedTuple

from .. import fast
from ..errors import UsageError, first_line
from .description import check_description
from .inference import declared_multiple
from .weights import KEY, input_channels

# largest difference to torch that passes, on images in [0, 1]; float32 does not allow much less
TOLERANCE = 1e-4


class Graph(NamedTuple):
    """An exported network.

    Args:
        content (bytes): ONNX model: input ``lq``, output ``out``, (n, c, h, w), all but c dynamic.
        channels (int): Channels of the input.
        multiple (int): Number of pixels that both sides of an image must be multiples of.
    """
    content: bytes
    channels: int
    multiple: int

    def images(self):
        """Images of several sizes to check the graph with, also such that the network pads itself."""
        sizes = [(1, 20, 28), (2, 36, 60), (1, 45, 133)] if self.multiple == 1 else \
            [(n, h * self.multiple, w * self.multiple) for n, h, w in ((1, 2, 3), (2, 4, 5), (1, 3, 2))]
        generator = torch.Generator().manual_seed(0)
        return [torch.rand(n, self.channels, h, w, generator=generator) for n, h, w in sizes]


def to_onnx(net, network_opt, opset=17):
    """Export the inference form of a network: BatchNorm folded, gates accumulated, without concatenations.

    Args:
        net (nn.Module): Network in evaluation mode.
        network_opt (dict): Its ``network_g``.
        opset (int): ONNX operator set version. Default: 17.

    Returns:
        Graph: The exported network.

    Raises:
        UsageError: If the package onnx is missing, or the network cannot be exported.
    """
    channels, declared = input_channels(net, network_opt), declared_multiple(net)
    form = fast.inference(net)
    graph = Graph(b'', channels, _needed_multiple(form, channels, declared))
    return graph._replace(content=_export(form, graph.images()[0], opset))


def describe_graph(graph, description):
    """Add the description of a network to its graph.

    Args:
        graph (Graph): Exported network.
        description (dict): See :func:`describe`.

    Returns:
        bytes: ONNX model.
    """
    import onnx
    model = onnx.load_from_string(graph.content)
    onnx.helper.set_model_props(model, {KEY: json.dumps(description), 'size_multiple': str(graph.multiple)})
    onnx.checker.check_model(model)
    return model.SerializeToString()


def read_graph(path):
    """Read a file of :func:`export_onnx`.

    Args:
        path (str): ``.onnx`` file.

    Returns:
        tuple: :class:`Graph` and description (dict).

    Raises:
        UsageError: If the file is missing, damaged or has no description, or the package onnx is missing.
    """
    try:
        import onnx
        with open(path, 'rb') as f:
            content = f.read()
        model = onnx.load_from_string(content)
        found = {v.key: v.value for v in model.metadata_props}
        channels = model.graph.input[0].type.tensor_type.shape.dim[1].dim_value
        graph, description = Graph(content, channels, int(found['size_multiple'])), json.loads(found[KEY])
    except ImportError:
        raise UsageError(f'weights {path}: exported networks need the package onnx (pip install onnx)') from None
    except OSError as error:
        raise UsageError(f'weights {path}: cannot be read ({error.strerror})') from None
    except KeyError:
        raise UsageError(f'weights {path}: has no description; export it with scripts/export_onnx.py') from None
    except Exception:  # onnx does not say which errors it raises
        raise UsageError(f'weights {path}: is damaged; export it again with scripts/export_onnx.py') from None
    return graph, check_description(description, f'weights {path}: the description')


class DynamicSizes(TorchFunctionMode):
    """Replace functions whose trace would hold sizes as constants, or that the exporter does not know."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch.Tensor.unflatten:
            return _unflatten(*args)
        if func is torch.Tensor.unfold:
            return _tiles(*args)
        if func is F.adaptive_avg_pool2d and isinstance(args[1], tuple) and isinstance(args[1][0], torch.Tensor):
            return _adaptive_mean(*args)
        return func(*args, **(kwargs or {}))


def _unflatten(x, dim, sizes):
    shape, sizes = list(x.shape), list(sizes)
    if -1 in sizes:
        sizes[sizes.index(-1)] = shape[dim] // math.prod(v for v in sizes if v != -1)
    dim %= len(shape)
    return x.reshape(shape[:dim] + sizes + shape[dim + 1:])


def _tiles(x, dim, size, step):
    """``unfold`` of tiles side by side."""
    assert size is step or size == step
    count = x.size(dim) // size
    x = x.transpose(0, dim)[:count * size].transpose(0, dim)
    return _unflatten(x, dim, (count, size)).movedim(dim + 1, -1)


def _adaptive_mean(x, size):
    for dim, count in zip((-2, -1), size):
        total, index = x.size(dim), torch.arange(count, device=x.device)[:, None]
        start, end = index * total // count, ((index + 1) * total + count - 1) // count
        position = torch.arange(total, device=x.device)
        weight = ((position >= start) & (position < end)).to(x.dtype) / (end - start)
        x = (x.transpose(dim, -1) @ weight.t()).transpose(dim, -1)
    return x


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
    with torch.no_grad(), DynamicSizes(), warnings.catch_warnings():
        # it warns about its age and about branches that depend on the size, which the comparison covers
        warnings.simplefilter('ignore')
        try:
            torch.onnx.export(net, (img, ), buffer, **options)
        except Exception as error:  # the exporter's exceptions share no base class
            if isinstance(error.__cause__, ImportError):
                raise UsageError('the export needs the package onnx (pip install onnx)') from None
            raise UsageError(f'{type(net).__name__} cannot be exported to ONNX: {first_line(error)}') from None
    return buffer.getvalue()


@torch.no_grad()
def _needed_multiple(net, channels, declared):
    """Number that sides must be multiples of, found by trying, since networks that declare one may pad themselves."""
    for multiple in (1, declared, 2, 4, 8, 16, 32, 64):
        height, width = (21, 29) if multiple == 1 else (3 * multiple, 5 * multiple)
        try:
            net(torch.zeros(1, channels, height, width))
            return multiple
        except (RuntimeError, AssertionError) as error:
            reason = str(error)
    raise UsageError(f'the network fails even if both sides are multiples of 64: {reason}')
