"""MemNet as its definition reads, with every concatenation written out: the specification of the package's MemNet.

Nothing here is fast. The modules have the names and shapes of the package's, so that weights can be exchanged.
"""
import torch
from torch import nn as nn
from torch.nn import functional as F


def norm_relu_conv(x, norm, conv):
    return conv(F.relu(norm(x)))


def convs(count, num_in, num_out, kernel):
    return nn.ModuleList(nn.Conv2d(num_in, num_out, kernel, padding=kernel // 2) for _ in range(count))


def norms(count, num_feat):
    return nn.ModuleList(nn.BatchNorm2d(num_feat) for _ in range(count))


class PlainFENet(nn.Module):

    def __init__(self, num_in, num_out):
        super().__init__()
        self.norm = nn.BatchNorm2d(num_in)
        self.conv = nn.Conv2d(num_in, num_out, 3, padding=1)

    def forward(self, x):
        return norm_relu_conv(x, self.norm, self.conv)


class PlainGate(nn.Module):

    def __init__(self, num_in, num_out):
        super().__init__()
        self.norm = nn.BatchNorm2d(num_in)
        self.conv = nn.Conv2d(num_in, num_out, 1)

    def forward(self, sources):
        return norm_relu_conv(torch.cat(sources, dim=1), self.norm, self.conv)


class PlainBlock(nn.Module):

    def __init__(self, num_feat, num_recursion, num_long, long_term, short_term, shared_recursion):
        super().__init__()
        self.num_recursion, self.long_term, self.short_term = num_recursion, long_term, short_term
        self.conv_a = convs(1 if shared_recursion else num_recursion, num_feat, num_feat, 3)
        self.conv_b = convs(1 if shared_recursion else num_recursion, num_feat, num_feat, 3)
        self.norm_a = norms(num_recursion, num_feat)
        self.norm_b = norms(num_recursion, num_feat)
        num_sources = (num_recursion if short_term else 1) + (num_long if long_term else 0)
        self.gate = PlainGate(num_sources * num_feat, num_feat)

    def forward(self, memories):
        """memories: [B_0, ..., B_{m-1}]; returns B_m."""
        h, short = memories[-1], []
        for r in range(self.num_recursion):
            inner = norm_relu_conv(h, self.norm_a[r], self.conv_a[r % len(self.conv_a)])
            h = h + norm_relu_conv(inner, self.norm_b[r], self.conv_b[r % len(self.conv_b)])
            short.append(h)
        if not self.short_term:
            short = short[-1:]
        return self.gate((memories if self.long_term else []) + short)


class PlainMemNet(nn.Module):

    def __init__(self,
                 num_in_ch=1,
                 num_feat=64,
                 num_block=6,
                 num_recursion=6,
                 multi_supervised=True,
                 long_term=True,
                 short_term=True,
                 shared_recursion=True):
        super().__init__()
        self.multi_supervised = multi_supervised
        self.fenet = PlainFENet(num_in_ch, num_feat)
        self.memory_blocks = nn.ModuleList(
            PlainBlock(num_feat, num_recursion, m, long_term, short_term, shared_recursion)
            for m in range(1, num_block + 1))
        self.recon_norms = norms(num_block if multi_supervised else 1, num_feat)
        self.recon_conv = nn.Conv2d(num_feat, num_in_ch, 3, padding=1)
        if multi_supervised:
            self.ensemble_weight = nn.Parameter(torch.full((num_block, ), 1 / num_block))

    def forward(self, x):
        """Returns [y, y_1, ..., y_M], and [y] for the basic network."""
        memories = [self.fenet(x)]
        for block in self.memory_blocks:
            memories.append(block(memories))
        if not self.multi_supervised:
            return [x + norm_relu_conv(memories[-1], self.recon_norms[0], self.recon_conv)]
        outputs = [x + norm_relu_conv(b, norm, self.recon_conv) for b, norm in zip(memories[1:], self.recon_norms)]
        return [sum(w * y for w, y in zip(self.ensemble_weight, outputs))] + outputs
