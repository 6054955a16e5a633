"""Training forms of MemNet's blocks that store half of the activations, with the same parameters."""
import torch
from torch.nn import functional as F

from ..archs.memnet_arch import MemNet, MemoryBlock, PreActConv
from .conditions import is_traced_or_plain

# The public API has no backward of BatchNorm that takes the saved statistics; it would compute them again.
aten = torch.ops.aten


class _NormReluConv(torch.autograd.Function):
    """conv(relu(norm(x))), added in place to ``out`` where given. Saves x only and recomputes the rest."""

    @staticmethod
    def forward(ctx, x, gamma, beta, weight, bias, out, running_mean, running_var, training, momentum, eps, padding):
        a, mean, invstd = torch.native_batch_norm(x, gamma, beta, running_mean, running_var, training, momentum, eps)
        if not training:
            mean, invstd = running_mean.clone(), (running_var + eps).rsqrt()
        ctx.save_for_backward(x, gamma, beta, weight, mean, invstd)
        ctx.training, ctx.eps, ctx.padding = training, eps, padding
        y = F.conv2d(a.relu_(), weight, bias, padding=padding)
        if out is None:
            return y
        ctx.mark_dirty(out)
        return out.add_(y)

    @staticmethod
    def backward(ctx, grad):
        grads = _plain_backward(ctx, grad) if torch.is_grad_enabled() else _fused_backward(ctx, grad)
        return (*grads, grad if ctx.needs_input_grad[5] else None, *[None] * 6)


def _fused_backward(ctx, grad):
    need_x, _, _, _, need_bias = ctx.needs_input_grad[:5]
    x, gamma, beta, weight, mean, invstd = ctx.saved_tensors
    var = invstd.pow(-2) - ctx.eps
    a = F.batch_norm(x, mean, var, gamma, beta, eps=ctx.eps).relu_()
    low = grad.dtype  # under autocast, the type of the forward pass
    # stride, padding, dilation, not transposed, output padding, groups
    form = ([1, 1], ctx.padding, [1, 1], False, [0, 0], 1)
    grad_a, grad_weight, grad_bias = aten.convolution_backward(grad, a.to(low), weight.to(low), [weight.shape[0]],
                                                               *form, [True, True, need_bias])
    grad_a = grad_a.to(x.dtype)
    aten.threshold_backward.grad_input(grad_a, a, 0, grad_input=grad_a)
    grad_x, grad_gamma, grad_beta = aten.native_batch_norm_backward(grad_a, x, gamma, mean, var, mean, invstd,
                                                                    ctx.training, ctx.eps, [need_x, True, True])
    grad_bias = grad_bias.to(weight.dtype) if need_bias else None
    return grad_x, grad_gamma, grad_beta, grad_weight.to(weight.dtype), grad_bias


def _plain_backward(ctx, grad):
    """Backward pass that can be differentiated again (``create_graph=True``)."""
    x, gamma, beta, weight, mean, invstd = ctx.saved_tensors
    statistics = (None, None) if ctx.training else (mean, invstd.pow(-2) - ctx.eps)
    a = F.relu(F.batch_norm(x, *statistics, gamma, beta, ctx.training, eps=ctx.eps))
    y = F.conv2d(a.to(grad.dtype), weight.to(grad.dtype), padding=ctx.padding)
    inputs = [v for v in (x, gamma, beta, weight) if v.requires_grad]
    grads = iter(torch.autograd.grad(y, inputs, grad, create_graph=True))
    grads = [next(grads) if v.requires_grad else None for v in (x, gamma, beta, weight)]
    return [*grads, grad.sum((0, 2, 3)) if ctx.needs_input_grad[4] else None]


def norm_relu_conv(x, norm, conv, start=0, out=None):
    """Pre-activated convolution conv(relu(norm(x))), or the share of x in that of a concatenation.

    BatchNorm and ReLU act on each channel, and a convolution is a sum over its input channels. A unit on a
    concatenation can therefore process its parts one after the other without holding the whole.

    Args:
        x (Tensor): (n, c, h, w).
        norm (nn.BatchNorm2d): Normalization of the whole concatenation.
        conv (nn.Conv2d): Convolution of the whole concatenation.
        start (int): First channel of x in the concatenation. Default: 0.
        out (Tensor): Sum over the earlier parts, to which the share of x is added in place. Default: None.

    Returns:
        Tensor: (n, num_out, h, w).
    """
    channels = slice(start, start + x.shape[1])
    if norm.training and start == 0:
        norm.num_batches_tracked.add_(1)
    gamma, beta, weight = norm.weight[channels], norm.bias[channels], conv.weight[:, channels]
    mean, var, bias = norm.running_mean[channels], norm.running_var[channels], conv.bias if start == 0 else None
    if torch.is_grad_enabled():
        return _NormReluConv.apply(x, gamma, beta, weight, bias, out, mean, var, norm.training, norm.momentum, norm.eps,
                                   conv.padding)
    a = F.batch_norm(x, mean, var, gamma, beta, norm.training, norm.momentum, norm.eps)
    y = F.conv2d(F.relu_(a), weight, bias, padding=conv.padding)
    return y if out is None else out.add_(y)


class FusedPreActConv(PreActConv):
    """PreActConv with :func:`norm_relu_conv`, in channels_last, since all blocks read its output."""

    def forward(self, x):
        if is_traced_or_plain(self):
            return super().forward(x)
        return norm_relu_conv(x, self.norm, self.conv).contiguous(memory_format=torch.channels_last)


class FusedMemoryBlock(MemoryBlock):
    """MemoryBlock without the concatenation of its gate, in channels_last."""

    def forward(self, memories):
        if is_traced_or_plain(self):
            return super().forward(memories)
        h = memories[-1].contiguous(memory_format=torch.channels_last)
        norm, conv = self.gate.norm, self.gate.conv
        start, out = 0, None
        for memory in memories[:self.num_long]:
            out = norm_relu_conv(memory, norm, conv, start, out)
            start += memory.shape[1]
        for r in range(self.num_recursion):
            residual = norm_relu_conv(h, self.norm_a[r], self.conv_a[r % len(self.conv_a)])
            h = norm_relu_conv(residual, self.norm_b[r], self.conv_b[r % len(self.conv_b)]).add_(h)
            if self.short_term or r == self.num_recursion - 1:
                out = norm_relu_conv(h, norm, conv, start, out)
                start += h.shape[1]
        return out


class FusedMemNet(MemNet):
    """MemNet with a fused reconstruction; its blocks are replaced separately."""

    def reconstruct(self, memory, norm):
        if is_traced_or_plain(self):
            return super().reconstruct(memory, norm)
        return norm_relu_conv(memory, norm, self.recon_conv)
