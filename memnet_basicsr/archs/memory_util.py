import contextlib
import math
import torch
from torch import nn as nn
from torch.nn import functional as F

LEVELS = ('part', 'instance', 'semantic')


class Addressing(nn.Module):
    """Weights with which features address the prototypes of one level: w_ij = softmax_j(cos(f_i, m_j) / temperature).

    Weights below the threshold become 0, and the others are normalized to sum 1. The largest weight always stays:
    otherwise a feature with nearly uniform weights would read nothing. A module, so that forward hooks can observe it.

    Args:
        threshold (float): 0 keeps all weights.
    """

    def __init__(self, threshold):
        super().__init__()
        self.threshold = threshold

    def forward(self, feat, prototypes, temperature):
        """(n, C) features, (N, C) prototypes and a scalar -> (n, N) weights."""
        # Faster than cosine / temperature and weight / sum: fewer operations on (n, N), backward even more so.
        score = F.normalize(feat, dim=-1) @ (F.normalize(prototypes, dim=-1) / temperature).t()
        weight = torch.softmax(score, dim=-1)
        if self.threshold > 0:
            keep = weight >= weight.detach().amax(dim=-1, keepdim=True).clamp(max=self.threshold)
            weight = weight * keep.to(weight.dtype)
            weight = weight * weight.sum(dim=-1, keepdim=True).reciprocal()
        return weight


class Summary(nn.Module):
    """Prototype of the next level from each block of ``num`` prototypes: mean weighted by learned gates.

    Gates are sigmoid(1x1 convolution over the block) for each channel, and are normalized to sum 1, so that a summary
    has the magnitude of a prototype. The released code averages the gated prototypes without normalization.
    """

    def __init__(self, num):
        super().__init__()
        self.num = num
        self.gate = nn.Linear(num, num)

    def forward(self, prototypes):
        """(N * num, C) -> (N, C)."""
        blocks = prototypes.view(-1, self.num, prototypes.shape[1]).transpose(1, 2)
        gates = torch.sigmoid(self.gate(blocks))
        return (gates * blocks).sum(-1) / gates.sum(-1)


class HierarchicalMemory(nn.Module):
    """Memory of prototypes in three levels: part, instance and semantic.

    Memory augment is All You Need for image restoration (Zhang et al.).
    Ref: https://arxiv.org/abs/2309.01377

    A feature f_i reads y_i = sum_j w_ij m_j (weights: :class:`Addressing`). Part prototypes are parameters. A prototype
    of a higher level summarizes a block of lower ones (:class:`Summary`). Departures: one modality instead of two, one
    semantic prototype for each class, and a learned temperature (the paper has 1, at which the weights are nearly
    uniform, since a cosine is at most 1).

    Args:
        num_feat (int): Channels C of a prototype. Default: 64.
        num_class (int): Classes. Default: 10.
        num_instance (int): Instances of a class. Default: 2.
        num_part (int): Parts of an instance. Default: 5.
        top (str): Highest level in use. Default: 'semantic'.
        temperature (float): Initial temperature of every level, above 0. Default: 0.1.
        threshold (float): Smaller weights become 0. Default: 0.0025.

    Raises:
        ValueError: If an argument is outside its range, or a level is above ``top``.
    """

    def __init__(self,
                 num_feat=64,
                 num_class=10,
                 num_instance=2,
                 num_part=5,
                 top='semantic',
                 temperature=0.1,
                 threshold=0.0025):
        super().__init__()
        sizes = dict(num_feat=num_feat, num_class=num_class, num_instance=num_instance, num_part=num_part)
        for name, value in dict(sizes, temperature=temperature).items():
            if value <= 0:
                raise ValueError(f'{name} must be above 0, but received {value}.')
        self.num_feat, self.top = num_feat, check_level(top)
        self.weight = nn.Parameter(torch.randn(num_class * num_instance * num_part, num_feat))
        blocks = (num_part, num_instance)[:LEVELS.index(top)]
        self.summaries = nn.ModuleList([Summary(v) if v > 1 else nn.Identity() for v in blocks])
        self.log_temperature = nn.Parameter(torch.full((len(blocks) + 1, ), math.log(temperature)))
        self.addressing = nn.ModuleList([Addressing(threshold) for _ in range(len(blocks) + 1)])

    def prototypes(self, level):
        """Prototypes of a level, (N, C)."""
        if LEVELS.index(check_level(level)) > LEVELS.index(self.top):
            raise ValueError(f"level '{level}' is above the top level '{self.top}' of the memory.")
        out = self.weight
        for summary in self.summaries[:LEVELS.index(level)]:
            out = summary(out)
        return out

    def address(self, feat, level):
        """Weights (n, N) of features (n, C) for the prototypes of a level."""
        prototypes, i = self.prototypes(level), LEVELS.index(level)
        return self.addressing[i](feat, prototypes, self.log_temperature[i].exp())

    def read(self, feat, level='part', chained=False):
        """Read from the memory.

        Args:
            feat (Tensor): Features (n, C).
            level (str): Level to read from. Default: 'part'.
            chained (bool): Read from 'part' first, and from each further level with the previous read, as in the
                released code. Default: False.

        Returns:
            Tensor: (n, C).
        """
        for name in LEVELS[:LEVELS.index(check_level(level)) + 1] if chained else (level, ):
            feat = self.address(feat, name) @ self.prototypes(name)
        return feat


