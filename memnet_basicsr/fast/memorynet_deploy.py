import copy
import torch
from torch import nn as nn
from torch.nn import functional as F

from ..archs.memory_util import HierarchicalMemory
from ..archs.memorynet_arch import MemoryNet
from ..archs.mprnet_util import CAB, ORSNet, Resample
from ..archs.raw_pixel_memory import RawPixelMemory
from .heap_util import give_back_memory, keep_freed_memory
from .memorynet_training import FastMemoryNet, FastORSNet, FastResample
from .winograd_util import FastConv3x3, is_fast

CHUNK = 16384  # features that address the memory at a time


class DeployConv(nn.Module):
    """A convolution without stride, in the type of its weights; as a matrix product where it is 1x1.

    Args:
        conv (nn.Conv2d): The convolution.
    """

    def __init__(self, conv):
        super().__init__()
        self.padding = conv.padding
        self.register_buffer('weight', conv.weight.detach().clone(memory_format=torch.channels_last))
        self.register_buffer('bias', None if conv.bias is None else conv.bias.detach().clone())
        kernel_size, num = conv.kernel_size, min(conv.weight.shape[:2])
        # With 4 channels or fewer, combining rows does not pay off.
        self.fast = FastConv3x3(conv.weight, conv.bias) if kernel_size == (3, 3) and num > 4 else None

    def forward(self, x):
        """(n, c, h, w) -> (n, num_out, h, w)."""
        if torch.jit.is_tracing():
            return F.conv2d(x, self.weight, self.bias, padding=self.padding)
        x = x.to(self.weight.dtype)
        if self.fast is not None:
            return self.fast(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        if self.weight.shape[2:] == (1, 1):
            return F.linear(x.permute(0, 2, 3, 1), self.weight[:, :, 0, 0], self.bias).permute(0, 3, 1, 2)
        return F.conv2d(x, self.weight, self.bias, padding=self.padding)


def image_mean(x):
    """Mean of every channel of every image, (n, c, h, w) -> (n, c, 1, 1)."""
    if x.dtype == torch.bfloat16 and x.device.type == 'cpu':
        return F.avg_pool2d(x, x.shape[2:])  # sums in float32, without a copy in float32
    return F.adaptive_avg_pool2d(x, 1)


def attention(layers, mean):
    """Channel attention from the means of an image, (n, c, 1, 1), or from a map of local means, (n, c, h, w)."""
    if mean.shape[2:] != (1, 1):
        return layers(mean)
    squeeze, _, expand, _ = layers  # for one pixel, a matrix product is faster than a 1x1 convolution
    hidden = F.relu(F.linear(mean.flatten(1), squeeze.weight.flatten(1), squeeze.bias))
    return torch.sigmoid(F.linear(hidden, expand.weight.flatten(1), expand.bias))[:, :, None, None]


class DeployCAB(nn.Module):
    """CAB with :class:`FastConv3x3`.

    Args:
        cab (CAB): The block, of 3x3 convolutions.
    """

    def __init__(self, cab):
        super().__init__()
        conv1, act, conv2 = cab.body
        self.conv1, self.conv2 = (FastConv3x3(v.weight, v.bias) for v in (conv1, conv2))
        self.slope = act.weight.item()
        self.attention = cab.CA.conv_du

    def forward(self, x):
        """(n, c, h, w) -> (n, c, h, w)."""
        if torch.jit.is_tracing():
            res = self.conv2.graph(F.leaky_relu(self.conv1.graph(x), self.slope))
            return x + res * self.attention(F.adaptive_avg_pool2d(res, 1))
        rows = x.permute(0, 2, 3, 1)
        res = self.conv2(F.leaky_relu_(self.conv1(rows), self.slope)).permute(0, 3, 1, 2)
        scale = attention(self.attention, image_mean(res))
        if not is_fast(x) and scale.shape[2:] == (1, 1):  # faster than broadcasting
            scale = scale.expand(-1, -1, 1, x.shape[3]).contiguous(memory_format=torch.channels_last)
        return torch.addcmul(x, res, scale, out=res)


def by_chunks(step, rows):
    """Apply step to at most ``CHUNK`` rows at a time, so that a large image's weights never exist at once."""
    return step(rows) if len(rows) <= CHUNK else torch.cat([step(v) for v in rows.split(CHUNK)])


class ChunkedMemory(HierarchicalMemory):
    """HierarchicalMemory that reads by chunks."""

    def read(self, feat, level='part', chained=False):
        read = super().read
        return by_chunks(lambda rows: read(rows, level, chained), feat)


class ChunkedRawPixelMemory(RawPixelMemory):
    """RawPixelMemory that reads by chunks, in the type of its weights."""

    def read(self, feat, prototypes):
        read = super().read
        return by_chunks(lambda rows: read(rows, prototypes), feat.to(prototypes.dtype))


FORMS = {
    MemoryNet: FastMemoryNet,
    ORSNet: FastORSNet,
    Resample: FastResample,
    HierarchicalMemory: ChunkedMemory,
    RawPixelMemory: ChunkedRawPixelMemory,
}


def _exchange(module):
    """Replace the blocks and convolutions of a module by their inference forms."""
    module.__class__ = FORMS.get(type(module), type(module))
    for name, child in module.named_children():
        if isinstance(child, CAB) and child.body[0].kernel_size == (3, 3):
            module.add_module(name, DeployCAB(child))
        elif isinstance(child, nn.Conv2d):
            module.add_module(name, DeployConv(child))
        else:
            _exchange(child)


class MemoryNetDeploy(nn.Module):
    """Inference form of MemoryNet.

    3x3 convolutions need half of the multiplications (:class:`FastConv3x3`, in float32 on a CPU).
    ``.to(torch.bfloat16)`` halves memory and, where the processor supports it, time, at the accuracy of bfloat16 (the
    image itself keeps its type). A trace holds plain convolutions, see :class:`MemNetDeploy`.

    Args:
        net (MemoryNet): Trained network. Its weights are copied.
    """

    def __init__(self, net):
        super().__init__()
        self.size_multiple = net.size_multiple
        self.net = copy.deepcopy(net)
        _exchange(self.net)
        self.net.stage3_orsnet.register_forward_pre_hook(give_back_memory)  # memory peaks here
        self.eval().requires_grad_(False)

    @torch.no_grad()
    def forward(self, x):
        """Restore an image (N, C, H, W), in [0, 1], of any size; the result has the shape and type of ``x``."""
        if x.device.type == 'cpu':
            keep_freed_memory()
        return self.net(x).to(x.dtype)
