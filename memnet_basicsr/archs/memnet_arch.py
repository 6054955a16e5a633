import torch
from torch import nn as nn
from torch.nn import functional as F

from basicsr.archs.arch_util import default_init_weights, pixel_unshuffle
from basicsr.utils.registry import ARCH_REGISTRY
from ..errors import UsageError
from ..fast.memnet_deploy import MemNetDeploy

aten = torch.ops.aten


class _NormReluConv(torch.autograd.Function):
    """conv(relu(norm(x))), added in place to ``out`` where given; keeps x alone and computes the rest once more."""

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
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        x, gamma, beta, weight, mean, invstd = ctx.saved_tensors
        var = invstd.pow(-2) - ctx.eps
        a = F.batch_norm(x, mean, var, gamma, beta, eps=ctx.eps).relu_()
        need_x, _, _, _, need_bias, need_out = ctx.needs_input_grad[:6]
        # stride, padding, dilation, not transposed, output padding, groups
        form = ([1, 1], ctx.padding, [1, 1], False, [0, 0], 1)
        a_low, weight_low = a.to(grad.dtype), weight.to(grad.dtype)  # under autocast, what the forward pass used
        grad_a, grad_weight, grad_bias = aten.convolution_backward(grad, a_low, weight_low, [weight.shape[0]], *form,
                                                                   [True, True, need_bias])
        grad_a = grad_a.to(x.dtype)
        aten.threshold_backward.grad_input(grad_a, a, 0, grad_input=grad_a)
        grad_x, grad_gamma, grad_beta = aten.native_batch_norm_backward(grad_a, x, gamma, mean, var, mean, invstd,
                                                                        ctx.training, ctx.eps, [need_x, True, True])
        grad_bias = grad_bias.to(weight.dtype) if need_bias else None
        grad_out = grad if need_out else None
        return grad_x, grad_gamma, grad_beta, grad_weight.to(weight.dtype), grad_bias, grad_out, *[None] * 6


def norm_relu_conv(x, norm, conv, start=0, out=None):
    """One pre-activated convolution, conv(relu(norm(x))), or the share of x in one of a concatenation.

    BatchNorm and ReLU act on each channel alone and a convolution is a sum over its input channels. So a unit that
    takes a concatenation can take its parts one after the other and never hold the whole. Training keeps x alone for
    the backward pass, which computes relu(norm(x)) again: half of the memory, at no loss of time. The gradient cannot
    be differentiated once more.

    Args:
        x (Tensor): (b, c, h, w).
        norm (nn.BatchNorm2d): Normalization of the whole concatenation.
        conv (nn.Conv2d): Convolution of the whole concatenation.
        start (int): First channel of x in the concatenation. Default: 0.
        out (Tensor): Sum over the earlier parts, which x's share is added to in place. Default: None.

    Raises:
        UsageError: In training, a SyncBatchNorm, which this would compute as an ordinary one.
    """
    if isinstance(norm, nn.SyncBatchNorm) and norm.training:
        raise UsageError('MemNet: BatchNorm over several processes is not supported; leave train: sync_batchnorm out')
    channels = slice(start, start + x.shape[1])
    if norm.training and start == 0:
        norm.num_batches_tracked.add_(1)
    gamma, beta, weight = norm.weight[channels], norm.bias[channels], conv.weight[:, channels]
    mean, var = norm.running_mean[channels], norm.running_var[channels]
    bias = conv.bias if start == 0 else None
    if torch.is_grad_enabled() and not torch.compiler.is_compiling():
        return _NormReluConv.apply(x, gamma, beta, weight, bias, out, mean, var, norm.training, norm.momentum, norm.eps,
                                   conv.padding)
    # without gradients nothing is kept anyway, and torch.compile finds the recomputation by itself
    a = F.batch_norm(x, mean, var, gamma, beta, norm.training, norm.momentum, norm.eps)
    y = F.conv2d(F.relu(a, inplace=True), weight, bias, padding=conv.padding)
    return y if out is None else out.add_(y)


def _convs(count, num_feat):
    return nn.ModuleList(nn.Conv2d(num_feat, num_feat, 3, padding=1) for _ in range(count))