class RunningScaler(nn.Module):
    """Normalize each channel with running statistics, (x - mean) / std, also in training.

    Batch statistics would make features depend on each other. The statistics are the mean over all batches so far and,
    after 1 / momentum batches, an exponential moving average.

    Args:
        num_feat (int): Channels.
        momentum (float): Minimum weight of a new batch, in (0, 1]. Default: 0.01.
    """

    def __init__(self, num_feat, momentum=0.01):
        super().__init__()
        self.momentum = momentum
        self.register_buffer('mean', torch.zeros(num_feat))
        self.register_buffer('var', torch.ones(num_feat))
        self.register_buffer('count', torch.zeros((), dtype=torch.long))

    def forward(self, feat, update=True):
        """(n, num_feat) -> (n, num_feat); training updates the statistics unless ``update`` is False."""
        if self.training and update:
            with torch.no_grad():
                self.count += 1
                share = (1 / self.count.to(self.mean.dtype)).clamp(min=self.momentum)
                mean, var = feat.to(self.mean.dtype).mean(0), feat.to(self.var.dtype).var(0, unbiased=False)
                self.var.lerp_(var + (1 - share) * (mean - self.mean)**2, share)
                self.mean.lerp_(mean, share)
        return (feat - self.mean) * (self.var + 1e-5).rsqrt()


class MemoryInsertion(nn.Module):
    """Join features with the memory's read: x + W_out read(W_in x).

    W_out starts at zero, so that the network starts as the one without memory. The gradient of W_out is not zero there.

    Args:
        num_in (int): Channels of the features.
        memory_feat (int): Channels of the memory.
        level (str): Level to read from. Default: 'part'.
        chained (bool): See :meth:`HierarchicalMemory.read`. Default: False.
        replace (bool): Return W_out read(W_in x) only, as in the paper. W_out then starts at random. Default: False.
        recall (bool): Whether to have a second W_out for :func:`recalling` (unused with ``replace``). Default: False.
        centred (bool): Whether to normalize the features (:class:`RunningScaler`) before W_in. The mean of features is
            far from zero, so that without this all of them read nearly the same. Not in the paper. Default: False.
    """

    def __init__(self, num_in, memory_feat, level='part', chained=False, replace=False, recall=False, centred=False):
        super().__init__()
        self.level, self.chained, self.replace = check_level(level), chained, replace
        self.recalling = False
        self.scaler = RunningScaler(num_in) if centred else None
        self.proj_in = nn.Linear(num_in, memory_feat)
        self.proj_out = nn.Linear(memory_feat, num_in, bias=False)
        if not replace:
            nn.init.zeros_(self.proj_out.weight)
        self.proj_recall = nn.Linear(memory_feat, num_in, bias=False) if recall and not replace else None

    def forward(self, x, memory):
        """Features (N, num_in, H, W) or (N, L, num_in) and a HierarchicalMemory -> features of the same shape."""
        proj_out = self.proj_recall if self.recalling and not self.replace else self.proj_out
        if proj_out is None:
            raise ValueError("MemoryInsertion has no layer for recalling; set 'reconstruction: true' in network_g.")
        feat = to_rows(x)
        if self.scaler is not None:  # reconstruction does not update the statistics
            feat = self.scaler(feat, update=not self.recalling)
        read = from_rows(proj_out(memory.read(self.proj_in(feat), self.level, self.chained)), x)
        return read if self.replace or self.recalling else x + read


@contextlib.contextmanager
def recalling(module):
    """Context in which every MemoryInsertion of ``module`` returns the read only, so that no feature bypasses it."""
    insertions = [v for v in module.modules() if isinstance(v, MemoryInsertion)]
    for insertion in insertions:
        insertion.recalling = True
    try:
        yield
    finally:
        for insertion in insertions:
            insertion.recalling = False


def to_rows(x):
    """(N, C, H, W) or (N, L, C) -> (n, C)."""
    if x.dim() not in (3, 4):
        raise ValueError(f'Features must be (N, C, H, W) or (N, L, C), but received shape {tuple(x.shape)}.')
    return (x.permute(0, 2, 3, 1) if x.dim() == 4 else x).reshape(-1, x.shape[1 if x.dim() == 4 else 2])


def from_rows(rows, x):
    """Inverse of :func:`to_rows` for features of the size of x."""
    if x.dim() == 3:
        return rows.view(x.shape[0], x.shape[1], -1)
    return rows.view(x.shape[0], x.shape[2], x.shape[3], -1).permute(0, 3, 1, 2)


def check_level(level):
    """Return ``level`` if it is one of ``LEVELS``."""
    if level not in LEVELS:
        raise ValueError(f"level must be one of {', '.join(LEVELS)}, but received '{level}'.")
    return level
