import itertools
import torch
from torch import nn as nn
from torch.nn import functional as F

from .heap_util import keep_freed_memory
from .winograd_util import FastConv3x3

# On CPUs, rows are processed in strips of roughly this many pixels, to stay in cache and to reuse freed blocks. Other
# devices process the whole image at once.
STRIP_PIXELS = 32768


def _affine(norm):
    """Scale and shift that equal a BatchNorm in evaluation mode."""
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    return scale, norm.bias - norm.running_mean * scale


def _conv(weight, bias):
    conv = nn.utils.skip_init(  # the random generator of a training that is validated must not move
        nn.Conv2d,
        weight.shape[1],
        weight.shape[0],
        weight.shape[2:],
        device=weight.device,
        dtype=weight.dtype)
    conv.weight.copy_(weight)
    conv.bias.copy_(bias)
    return conv.to(memory_format=torch.channels_last)


def _conv_strip(a, conv):
    """3x3 convolution of rows (n, rows + 2, w, c) that carry a row of context above and below."""
    return F.conv2d(a.permute(0, 3, 1, 2), conv.weight, conv.bias, padding=(0, 1)).permute(0, 2, 3, 1)


class NormRelu(nn.Module):
    """relu(norm(x)) of each source, written to a buffer; BatchNorm as an affine map of each channel.

    Args:
        norm (nn.BatchNorm2d): Over the concatenation of the sources.
        num_sources (int): Sources, of the same number of channels. Default: 1.
    """

    def __init__(self, norm, num_sources=1):
        super().__init__()
        scale, shift = _affine(norm)
        self.register_buffer('scale', scale.view(num_sources, -1).clone())
        self.register_buffer('shift', shift.view(num_sources, -1).clone())

    def forward(self, x, out=None, source=0):
        return torch.addcmul(self.shift[source], x, self.scale[source], out=out).clamp_min_(0)

    def graph(self, x, source=0):
        """(n, c, h, w) -> (n, c, h, w), as nodes that inference engines fuse."""
        scale, shift = self.scale[source], self.shift[source]
        return F.relu(F.batch_norm(x, torch.zeros_like(shift), torch.ones_like(scale), scale, shift, eps=0))


class DeployRecursion(nn.Module):
    """h += conv_b(relu(norm_b(conv_a(relu(norm_a(h)))))) in place, with norm_b folded into conv_a."""

    def __init__(self, norm_a, conv_a, norm_b, conv_b):
        super().__init__()
        scale, shift = _affine(norm_b)
        self.norm_relu = NormRelu(norm_a)
        self.conv_a = FastConv3x3(conv_a.weight * scale.view(-1, 1, 1, 1), conv_a.bias * scale + shift)
        self.conv_b = conv_b

    def forward(self, h, strips, buffer):
        """Yield each strip (begin, end) of h, (n, h, w, c), when it is done. buffer is overwritten."""
        height, first, overlap = h.shape[1], 0, None
        for begin, end in strips:
            # rows begin - 2 to end + 2 of relu(norm_a(h)), 0 outside the image; the upper 4 come from the strip
            # before, since h has changed there
            rows, until = buffer[:, :end - begin + 4], min(end + 2, height)
            rows[:, :4] = 0 if overlap is None else overlap
            self.norm_relu(h[:, first:until], rows[:, first - begin + 2:until - begin + 2])
            rows[:, until - begin + 2:] = 0
            first, overlap = until, rows[:, -4:]

            inner = self.conv_a.inner(rows).clamp_min_(0)
            if begin == 0:
                inner[:, 0] = 0
            if end == height:
                inner[:, -1] = 0
            h[:, begin:end] += self.conv_b.inner(inner)
            yield begin, end

    def graph(self, h):
        """(n, c, h, w) -> (n, c, h, w)."""
        return h + self.conv_b.graph(F.relu(self.conv_a.graph(self.norm_relu.graph(h))))


