"""The memory alone: a hierarchy of prototypes that features read from, for any network.

:class:`HierarchicalMemory` is the bank, and :class:`MemoryInsertion` joins its read to a feature.
"""
import contextlib
import math
import operator
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ..errors import UsageError

LEVELS = ('part', 'instance', 'semantic')


def to_rows(x):
    """(N, C, H, W) or (N, L, C) -> rows (n, C) and the function that brings rows back to that form."""
    if x.dim() == 4:
        n, _, h, w = x.shape
        return x.permute(0, 2, 3, 1).flatten(0, 2), lambda rows: rows.unflatten(0, (n, h, w)).permute(0, 3, 1, 2)
    if x.dim() == 3:
        return x.flatten(0, 1), lambda rows: rows.unflatten(0, x.shape[:2])
    raise UsageError(f'memory: features must be (N, C, H, W) or (N, L, C), got shape {tuple(x.shape)}')


def by_chunks(step, rows, chunk):
    """step(rows), at most ``chunk`` rows at a time, so that a large picture's addressing never exists at once."""
    if rows.shape[0] <= chunk:
        return step(rows)
    if torch.is_grad_enabled():
        parts = [checkpoint(step, v, use_reentrant=False, preserve_rng_state=False) for v in rows.split(chunk)]
        return torch.cat(parts)
    out = None
    for start in range(0, rows.shape[0], chunk):
        part = step(rows[start:start + chunk])
        if out is None:
            out = part.new_empty(rows.shape[0], part.shape[1])
        out[start:start + chunk] = part
    return out


def harden(weight, threshold):
    """Drop the weights below ``threshold`` and scale the rest of each row to sum 1.

    The largest weight of a row always stays, or a row that is all but uniform would read nothing and never learn.
    """
    if threshold <= 0:
        return weight
    weight = weight * (weight >= weight.detach().amax(-1, keepdim=True).clamp(max=threshold))
    return weight / weight.sum(-1, keepdim=True)


class Summary(nn.Module):
    """One prototype per block of ``num`` lower ones: their mean under learned gates, (n * num, C) -> (n, C).

    The gates are sigmoid(linear map over the block), per channel, and are divided by their sum: a summary of prototypes
    stays as large as they are.
    """

    def __init__(self, num):
        super().__init__()
        self.num = num
        self.gate = nn.Linear(num, num)

    def forward(self, prototypes):
        blocks = prototypes.unflatten(0, (-1, self.num)).transpose(1, 2)
        gates = torch.sigmoid(self.gate(blocks))
        return (gates * blocks).sum(-1) / gates.sum(-1)


