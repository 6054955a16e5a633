"""What the stages of MPRNet (https://arxiv.org/abs/2102.02808) are made of: blocks of channel attention, halves."""
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint


def channels_last(x):
    """The same tensor in channels_last strides, also for one channel (where torch calls every layout both)."""
    n, c, h, w = x.shape
    return x.permute(0, 2, 3, 1).flatten().view(n, h, w, c).permute(0, 3, 1, 2)


def split_rows(x):
    """(N, C, H, W) -> (2N, C, H/2, W), each picture's top half before its bottom half; a view in channels_last."""
    return x.unflatten(2, (2, -1)).movedim(2, 1).flatten(0, 1)


def merge_rows(x):
    """Inverse of :func:`split_rows`."""
    if x.is_contiguous(memory_format=torch.channels_last):  # a view; the other way would lose the layout where N is 2
        return x.permute(0, 2, 3, 1).unflatten(0, (-1, 2)).flatten(1, 2).permute(0, 3, 1, 2)
    return x.unflatten(0, (-1, 2)).movedim(1, 2).flatten(2, 3)


def split_columns(x):
    """(N, C, H, W) -> (2N, C, H, W/2), all left halves before all right halves."""
    return torch.cat(x.chunk(2, dim=3), dim=0)


def merge_columns(x):
    """Inverse of :func:`split_columns`."""
    return torch.cat(x.chunk(2, dim=0), dim=3)


def upsample(x):
    """Bilinear x2."""
    return F.interpolate(x, scale_factor=2, mode='bilinear', align_corners=False)


def conv1x1(x, *layers):
    """Apply consecutive 1x1 convolutions without bias as the one matrix that they are."""
    weight = layers[0].weight
    for layer in layers[1:]:
        weight = torch.einsum('om,mihw->oihw', layer.weight[:, :, 0, 0], weight)
    return F.conv2d(x, weight)


class InplacePReLU(torch.autograd.Function):
    """PReLU of one positive slope, over its input. The backward pass needs the output alone, which the convolution
    behind it keeps anyway, and torch's own is ten times slower on the CPU."""

    @staticmethod
    def forward(ctx, x, weight):
        y = F.leaky_relu_(x, weight.item())
        ctx.mark_dirty(x)
        ctx.save_for_backward(y, weight)
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        y, weight = ctx.saved_tensors
        slope = weight.item()
        grad_weight = (y.clamp(max=0) * grad).sum(dtype=weight.dtype).view(1) / slope
        return torch.ops.aten.leaky_relu_backward(grad, y, slope, True), grad_weight


class SharedPReLU(nn.PReLU):
    """nn.PReLU with one slope, less time and memory in training on the CPU, where it overwrites its input."""

    def forward(self, x):
        traced = torch.jit.is_tracing() or torch.compiler.is_compiling()
        if x.device.type == 'cpu' and x.requires_grad and not traced and self.weight.item() > 0:
            return InplacePReLU.apply(x, self.weight)
        return super().forward(x)


def picture_mean(x):
    """Mean of every channel of every picture, (N, C, H, W) -> (N, C, 1, 1)."""
    if x.dtype == torch.bfloat16 and x.device.type == 'cpu':
        return F.avg_pool2d(x, x.shape[2:])  # sums in float32, too, without a copy in float32
    return F.adaptive_avg_pool2d(x, 1)


def attention(layers, mean):
    """Channel attention from the mean of a picture, (N, C, 1, 1), or a map of means (local statistics, inference/)."""
    if mean.shape[2:] != (1, 1):
        return layers(mean)
    squeeze, _, expand, _ = layers  # on one pixel a 1x1 convolution is a matrix product, and slower than that
    hidden = F.relu(F.linear(mean.flatten(1), squeeze.weight.flatten(1), squeeze.bias))
    return torch.sigmoid(F.linear(hidden, expand.weight.flatten(1), expand.bias))[:, :, None, None]


def add(x, y):
    """x + y; over x, which nobody else may hold, where no gradient is asked for."""
    return x + y if torch.is_grad_enabled() else x.add_(y)


class CAB(nn.Module):
    """Channel attention block: x + g * r with r = conv(PReLU(conv(x))) and g = channel attention of the mean of r.

    Args:
        num_feat (int): Channels.
        kernel_size (int): Odd kernel size of the two convolutions.
        reduction (int): The attention's hidden layer has num_feat // reduction channels.
        bias (bool): Whether the convolutions have a bias.
        act (nn.Module): The activation, shared by the whole network.
        recompute (bool): Whether :class:`Blocks` keeps only its input in training, and computes the rest again.
    """

    def __init__(self, num_feat, kernel_size, reduction, bias, act, recompute):
        super().__init__()
        self.recompute = recompute
        hidden = num_feat // reduction
        self.CA = nn.Module()
        self.CA.conv_du = nn.Sequential(
            nn.Conv2d(num_feat, hidden, 1, bias=bias), nn.ReLU(), nn.Conv2d(hidden, num_feat, 1, bias=bias),
            nn.Sigmoid())
        convs = [nn.Conv2d(num_feat, num_feat, kernel_size, padding=kernel_size // 2, bias=bias) for _ in range(2)]
        self.body = nn.Sequential(convs[0], act, convs[1])

    def forward(self, x):
        res = self.body(x)
        if not torch.is_grad_enabled():
            return res.mul_(attention(self.CA.conv_du, picture_mean(res))).add_(x)
        # the backward pass of a mean fills a picture with one value per channel, that of a sum only refers to it
        return x + res * attention(self.CA.conv_du, (res.sum((2, 3)) / res[0, 0].numel())[:, :, None, None])


class Blocks(nn.Sequential):
    """Blocks one after the other; with ``recompute``, two at a time keep only their input in training.

    One at a time would keep more inputs, and four at a time more of what is computed again.
    """

    def forward(self, x):
        for i in range(0, len(self), 2):
            pair = self[i:i + 2]
            if torch.is_grad_enabled() and any(getattr(v, 'recompute', False) and v.training for v in pair):
                x = checkpoint(nn.Sequential(*pair), x, use_reentrant=False, preserve_rng_state=False)
            else:
                for block in pair:
                    x = block(x)
        return x
