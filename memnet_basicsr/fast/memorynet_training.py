"""Training forms of MemoryNet's blocks that need less time and memory, with the same parameters."""
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ..archs.memorynet_arch import MemoryNet
from ..archs.mprnet_util import CAB, ORSNet, Resample
from .conditions import is_plain, trains_plain


class _InplacePReLU(torch.autograd.Function):
    """PReLU with one positive slope that overwrites its input.

    The backward pass needs the output only, which the next convolution saves anyway.
    """

    @staticmethod
    def forward(ctx, x, weight):
        y = F.leaky_relu_(x, weight.item())
        ctx.mark_dirty(x)
        ctx.save_for_backward(y, weight)
        return y

    @staticmethod
    def backward(ctx, grad):
        y, weight = ctx.saved_tensors
        # The input has the sign of the output. Differentiable, for second derivatives.
        grad_weight = (y.clamp(max=0) * grad).sum(dtype=weight.dtype).view(1) / weight
        if torch.is_grad_enabled():
            return torch.where(y > 0, grad, grad * weight.to(grad.dtype)), grad_weight
        # F.leaky_relu with requires_grad would save another tensor.
        return torch.ops.aten.leaky_relu_backward(grad, y, weight.item(), True), grad_weight


def prelu_(x, act):
    """PReLU over its input. On CPUs, the backward pass of nn.PReLU takes ten times as long."""
    if x.device.type == 'cpu' and act.weight.numel() == 1 and act.weight.item() > 0:
        return _InplacePReLU.apply(x, act.weight)
    return act(x)


class FastCAB(CAB):
    """CAB with an in-place PReLU and a mean whose gradient is not expanded to the size of the image."""

    def forward(self, x):
        if trains_plain(self):
            return super().forward(x)
        conv1, act, conv2 = self.body
        res = conv2(prelu_(conv1(x), act))
        mean = (res.sum((2, 3)) / res[0, 0].numel())[:, :, None, None]
        return x + res * self.CA.conv_du(mean)


def upsample(x):
    """Bilinear x2."""
    return F.interpolate(x, scale_factor=2, mode='bilinear', align_corners=False)


class FastResample(Resample):
    """Resample whose 1x1 convolution runs at the smaller size, where it commutes with bilinear resampling."""

    @property
    def conv(self):
        return getattr(self, self.name)[1]

    def forward(self, x):
        if is_plain(self):
            return super().forward(x)
        if self.name == 'up':
            return upsample(self.conv(x))
        return self.conv(F.avg_pool2d(x, 2))  # bilinear x0.5 of an even size is the mean of 2x2 pixels


def conv1x1(x, *layers):
    """Apply consecutive 1x1 convolutions as one; only the last may have a bias."""
    weight = layers[0].weight
    for layer in layers[1:]:
        weight = torch.einsum('om,mihw->oihw', layer.weight[:, :, 0, 0], weight)
    return F.conv2d(x, weight, layers[-1].bias)


class FastORSNet(ORSNet):
    """ORSNet that merges the 1x1 convolutions of its fusion and adds encoder and decoder features at the small size."""

    def fuse(self, enc, dec):
        """Features to add behind ORB 1 to 3, at 1, 1/2 and 1/4 of the size."""
        if is_plain(self):
            return super().fuse(enc, dec)
        out = []
        for i, feats in enumerate(zip(enc, dec), 1):
            maps = []
            for side, feat in zip(('enc', 'dec'), feats):
                ups = {1: [], 2: [getattr(self, f'up_{side}1')], 3: getattr(self, f'up_{side}2')}[i]
                maps.append(conv1x1(feat, *[v.conv for v in ups], getattr(self, f'conv_{side}{i}')))
            out.append(maps[0].add_(maps[1]))
        return out

    def forward(self, x, fused=None):
        if is_plain(self):
            return super().forward(x, fused)
        add = torch.add if torch.is_grad_enabled() else torch.Tensor.add_
        for i in (1, 2, 3):
            skip, body = x, getattr(self, f'orb{i}').body
            x = body[0](x)
            if fused is not None:
                extra = fused.pop(0)  # freed as soon as it has been added
                for _ in range(i - 1):
                    extra = upsample(extra)
                skip = add(skip, extra)
                del extra
            x = add(body[1:](x), skip)
        return x


class FastMemoryNet(MemoryNet):
    """MemoryNet in channels_last on CPUs; on GPUs the memory format is an option of the training."""

    def pad(self, x):
        x = super().pad(x)
        return channels_last(x) if x.device.type == 'cpu' and not torch.jit.is_tracing() else x


def channels_last(x):
    """Copy x to channels_last strides, also with one channel (where PyTorch considers every layout to be both)."""
    n, c, h, w = x.shape
    return x.permute(0, 2, 3, 1).flatten().view(n, h, w, c).permute(0, 3, 1, 2)


class RecomputedBlocks(nn.Sequential):
    """Sequence of blocks that saves every second input and recomputes the rest in the backward pass.

    Single blocks would save more inputs, and groups of four would hold more recomputed activations at a time.
    """

    def forward(self, x):
        for i in range(0, len(self), 2):
            pair = nn.Sequential(*self[i:i + 2])
            x = checkpoint(pair, x, use_reentrant=False, preserve_rng_state=False) if self.training else pair(x)
        return x


def recompute(net):
    """Make every sequence of two or more CABs in a network a :class:`RecomputedBlocks`, in place."""
    for module in net.modules():
        if type(module) is nn.Sequential and sum(isinstance(v, CAB) for v in module) > 1:
            module.__class__ = RecomputedBlocks
    return net