class DeployBlock(nn.Module):
    """Memory block that adds each source to the gate as it is computed, so that short-term memories are not stored."""

    def __init__(self, block):
        super().__init__()
        self.num_long, self.short_term = block.num_long, block.short_term
        num_recursion, num_feat = block.num_recursion, block.gate.conv.out_channels
        convs_b = [FastConv3x3(conv.weight, conv.bias) for conv in block.conv_b]
        self.recursions = nn.ModuleList()
        for r, (norm_a, norm_b) in enumerate(zip(block.norm_a, block.norm_b)):
            conv_a, conv_b = block.conv_a[r % len(block.conv_a)], convs_b[r % len(convs_b)]
            self.recursions.append(DeployRecursion(norm_a, conv_a, norm_b, conv_b))
        num_sources = self.num_long + (num_recursion if self.short_term else 1)
        self.gate_norm = NormRelu(block.gate.norm, num_sources)
        weight = block.gate.conv.weight.view(num_feat, num_sources, num_feat).permute(1, 2, 0)
        self.register_buffer('gate_weight', weight.contiguous())  # (num_sources, num_in, num_out)
        self.register_buffer('gate_bias', block.gate.conv.bias.clone())

    def add_to_gate(self, out, x, source, buffer):
        """Add the share of one source to out; both are the same strip."""
        rows = self.gate_norm(x, buffer[:, :x.shape[1]], source)
        for image, row in zip(out, rows):
            image.flatten(0, 1).addmm_(row.flatten(0, 1), self.gate_weight[source])

    def forward(self, memories, strips=None, buffer=None):
        """Return B_m of [B_0, ..., B_{m-1}], each (n, h, w, c). buffer, of two strips, is overwritten."""
        if strips is None:
            return self.graph(memories)
        out = torch.empty_like(memories[-1])
        h = torch.empty_like(out)
        for begin, end in strips:
            out[:, begin:end] = self.gate_bias
            h[:, begin:end] = memories[-1][:, begin:end]
            for source, memory in enumerate(memories[:self.num_long]):
                self.add_to_gate(out[:, begin:end], memory[:, begin:end], source, buffer[1])
        for r, recursion in enumerate(self.recursions):
            is_source = self.short_term or r == len(self.recursions) - 1
            source = self.num_long + (r if self.short_term else 0)
            for begin, end in recursion(h, strips, buffer[0]):
                if is_source:
                    self.add_to_gate(out[:, begin:end], h[:, begin:end], source, buffer[1])
        return out

    def graph(self, memories):
        """:meth:`forward` of memories (n, c, h, w)."""
        h, sources = memories[-1], memories[:self.num_long]
        for r, recursion in enumerate(self.recursions):
            h = recursion.graph(h)
            sources = sources + [h] * (self.short_term or r == len(self.recursions) - 1)
        out = None
        for i, memory in enumerate(sources):
            weight = self.gate_weight[i].t()[:, :, None, None]  # not by iteration, which the exporter does not fold
            share = F.conv2d(self.gate_norm.graph(memory, i), weight, None if i else self.gate_bias)
            out = share if out is None else out + share
        return out


