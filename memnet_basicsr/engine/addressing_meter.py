import math
import operator
import torch
from torch.nn import functional as F

from ..archs.memory_util import LEVELS


class AddressingMeter:
    """Measure how the prototypes of a memory are addressed, by forward hooks.

    Args:
        memory (HierarchicalMemory): The memory. Every read from now until :meth:`close` counts.
    """

    def __init__(self, memory):
        self.memory = memory
        self.sums = {}
        self.handles = [
            module.register_forward_hook(lambda module, args, weight, level=level: self._add(level, weight))
            for level, module in zip(LEVELS, memory.addressing)
        ]

    @torch.no_grad()
    def _add(self, level, weight):
        weight = weight.detach().float()
        mean = weight.mean(0)
        found = (len(weight), weight.sum(0), -torch.xlogy(weight, weight).sum(),
                 -torch.xlogy(mean, mean).sum() * len(weight))  # yapf: disable
        known = self.sums.get(level)
        self.sums[level] = tuple(map(operator.add, known, found)) if known else found

    @torch.no_grad()
    def close(self):
        """Remove the hooks and return the measures.

        Returns:
            dict[str, float]: For each level that was read, with N prototypes: ``entropy_<level>``, mean entropy of the
                weights over log N, from 0 (one prototype) to 1 (uniform); ``information_<level>``, entropy of the mean
                weights of a read minus that, 0 if all features read the same; ``dead_<level>``, share of prototypes
                whose mean weight is below 0.1 / N; ``similarity_<level>``, mean cosine between two prototypes.
        """
        for handle in self.handles:
            handle.remove()
        out = {}
        for level, (count, usage, entropy, entropy_of_mean) in self.sums.items():
            num = len(usage)
            scale = count * (math.log(num) if num > 1 else 1.)
            unit = F.normalize(self.memory.prototypes(level), dim=-1)
            out[f'entropy_{level}'] = float(entropy / scale)
            out[f'information_{level}'] = float((entropy_of_mean - entropy) / scale)
            out[f'dead_{level}'] = float((usage / count < 0.1 / num).float().mean())
            out[f'similarity_{level}'] = float(((unit @ unit.t()).sum() - num) / max(num * (num - 1), 1))
        return out