def _norms(count, num_feat):
    return nn.ModuleList(nn.BatchNorm2d(num_feat) for _ in range(count))


class PreActConv(nn.Module):
    """BatchNorm, ReLU and a convolution of the same size, in this order.

    Args:
        num_in_ch (int): Channels of the input (for a gate: of all its sources together).
        num_out_ch (int): Channels of the output.
        kernel_size (int): Odd.
    """

    def __init__(self, num_in_ch, num_out_ch, kernel_size):
        super().__init__()
        self.norm = nn.BatchNorm2d(num_in_ch)
        self.conv = nn.Conv2d(num_in_ch, num_out_ch, kernel_size, padding=kernel_size // 2)

    def forward(self, x, start=0, out=None):
        return norm_relu_conv(x, self.norm, self.conv, start, out)


class MemoryBlock(nn.Module):
    """Memory block: a recursive unit (short-term memories H_1..H_R) and a gate unit over short and long-term memories.

    Args:
        num_feat (int): Channels.
        num_recursion (int): Recursions R of the residual block.
        num_long (int): Earlier memories B_0..B_{m-1} that reach the gate; 0 for none.
        short_term (bool): Whether H_1..H_{R-1} reach the gate. H_R always does.
        shared_recursion (bool): Whether the recursions share their convolutions. Their BatchNorms are never shared.
    """

    def __init__(self, num_feat, num_recursion, num_long, short_term, shared_recursion):
        super().__init__()
        self.num_recursion, self.num_long, self.short_term = num_recursion, num_long, short_term
        self.conv_a = _convs(1 if shared_recursion else num_recursion, num_feat)
        self.conv_b = _convs(1 if shared_recursion else num_recursion, num_feat)
        self.norm_a = _norms(num_recursion, num_feat)
        self.norm_b = _norms(num_recursion, num_feat)
        # 1x1 over [B_0..B_{m-1}, H_1..H_R]: the released definition's order, the paper's equation has H first
        num_sources = num_long + (num_recursion if short_term else 1)
        self.gate = PreActConv(num_sources * num_feat, num_feat, 1)

    def forward(self, memories):
        """Return B_m of the memories [B_0, ..., B_{m-1}], each (b, num_feat, h, w)."""
        start, out = 0, None
        for memory in memories[:self.num_long]:
            out = self.gate(memory, start, out)
            start += memory.shape[1]
        h = memories[-1]
        for r in range(self.num_recursion):
            residual = norm_relu_conv(h, self.norm_a[r], self.conv_a[r % len(self.conv_a)])
            residual = norm_relu_conv(residual, self.norm_b[r], self.conv_b[r % len(self.conv_b)])
            h = residual.add_(h)
            if self.short_term or r == self.num_recursion - 1:
                out = self.gate(h, start, out)
                start += h.shape[1]
        return out


def pad_and_unshuffle(x, factor):
    """Repeat the last rows and columns up to a multiple of ``factor``, then ``pixel_unshuffle``."""
    if factor == 1:
        return x
    h, w = x.shape[2:]
    return pixel_unshuffle(F.pad(x, (0, -w % factor, 0, -h % factor), mode='replicate'), factor)


@ARCH_REGISTRY.register()
class MemNet(nn.Module):
    """MemNet: A Persistent Memory Network for Image Restoration (https://arxiv.org/abs/1708.02209).

    Written from the paper and the published Caffe definition (which layer sizes, order of the gate's sources and what
    is shared follow where the paper is silent) and checked against its layers by a reference vector.
    Biases start at 0 and learn at 0.1 times the learning rate in the paper: that is the optimizer's business.

    Args:
        num_in_ch (int): Channels of the input: 1 (gray or luminance) or 3 (RGB or BGR, as trained). Default: 1.
        num_out_ch (int): Channels of the output; the input is added to it, so equal to num_in_ch. Default: num_in_ch.
        num_feat (int): Channels of the features. Default: 64.
        num_block (int): Memory blocks M. Default: 6.
        num_recursion (int): Recursions R in each block. Default: 6.
        multi_supervised (bool): Whether every block's memory is turned into an output y_m, and the result is
            sum_m w_m y_m with learnable w_m that start at 1/M. If not, the result is y_M. Default: True.
        supervise (str): Training returns 'all' outputs as a list, [result, y_1, ..., y_M], or the 'final' result
            alone (for models that pass it on to a discriminator). Default: 'all'.
        long_term (bool): Whether B_0..B_{m-1} reach the gates; False: the paper's MemNet_NL. Default: True.
        short_term (bool): Whether H_1..H_{R-1} reach the gates; False: the paper's MemNet_NS. Default: True.
        shared_recursion (bool): Whether the recursions of a block share their convolutions. Default: True.
        unshuffle (int): Factor r by which the features are smaller than the image: the network sees r * r times the
            channels (``pixel_unshuffle``) and its output is shuffled back, for a wider view at 1 / r^2 of the
            operations, as in FFDNet (https://arxiv.org/abs/1710.04026). 1 is the paper's MemNet. Default: 1.

    Raises:
        UsageError: If an argument is outside its range.
    """

    def __init__(self,
                 num_in_ch=1,
                 num_out_ch=None,
                 num_feat=64,
                 num_block=6,
                 num_recursion=6,
                 multi_supervised=True,
                 supervise='all',
                 long_term=True,
                 short_term=True,
                 shared_recursion=True,
                 unshuffle=1):
        super().__init__()
        if num_out_ch not in (None, num_in_ch):
            raise UsageError(f'MemNet: num_out_ch is {num_out_ch} and num_in_ch {num_in_ch}; the input is added to the '
                             'output, so set both to the same number')
        if supervise not in ('all', 'final'):
            raise UsageError(f"MemNet: supervise is {supervise!r}; use 'all' or 'final'")
        for name, value in (('num_in_ch', num_in_ch), ('num_feat', num_feat), ('num_block', num_block),
                            ('num_recursion', num_recursion), ('unshuffle', unshuffle)):
            if not isinstance(value, int) or value < 1:
                raise UsageError(f'MemNet: {name} is {value!r}; use an integer of at least 1')
        self.multi_supervised, self.supervise, self.unshuffle = multi_supervised, supervise, unshuffle
        num_in_ch *= unshuffle**2

        self.fenet = PreActConv(num_in_ch, num_feat, 3)
        self.memory_blocks = nn.ModuleList(
            MemoryBlock(num_feat, num_recursion, m if long_term else 0, short_term, shared_recursion)
            for m in range(1, num_block + 1))
        # reconstruction: one convolution for all blocks, a BatchNorm for each
        self.recon_norms = _norms(num_block if multi_supervised else 1, num_feat)
        self.recon_conv = nn.Conv2d(num_feat, num_in_ch, 3, padding=1)
        if multi_supervised:
            self.ensemble_weight = nn.Parameter(torch.full((num_block, ), 1 / num_block))
        default_init_weights(self)  # He normal, fan in; biases 0

    def forward(self, x):
        """Restore x.

        Args:
            x (Tensor): Degraded image, (b, num_in_ch, h, w), [0, 1], any size.

        Returns:
            Tensor, as x; with multi_supervised and supervise='all' in training mode a list of 1 + M of them.
        """
        h, w = x.shape[2:]
        x = pad_and_unshuffle(x, self.unshuffle)
        memories = [self.fenet(x).contiguous(memory_format=torch.channels_last)]
        for block in self.memory_blocks:
            memories.append(block(memories))
        outputs = [
            F.pixel_shuffle(x + norm_relu_conv(memory, norm, self.recon_conv), self.unshuffle)[..., :h, :w]
            for memory, norm in zip(memories[-len(self.recon_norms):], self.recon_norms)
        ]
        if not self.multi_supervised:
            return outputs[0]
        result = sum(w * y for w, y in zip(self.ensemble_weight, outputs))
        return [result] + outputs if self.training and self.supervise == 'all' else result

    def deploy(self):
        """Return a copy for inference alone, faster and smaller in memory, in evaluation mode; see MemNetDeploy."""
        return MemNetDeploy(self)