class MemNetDeploy(nn.Module):
    """Inference form of MemNet: the same function, built from trained weights.

    A BatchNorm between two convolutions is folded into the first; the others become one multiply-add per channel. 3x3
    convolutions need half of the multiplications (:class:`FastConv3x3`, in float32 on a CPU). Each gate sums over its
    sources, so neither the concatenation nor the short-term memories are stored. Features are channels last. On CPUs,
    rows are processed in strips. ``.to(torch.bfloat16)`` halves memory and, where the processor supports it, time, at
    the accuracy of bfloat16 (the image itself keeps its type). A trace holds plain convolutions and the sums of the
    gates, since inference engines schedule by themselves.

    Args:
        net (MemNet): Trained network; a copy of its weights is taken.
    """

    @torch.no_grad()
    def __init__(self, net):
        super().__init__()
        self.unshuffle = net.unshuffle
        self.fenet_norm = NormRelu(net.fenet.norm)
        self.fenet_conv = _conv(net.fenet.conv.weight, net.fenet.conv.bias)
        self.memory_blocks = nn.ModuleList(DeployBlock(block) for block in net.memory_blocks)
        # the basic network is an ensemble of its last output alone
        count = len(net.recon_norms)
        ensemble = net.ensemble_weight if net.multi_supervised else torch.ones(1)
        self.recon_norms = nn.ModuleList(NormRelu(norm) for norm in net.recon_norms)
        self.recon_convs = nn.ModuleList(_conv(w * net.recon_conv.weight, w * net.recon_conv.bias) for w in ensemble)
        self.first_recon = len(self.memory_blocks) - count
        self.input_weight = ensemble.sum().item()  # a number, so that no conversion to bfloat16 rounds it
        self.eval().requires_grad_(False)

    @torch.no_grad()
    def forward(self, x):
        """Restore an image (n, c, h, w), in [0, 1], of any size; the result has the shape and type of ``x``."""
        if x.device.type == 'cpu':
            keep_freed_memory()
        full_height, full_width = x.shape[2:]
        if self.unshuffle > 1:
            x = F.pad(x, (0, -full_width % self.unshuffle, 0, -full_height % self.unshuffle), mode='replicate')
            x = F.pixel_unshuffle(x, self.unshuffle)
        y = self.graph(x) if torch.jit.is_tracing() else self.by_strips(x)
        return F.pixel_shuffle(y, self.unshuffle)[..., :full_height, :full_width]

    def graph(self, x):
        """:meth:`by_strips` without in-place operations, for traces."""
        y = self.input_weight * x
        memories = [F.conv2d(self.fenet_norm.graph(x), self.fenet_conv.weight, self.fenet_conv.bias, padding=1)]
        for m, block in enumerate(self.memory_blocks):
            memories.append(block(memories))
            if m >= self.first_recon:
                norm, conv = (v[m - self.first_recon] for v in (self.recon_norms, self.recon_convs))
                y = y + F.conv2d(norm.graph(memories[-1]), conv.weight, conv.bias, padding=1)
        return y

    def by_strips(self, x):
        """Restore an image whose pixels are unshuffled."""
        n, _, height, width = x.shape
        conv = self.fenet_conv
        count = max(1, min(n * height * width // STRIP_PIXELS, height // 8)) if x.device.type == 'cpu' else 1
        bounds = [height * i // count // 4 * 4 for i in range(count)] + [height]  # rows are convolved by fours
        strips = list(itertools.pairwise(bounds))
        rows = max(end - begin for begin, end in strips) + 4
        buffer = x.new_empty(2, n, rows, width, conv.out_channels, dtype=conv.weight.dtype)
        y = self.input_weight * x
        first = F.pad(self.fenet_norm(x.to(conv.weight.dtype).permute(0, 2, 3, 1)), (0, 0, 0, 0, 1, 1))
        memories = [buffer.new_empty(n, height, width, conv.out_channels)]
        for begin, end in strips:
            memories[0][:, begin:end] = _conv_strip(first[:, begin:end + 2], conv)
        for m, block in enumerate(self.memory_blocks):
            memories.append(block(memories, strips, buffer))
            if m >= self.first_recon:
                self.reconstruct(y, memories[-1], m - self.first_recon, strips, buffer[0])
        return y

    def reconstruct(self, y, memory, index, strips, buffer):
        """Add a block's weighted output to y."""
        height = memory.shape[1]
        for begin, end in strips:
            first, until = max(begin - 1, 0), min(end + 1, height)
            rows = buffer[:, :end - begin + 2]
            rows[:, 0] = 0
            rows[:, -1] = 0
            self.recon_norms[index](memory[:, first:until], rows[:, first - begin + 1:until - begin + 1])
            y[:, :, begin:end] += _conv_strip(rows, self.recon_convs[index]).permute(0, 3, 1, 2)
