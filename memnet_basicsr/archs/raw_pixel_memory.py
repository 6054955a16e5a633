import torch
from torch import nn as nn

from .memory_util import from_rows, to_rows


class RawPixelMemory(nn.Module):
    """Memory of the released MemoryNet: it acts on the image, and its reads replace the image.

    Unlike the paper, the released code uses dot products instead of cosines, and chains the reads from part to
    semantic. It views the (num_cls * ptt_num * part_num, C) prototypes as (num_cls * ptt_num, C, part_num) before the
    summary over parts, which mixes the axes.

    Args:
        num_in_ch (int): Channels C of the image. Default: 3.
        num_cls (int): Classes. Default: 10.
        ptt_num (int): Instances of a class. Default: 2.
        part_num (int): Parts of an instance. Default: 5.
    """

    def __init__(self, num_in_ch=3, num_cls=10, ptt_num=2, part_num=5):
        super().__init__()
        num = num_cls * ptt_num * part_num
        bound = num_in_ch**-0.5
        self.memory = nn.Module()  # the released parameter names have this extra level
        self.memory.weight = nn.Parameter(torch.empty(num, num_in_ch).uniform_(-bound, bound))
        self.memory.reweight_layer_part = nn.Conv1d(part_num, part_num, 1)
        self.memory.reweight_layer_ins = nn.Conv1d(ptt_num, ptt_num, 1)

    def prototypes(self):
        """The (N, C) prototypes of the levels part, instance and semantic."""
        out = [self.memory.weight]
        for layer, mixed in ((self.memory.reweight_layer_part, True), (self.memory.reweight_layer_ins, False)):
            num, channels = layer.in_channels, self.memory.weight.shape[1]
            blocks = out[-1].view(-1, channels, num).transpose(1, 2) if mixed else out[-1].view(-1, num, channels)
            out.append((torch.sigmoid(layer(blocks)) * blocks).mean(1))
        return out

    def address(self, feat, prototypes):
        """(n, C) pixels and (N, C) prototypes -> (n, N) weights; those up to 0.0025 become 0."""
        weight = torch.softmax(feat @ prototypes.t(), dim=-1)
        weight = weight * (weight > 0.0025)
        return weight / weight.sum(-1, keepdim=True).clamp(min=1e-12)

    def read(self, feat, prototypes):
        """(n, C) pixels and (N, C) prototypes -> (n, C) reads."""
        return self.address(feat, prototypes) @ prototypes

    def forward(self, x):
        """Image (N, C, H, W) -> its reads [part, instance, semantic], each like the image."""
        feat, reads = to_rows(x), []
        for prototypes in self.prototypes():
            feat = self.read(feat, prototypes)
            reads.append(from_rows(feat, x))
        return reads