class HierarchicalMemory(nn.Module):
    """Memory of prototypes in the levels part, instance and semantic.

    Hierarchical memory learning for generic image restoration, https://arxiv.org/abs/2309.01377. For a feature f and
    the prototypes m_j of one level: w_j = softmax_j(cos(f, m_j) / temperature), weights below the threshold are dropped
    and the rest scaled to sum 1, read = sum_j w_j m_j. The part level has num_class * num_semantic * num_instance *
    num_part prototypes, which are the learned ones; a prototype of a higher level is a gated mean of its block of lower
    ones (:class:`Summary`). The paper's factor 2 of modalities is left out: there is one modality here.

    Args:
        num_feat (int): Channels C of a prototype. Default: 64.
        num_class (int): Classes Nc. Default: 10.
        num_instance (int): Instances I of a semantic prototype. Default: 2.
        num_part (int): Parts P of an instance. Default: 5.
        num_semantic (int): Semantic prototypes S of a class. Default: 1.
        top (str): Highest level that will be read; the gates of higher ones are not made. Default: 'semantic'.
        temperature (float): Where the temperature starts, above 0; each level has its own. At the paper's 1 the
            addressing is all but uniform, since cosines lie within -1 and 1. Default: 0.1.
        learn_temperature (bool): Whether it is learned. Default: True.
        threshold (float): Weights below it are dropped; 0 keeps all. Default: 0.0025.
        threshold_unit (str): 'absolute', or 'uniform': in multiples of 1/N, the weight that each of a level's N
            prototypes has when the addressing is uniform. Default: 'absolute'.
        chunk (int): Rows (pixels, tokens) read at once. Default: 16384.
        frozen (bool): Prototypes, gates and temperature keep their start, random or that of another run
            (``path: pretrain_network_memory``): a control, or transfer. Default: False.
        centred (bool): Insertions centre and scale their features before they address, see :class:`RunningScaler`.
            Without it features, whose mean is far from zero, all point one way, and every pixel reads the same. The
            paper does not have it. Default: False.
        shuffled (bool): What was read is put in a random order of pixels and pictures, in evaluation mode always the
            same one: a control, in which what the memory holds is kept and where it belongs is lost. Default: False.

    Raises:
        UsageError: An argument out of range, features of another width, a level above ``top``.
    """

    def __init__(self,
                 num_feat=64,
                 num_class=10,
                 num_instance=2,
                 num_part=5,
                 num_semantic=1,
                 top='semantic',
                 temperature=0.1,
                 learn_temperature=True,
                 threshold=0.0025,
                 threshold_unit='absolute',
                 chunk=16384,
                 frozen=False,
                 centred=False,
                 shuffled=False):
        super().__init__()
        sizes = dict(num_feat=num_feat, num_class=num_class, num_instance=num_instance, num_part=num_part)
        for name, value in dict(sizes, num_semantic=num_semantic, chunk=chunk, temperature=temperature).items():
            if value <= 0:
                raise UsageError(f'memory: {name} must be above 0, got {value}')
        if threshold_unit not in ('absolute', 'uniform'):
            raise UsageError(f"memory: threshold_unit must be 'absolute' or 'uniform', got '{threshold_unit}'")
        self.num_feat = num_feat
        self.top = check_level(top)
        self.threshold = threshold
        self.threshold_unit = threshold_unit
        self.chunk = chunk
        self.weight = nn.Parameter(torch.randn(num_class * num_semantic * num_instance * num_part, num_feat))
        blocks = (num_part, num_instance)[:LEVELS.index(top)]
        self.summaries = nn.ModuleList([Summary(v) if v > 1 else nn.Identity() for v in blocks])
        start = torch.full((len(blocks) + 1, ), math.log(temperature))
        if learn_temperature:
            self.log_temperature = nn.Parameter(start)
        else:
            self.register_buffer('log_temperature', start)
        self.centred = centred
        self.shuffled = shuffled
        if frozen:
            self.requires_grad_(False)
        self._sums = None

    def prototypes(self, level):
        """Prototypes of a level, (N, C)."""
        if LEVELS.index(check_level(level)) > LEVELS.index(self.top):
            raise UsageError(f"memory: level '{level}' lies above the memory's top level '{self.top}'")
        out = self.weight
        for summary in self.summaries[:LEVELS.index(level)]:
            out = summary(out)
        return out

    def read(self, x, levels='part', chained=False, return_attention=False):
        """Read from one or several levels.

        Args:
            x (Tensor): Features (N, C, H, W) or (N, L, C), of any range.
            levels (str | list[str]): Level, or levels. Default: 'part'.
            chained (bool): Read each level with what the level below it returned, starting at 'part', as the released
                code does, instead of with ``x`` itself. Default: False.
            return_attention (bool): Also return the weights, (N, prototypes, H, W) or (N, L, prototypes). They are
                as large as that says: nothing is read in chunks then. Default: False.

        Returns:
            Tensor, like ``x``; with attention a pair; for several levels a list of these.
        """
        if not isinstance(levels, str):
            return [self.read(x, v, chained, return_attention) for v in levels]
        rows, back = to_rows(x)
        if rows.shape[1] != self.num_feat:
            raise UsageError(f'memory: it holds {self.num_feat} channels, the features have {rows.shape[1]}')
        if not return_attention:
            return back(self.read_rows(rows, levels, chained))
        steps = self.steps(levels, chained)
        for name, key, value in steps:
            weight = self.address(rows, name, key)
            rows = weight @ value
        return back(self.displace(rows)), back(weight)

    def read_rows(self, rows, level, chained=False, proj_in=None, proj_out=None):
        """Read rows (n, c), by chunks; proj_in maps rows to C channels, proj_out (linear) maps what was read."""
        steps = self.steps(level, chained, proj_out)

        def step(rows):
            rows = rows if proj_in is None else proj_in(rows)
            for name, key, value in steps:
                rows = self.address(rows, name, key) @ value
            return rows

        return self.displace(by_chunks(step, rows, self.chunk))

    def displace(self, rows):
        """Rows as they are; with ``shuffled`` in a random order."""
        if not self.shuffled:
            return rows
        generator = None if self.training else torch.Generator().manual_seed(0)
        return rows[torch.randperm(len(rows), generator=generator).to(rows.device)]

    def steps(self, level, chained=False, proj_out=None):
        """(level, keys, values) of each read; the keys carry the temperature, the last values the projection."""
        names = LEVELS[:LEVELS.index(check_level(level)) + 1] if chained else (level, )
        out = []
        for name in names:
            value = self.prototypes(name)
            key = F.normalize(value, dim=-1) * torch.exp(-self.log_temperature[LEVELS.index(name)])
            out.append((name, key, value if proj_out is None or name != level else proj_out(value)))
        return out

    def address(self, rows, level, key):
        """Weights (n, N) with which rows (n, C) address the keys (N, C) of a level."""
        weight = torch.softmax(F.normalize(rows, dim=-1) @ key.t(), dim=-1)
        weight = harden(weight, self.threshold / (key.shape[0] if self.threshold_unit == 'uniform' else 1))
        if self._sums is not None:
            with torch.no_grad():
                weight = weight.detach().float()
                mean = weight.mean(0)
                found = (len(weight), weight.sum(0), -torch.xlogy(weight, weight).sum(),
                         -torch.xlogy(mean, mean).sum() * len(weight))  # yapf: disable
                known = self._sums.get(level)
                self._sums[level] = tuple(map(operator.add, known, found)) if known else found
        return weight

    def measure(self, on=True):
        """Start (or stop) gathering what :meth:`measures` reports; nothing is gathered until it is asked for."""
        self._sums = {} if on else None

    @torch.no_grad()
    def measures(self):
        """How the memory was addressed since :meth:`measure` or the last call of this, then start afresh.

        Returns:
            dict[str, float]: For each level that was read: ``entropy_<level>``, mean over the rows of the weights'
            entropy over log N, 0 (one prototype) to 1 (uniform); ``information_<level>``, that of the mean weights of a
            read (of an insertion, of a chunk), less the former: 0 if all its rows read the same;
            ``dead_<level>``, share of the prototypes whose mean weight is below a tenth of 1/N;
            ``similarity_<level>``, mean cosine between two different prototypes.
        """
        out = {}
        for level, (count, usage, entropy, entropy_of_mean) in (self._sums or {}).items():
            num = len(usage)
            scale = math.log(num) if num > 1 else 1.
            out[f'entropy_{level}'] = float(entropy / count / scale)
            out[f'information_{level}'] = float((entropy_of_mean - entropy) / count / scale)
            out[f'dead_{level}'] = float((usage / count < 0.1 / num).float().mean())
            out[f'similarity_{level}'] = float((self.similarity(level).sum() - num) / max(num * (num - 1), 1))
        if self._sums is not None:
            self._sums = {}
        return out

    def similarity(self, level):
        """Cosines between the prototypes of a level, (N, N)."""
        key = F.normalize(self.prototypes(level), dim=-1)
        return key @ key.t()


