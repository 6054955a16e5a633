import copy
import torch
from torch import nn as nn
from torch.nn import functional as F

from ..archs.mprnet_util import CAB, attention, picture_mean
from .heap_util import give_back_memory, keep_freed_memory
from .winograd_util import FastConv3x3, is_fast

STRIP_PIXELS = 16384  # rows of about so many pixels go through both convolutions of a block before the next ones do


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
        # pictures of few channels are not worth combining their rows
        self.fast = FastConv3x3(conv.weight, conv.bias) if kernel_size == (3, 3) and num > 4 else None

    def forward(self, x):
        """(n, c, h, w) -> (n, num_out, h, w)."""
        x = x.to(self.weight.dtype)
        if self.fast is not None:
            return self.fast(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        if self.weight.shape[2:] == (1, 1):
            return F.linear(x.permute(0, 2, 3, 1), self.weight[:, :, 0, 0], self.bias).permute(0, 3, 1, 2)
        return F.conv2d(x, self.weight, self.bias, padding=self.padding)


class DeployCAB(nn.Module):
    """CAB that holds its input and its output; what lies between the convolutions is there for some rows only.

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
        rows = x.permute(0, 2, 3, 1)
        res = self.by_strips(rows) if is_fast(x) else self.conv2(F.leaky_relu_(self.conv1(rows), self.slope))
        res = res.permute(0, 3, 1, 2)
        scale = attention(self.attention, picture_mean(res))
        if not is_fast(x) and scale.shape[2:] == (1, 1):  # rows of 16 bit are multiplied faster than their pixels
            scale = scale.expand(-1, -1, 1, x.shape[3]).contiguous(memory_format=torch.channels_last)
        return torch.addcmul(x, res, scale, out=res)

    def by_strips(self, rows):
        """Both convolutions, (n, h, w, c) -> (n, h, w, c)."""
        n, height, width, num = rows.shape
        res = torch.empty_like(rows, memory_format=torch.contiguous_format)
        step = max(STRIP_PIXELS // (n * width) // 4, 1) * 4
        buffer = rows.new_empty(n, min(step, height) + 2, width, num)
        for begin in range(0, height, step):
            end = min(begin + step, height)
            first, last = max(begin - 1, 0), min(end + 1, height)
            inner = buffer[:, :end - begin + 2]
            self.conv1.part(rows, first, last, inner[:, first - begin + 1:last - begin + 1])
            F.leaky_relu_(inner, self.slope)
            if begin == 0:
                inner[:, 0] = 0
            if end == height:
                inner[:, -1] = 0
            self.conv2.inner(inner, res[:, begin:end])
        return res


def _exchange(module):
    """Put the forms for inference in the place of a module's blocks and convolutions."""
    for name, child in module.named_children():
        if isinstance(child, CAB) and child.body[0].kernel_size == (3, 3):
            module.add_module(name, DeployCAB(child))
        elif isinstance(child, nn.Conv2d):
            module.add_module(name, DeployConv(child))
        else:
            _exchange(child)


class MemoryNetDeploy(nn.Module):
    """MemoryNet for inference alone: the same function, made from trained weights.

    Its blocks hold less at a time and its 3x3 convolutions multiply half as often (:class:`FastConv3x3`, in float32 on
    a CPU). ``.to(torch.bfloat16)`` halves memory and, where the processor supports it, time, at bfloat16's accuracy
    (the picture itself stays as it is).

    Args:
        net (MemoryNet): Trained network; a copy of its weights is taken.
    """

    def __init__(self, net):
        super().__init__()
        self.size_multiple = net.size_multiple
        self.net = copy.deepcopy(net)
        _exchange(self.net)
        self.net.stage3_orsnet.register_forward_pre_hook(give_back_memory)  # here most is held
        self.eval().requires_grad_(False)

    @torch.no_grad()
    def forward(self, x):
        """
        Args:
            x (Tensor): (N, C, H, W), RGB or gray, 0 to 1, of any size.

        Returns:
            Tensor: The restored picture, of x's shape and type.
        """
        if x.device.type == 'cpu':
            keep_freed_memory()
        return self.net(x).to(x.dtype)
