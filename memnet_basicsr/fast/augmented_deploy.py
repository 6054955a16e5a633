import torch
from copy import deepcopy
from functools import partial
from torch import nn

from ..archs.memory_designs import DegradationPlace
from .memnet_deploy import MemNetDeploy


class MemoryAugmentedDeploy(nn.Module):
    """Inference form of MemoryAugmented over MemNet, with memories after memory blocks: the same function.

    The memory computes in float32, since statistics need its digits.

    Args:
        net (MemoryAugmented): Trained network; a copy of its weights is taken.
        dtype (torch.dtype | None): Type of the weights of the backbone, such as ``torch.bfloat16``. Default: None.
    """

    def __init__(self, net, dtype=None):
        super().__init__()
        self.backbone = MemNetDeploy(net.backbone).to(dtype)
        self.memory, self.insertions = deepcopy(net.memory), deepcopy(net.insertions)
        for name, block in self.backbone.named_modules():
            if (key := name.replace('.', '_')) in self.insertions:
                block.register_forward_hook(partial(self._insert, key))
        self.eval().requires_grad_(False)

    @staticmethod
    def fits(net):
        """Whether a MemoryAugmented has this form."""
        blocks = getattr(net.backbone, 'memory_blocks', ())
        return set(net.insertions) <= {f'memory_blocks_{m}' for m in range(len(blocks))}

    @torch.no_grad()
    def forward(self, x):
        """Restore an image (n, c, h, w), in [0, 1], of any size; the result has the shape and type of ``x``."""
        if hasattr(self.memory, 'observe'):
            self.memory.observe(x)
        return self.backbone(x)

    def _insert(self, key, block, args, output):
        order, back = ((0, 1, 2, 3), ) * 2 if torch.jit.is_tracing() else ((0, 3, 1, 2), (0, 2, 3, 1))
        insertion, x = self.insertions[key], output.permute(order)
        if not isinstance(insertion, DegradationPlace):  # which has float32 inside, whatever the feature has
            x = x.to(next(insertion.parameters()).dtype)
        return insertion(x, self.memory).permute(back).to(output.dtype)