class RunningScaler(nn.Module):
    """(x - mean) / std of each channel, with running statistics also in training, so that rows do not see each other.

    The statistics are the mean over all batches so far, after 1 / momentum batches an exponential average.

    Args:
        num_feat (int): Channels.
        momentum (float): Least weight of a new batch. Default: 0.01.
    """

    def __init__(self, num_feat, momentum=0.01):
        super().__init__()
        self.momentum = momentum
        self.register_buffer('mean', torch.zeros(num_feat))
        self.register_buffer('var', torch.ones(num_feat))
        self.register_buffer('count', torch.zeros((), dtype=torch.long))

    def forward(self, rows):
        """Rows (n, num_feat) -> rows of the same shape."""
        if self.training:
            with torch.no_grad():
                self.count += 1
                weight = (1 / self.count).clamp(min=self.momentum)
                var, mean = torch.var_mean(rows.float(), 0, correction=0)
                # the variance of all rows seen, about their common mean
                self.var.lerp_(var + (1 - weight) * (mean - self.mean)**2, weight)
                self.mean.lerp_(mean, weight)
        return (rows - self.mean) * (self.var + 1e-5).rsqrt()  # F.batch_norm would keep the buffers for the gradient


class MemoryInsertion(nn.Module):
    """Joins what a memory holds for a feature to that feature: x + W_out read(W_in x).

    W_out starts at zero, so at first the network is the one without memory, bit for bit; its gradient does not vanish
    there, so it opens within a short training (a zero scalar hardly does).

    Args:
        num_in (int): Channels of the feature.
        memory_feat (int): Channels of the memory.
        level (str): Level that is read. Default: 'part'.
        chained (bool): As in :meth:`HierarchicalMemory.read`. Default: False.
        replace (bool): Return W_out read(W_in x) alone, as in the paper; W_out then starts at random. Default: False.
        recall (bool): Have a second W_out for a replacing read on request (:func:`recalling`), to reconstruct from the
            memory alone. Not needed with ``replace``. Default: False.
        centred (bool): Features are centred and scaled before W_in (:class:`RunningScaler`). Default: False.
    """

    def __init__(self, num_in, memory_feat, level='part', chained=False, replace=False, recall=False, centred=False):
        super().__init__()
        self.level = check_level(level)
        self.chained = chained
        self.replace = replace
        self.recalling = False
        self.scaler = RunningScaler(num_in) if centred else nn.Identity()
        self.proj_in = nn.Linear(num_in, memory_feat)
        self.proj_out = nn.Linear(memory_feat, num_in, bias=False)
        if not replace:
            nn.init.zeros_(self.proj_out.weight)
        self.proj_recall = nn.Linear(memory_feat, num_in, bias=False) if recall and not replace else None

    def forward(self, x, memory):
        """Features (N, num_in, H, W) or (N, L, num_in) and the HierarchicalMemory -> features of the same shape."""
        rows, back = to_rows(x)
        proj_out = self.proj_out
        if self.recalling and not self.replace:
            if self.proj_recall is None:
                raise UsageError('memory: this insertion was built without recall, so it has no replacing read')
            proj_out = self.proj_recall
        read = back(memory.read_rows(self.scaler(rows), self.level, self.chained, self.proj_in, proj_out))
        return read if self.replace or self.recalling else x + read


@contextlib.contextmanager
def recalling(module):
    """Within this context every MemoryInsertion of ``module`` returns the read alone, which no feature bypasses."""
    insertions = [v for v in module.modules() if isinstance(v, MemoryInsertion)]
    for insertion in insertions:
        insertion.recalling = True
    try:
        yield
    finally:
        for insertion in insertions:
            insertion.recalling = False


def check_level(level):
    """``level`` if it names a level, else a UsageError."""
    if level not in LEVELS:
        raise UsageError(f"memory: there is no level '{level}'; levels are {', '.join(LEVELS)}")
    return level
