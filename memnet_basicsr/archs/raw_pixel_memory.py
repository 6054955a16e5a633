import torch
from torch import nn

from .memory_util import by_chunks, to_rows


class RawPixelMemory(nn.Module):
    """The released MemoryNet's memory: it acts on the picture, and its reads replace the picture.

    As released, and unlike the paper: dot products instead of cosines, reads chained from part to semantic, and the
    (num_cls * ptt_num * part_num, C) prototypes are viewed as (num_cls * ptt_num, C, part_num) before the summary over
    parts, which mixes the axes. The threshold is 0.0025.

    Args:
        num_in_ch (int): Channels of the picture. Default: 3.
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
        self.chunk = 16384

    def prototypes(self):
        """The (N, C) prototypes of the levels part, instance and semantic."""
        out = [self.memory.weight]
        for layer, mixed in ((self.memory.reweight_layer_part, True), (self.memory.reweight_layer_ins, False)):
            num, channels = layer.in_channels, self.memory.weight.shape[1]
            blocks = out[-1].view(-1, channels, num).transpose(1, 2) if mixed else out[-1].view(-1, num, channels)
            out.append((torch.sigmoid(layer(blocks)) * blocks).mean(1))
        return out

    def forward(self, x):
        """(N, C, H, W) picture -> its reads [part, instance, semantic], each like the picture."""
        rows, back = to_rows(x)
        reads = []
        for prototypes in self.prototypes():

            def step(rows, prototypes=prototypes):
                weight = torch.softmax(rows @ prototypes.t(), dim=-1)
                weight = weight * (weight > 0.0025)
                return weight / weight.sum(-1, keepdim=True).clamp(min=1e-12) @ prototypes

            rows = by_chunks(step, rows, self.chunk)
            reads.append(back(rows))
        return reads
