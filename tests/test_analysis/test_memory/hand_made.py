"""A network with known addressing: each 2x2 cell addresses one of three prototypes by its color."""
import torch
from torch import nn
from torch.nn import functional as F

from memnet_basicsr.archs.memory_util import HierarchicalMemory, MemoryInsertion

RED, GREEN, BLUE = torch.eye(3)


class ColorNet(nn.Module):
    """Return the image, and read a memory of the prototypes red, green and blue with the image at half its size."""

    def __init__(self, level='part', chained=False, temperature=.01, size_multiple=1):
        super().__init__()
        self.size_multiple = size_multiple
        self.memory = HierarchicalMemory(3, 3, 1, 1, top=level, temperature=temperature, threshold=0)
        self.insertions = nn.ModuleDict({'only': MemoryInsertion(3, 3, level, chained)})
        with torch.no_grad():
            self.memory.weight.copy_(torch.eye(3))
            self.insertions['only'].proj_in.weight.copy_(torch.eye(3))
            self.insertions['only'].proj_in.bias.zero_()

    def forward(self, x):
        self.insertions['only'](F.avg_pool2d(x, 2), self.memory)
        return x


def make_image(height=16, width=16):
    """Red at the top, green at the bottom left, blue at the bottom right, (3, height, width)."""
    colors = torch.zeros(3, height, width)
    colors[:, :height // 2] = RED.view(3, 1, 1)
    colors[:, height // 2:, :width // 2] = GREEN.view(3, 1, 1)
    colors[:, height // 2:, width // 2:] = BLUE.view(3, 1, 1)
    return colors
