"""Memories of later papers, for :class:`MemoryAugmented`: degradation slots, a dictionary that groups tokens, centers.

Each design is a bank that all places share and a module for one place, which starts as the identity. All address
through :class:`TopKAddressing`, so that hooks observe and change every design in the same way.
"""
import math
import torch
import torch.distributed as dist
from torch import nn as nn
from torch.nn import functional as F

from .memory_util import RunningScaler, from_rows, to_rows

TILE = 64  # side in pixels, a multiple of 8, the side of a JPEG block


class TopKAddressing(nn.Module):
    """Weights of the k most similar slots: softmax(cosine / temperature) over them, 0 for the others.

    Args:
        num_slot (int): Slots K.
        top_k (int | None): Slots that a query reads. None: all.
        temperature (float): Initial temperature (learned), above 0. Default: 0.1.
    """

    def __init__(self, num_slot, top_k=None, temperature=0.1):
        super().__init__()
        if top_k is not None and not 1 <= top_k <= num_slot:
            raise ValueError(f'top_k must be in [1, {num_slot}], but received {top_k}.')
        self.top_k = top_k
        self.log_temperature = nn.Parameter(torch.tensor(math.log(temperature)))

    def forward(self, query, keys, bias=None):
        """(n, d) queries, (K, d) keys and a (K) bias, used only in the selection -> (n, K) weights, which sum to 1."""
        query, keys = F.normalize(query, dim=-1), F.normalize(keys, dim=-1)
        score = query @ (keys / self.log_temperature.exp()).t()  # faster than to divide the (n, K) cosines
        if self.top_k is not None:
            cosine = query @ keys.t()
            chosen = (cosine if bias is None else cosine + bias).topk(self.top_k, dim=-1).indices
            score = score.masked_fill(torch.ones_like(score).scatter(-1, chosen, 0).bool(), -torch.inf)
        return torch.softmax(score, dim=-1)


class DegradationMemory(nn.Module):
    """Slots for kinds of degradation, read by a query from features and statistics of the input.

    Ref: BiDeMem, https://arxiv.org/abs/2606.28112. Departures: one bank of slots only, addressed by this query;
    hand-crafted statistics (:func:`degradation_statistics`); load balance by a selection bias
    (https://arxiv.org/abs/2408.15664) instead of a loss. State: keys and values (parameters), bias and mean load of
    each slot (buffers).

    Args:
        num_feat (int): Channels of a key and of a value. Default: 32.
        num_slot (int): Slots. Default: 16.
        top_k (int): Slots that a tile of an image reads. Default: 2.
        balance (float): Step of the bias after each read, one per place and batch; 0 for none. Default: 0.01.
        restart (float): A slot whose mean load falls below this share of 1 / num_slot becomes a near copy of the slot
            with the highest load; 0 for never. Default: 0.1.
    """

    def __init__(self, num_feat=32, num_slot=16, top_k=2, balance=0.01, restart=0.1):
        super().__init__()
        self.num_feat, self.balance, self.restart = num_feat, balance, restart
        self.keys = nn.Parameter(torch.randn(num_slot, num_feat))
        self.values = nn.Parameter(torch.randn(num_slot, num_feat))
        self.addressing = TopKAddressing(num_slot, top_k)
        self.scaler = RunningScaler(4)
        self.register_buffer('bias', torch.zeros(num_slot))
        self.register_buffer('load', torch.full((num_slot, ), 1 / num_slot))
        self.statistics = None

    def observe(self, x):
        """Prepare a forward pass of the network on x, (N, C, H, W) or frames (N, T, C, H, W)."""
        statistics = degradation_statistics(x.flatten(0, -4))
        statistics = statistics.view(x.size(0), -1, *statistics.shape[1:]).mean(1)
        self.statistics = self.scaler(statistics.flatten(0, 2)).view(statistics.shape)
        if self.training:
            self._restart()

    def read(self, query):
        """(n, num_feat) -> (n, num_feat)."""
        weight = self.addressing(query, self.keys, self.bias)
        if self.training:
            self._balance(weight)
        return weight @ self.values

    @torch.no_grad()
    def _balance(self, weight):
        load = mean_over_ranks((weight > 0).to(self.load.dtype).mean(0))
        load = load / load.sum()
        self.bias += self.balance * torch.sign(1 / len(load) - load)
        self.load.lerp_(load, 0.01)

    @torch.no_grad()
    def _restart(self):
        # without random numbers, so that all processes of a distributed run do the same
        dead, busiest = self.load < self.restart / len(self.load), self.load.argmax(0, keepdim=True)
        near = F.normalize(self.keys[busiest], dim=-1) + 0.1 * F.normalize(self.keys, dim=-1)
        self.keys.copy_(torch.where(dead[:, None], near, self.keys))
        self.values.copy_(torch.where(dead[:, None], self.values[busiest], self.values))
        self.load.masked_fill_(dead, 1 / len(self.load))


class DegradationPlace(nn.Module):
    """Scale and shift the channels of a feature by what its image reads: x * (1 + scale) + shift.

    An image reads the mean of what its tiles read, because the statistics of whole images differ from those of the
    patches in training (https://arxiv.org/abs/2112.04491). Tokens (N, L, num_in) read once.

    Args:
        num_in (int): Channels of the feature.
        memory_feat (int): Channels of the memory.
    """

    def __init__(self, num_in, memory_feat):
        super().__init__()
        self.query = nn.Sequential(
            nn.Linear(2 * num_in + 4, memory_feat), nn.ReLU(), nn.Linear(memory_feat, memory_feat))
        self.film = nn.Linear(memory_feat, 2 * num_in)
        nn.init.zeros_(self.film.weight)
        nn.init.zeros_(self.film.bias)

    def forward(self, x, memory):
        """(N, num_in, H, W) or (N, L, num_in) -> the same shape."""
        features, statistics = at_least_float32(x), memory.statistics  # a variance needs more digits than bf16 has
        if len(statistics) != len(x):
            raise ValueError('The degradation memory needs one feature for each image of the batch.')
        if x.dim() == 4:
            mean, square = (F.adaptive_avg_pool2d(v, statistics.shape[1:3]) for v in (features, features**2))
            mean, square = (v.flatten(2).transpose(1, 2) for v in (mean, square))  # (N, tiles, num_in)
            statistics = statistics.flatten(1, 2)
        else:
            mean, square = features.mean(1, True), (features**2).mean(1, True)
            statistics = statistics.mean((1, 2))[:, None]
        deviation = (square - mean**2).clamp(min=1e-8).sqrt()
        query = self.query(torch.cat([mean, deviation, statistics], dim=-1).to(self.film.weight.dtype))
        read = memory.read(query.flatten(0, 1)).view(query.shape).mean(1)
        scale, shift = self.film(read).to(x.dtype).chunk(2, dim=-1)
        if x.dim() == 4:
            return x * (1 + scale[..., None, None]) + shift[..., None, None]
        return x * (1 + scale[:, None]) + shift[:, None]


class Dictionary(nn.Module):
    """Token dictionary.

    Ref: ATD, https://arxiv.org/abs/2401.08209. Departure: it is not refined from layer to layer. State: the tokens
    (parameters).

    Args:
        num_feat (int): Channels of a token. Default: 32.
        num_slot (int): Tokens. Default: 32.
        group_size (int): Tokens of an image that attend to each other. Default: 64.
    """

    def __init__(self, num_feat=32, num_slot=32, group_size=64):
        super().__init__()
        self.num_feat, self.group_size = num_feat, group_size
        self.tokens = nn.Parameter(torch.randn(num_slot, num_feat))
        self.addressing = TopKAddressing(num_slot)


class DictionaryPlace(nn.Module):
    """Tokens attend to the dictionary, and to the tokens of their image that attend to the same entries.

    Tokens are sorted by the entry with the largest weight and cut into groups of one size, as in ATD.

    Args:
        num_in (int): Channels of the feature.
        memory_feat (int): Channels of the dictionary.
    """

    def __init__(self, num_in, memory_feat):
        super().__init__()
        self.scaler = RunningScaler(num_in)
        self.proj_in = nn.Linear(num_in, memory_feat)
        self.value = nn.Linear(memory_feat, memory_feat)
        self.qkv = nn.Linear(num_in, 3 * memory_feat)
        self.proj_out = nn.Linear(memory_feat, num_in, bias=False)
        nn.init.zeros_(self.proj_out.weight)

    def forward(self, x, memory):
        """(N, num_in, H, W) or (N, L, num_in) -> the same shape."""
        rows = self.scaler(to_rows(x))
        weight = memory.addressing(self.proj_in(rows), memory.tokens)
        read = weight @ self.value(memory.tokens)
        grouped = self._attend(rows.view(len(x), -1, rows.shape[1]), weight.argmax(-1).view(len(x), -1),
                               memory.group_size)  # yapf: disable
        return x + from_rows(self.proj_out(read + grouped.reshape(read.shape)), x)

    def _attend(self, tokens, category, size):
        """Attention of (N, L, num_in) tokens within groups of similar category."""
        length = tokens.shape[1]
        order = category.argsort(dim=1, stable=True)
        index = order[..., None]
        qkv = self.qkv(tokens)
        qkv = qkv.gather(1, index.expand_as(qkv))
        pad = -length % size
        if pad:  # the last group is filled up with the tokens before it, in reverse order
            qkv = torch.cat([qkv, qkv.flip(1).repeat(1, -(-pad // length), 1)[:, :pad]], dim=1)
        q, k, v = qkv.unflatten(1, (-1, size)).chunk(3, dim=-1)
        weight = torch.softmax(q @ k.transpose(-1, -2) / q.shape[-1]**0.5, dim=-1)
        out = (weight @ v).flatten(1, 2)[:, :length]
        return torch.zeros_like(out).scatter(1, index.expand_as(out), out)


class Centers(nn.Module):
    """Centers of features, learned as moving averages and not by gradients.

    Ref: CATANet, https://arxiv.org/abs/2503.06896. Departure: the centers serve a soft, residual read, not grouping.
    State: centers and mean load of each (buffers).

    Args:
        num_feat (int): Channels of a center. Default: 32.
        num_slot (int): Centers. Default: 32.
        decay (float): Decay of the moving average at each read, one per place and batch. Default: 0.99.
    """

    def __init__(self, num_feat=32, num_slot=32, decay=0.99):
        super().__init__()
        self.num_feat, self.decay = num_feat, decay
        self.addressing = TopKAddressing(num_slot)
        self.register_buffer('centers', torch.randn(num_slot, num_feat))
        self.register_buffer('load', torch.full((num_slot, ), 1 / num_slot))

    def read(self, query):
        """(n, num_feat) -> (n, num_feat)."""
        read = self.addressing(query, self.centers) @ self.centers
        if self.training:
            self._update(query)
        return read

    @torch.no_grad()
    def _update(self, query):
        query, centers = query.to(self.centers.dtype), self.centers
        nearest = (F.normalize(query, dim=-1) @ F.normalize(centers, dim=-1).t()).argmax(-1)
        hard = F.one_hot(nearest, len(centers)).to(centers.dtype)
        share, total = mean_over_ranks(hard.mean(0)), mean_over_ranks(hard.t() @ query / len(query))
        self.load.lerp_(share, 1 - self.decay)
        # the more features a center got, the further it moves; one without features stays
        step = (1 - self.decay) * share / self.load.clamp(min=1e-8)
        mean = total / share.clamp(min=1e-8)[:, None]
        self.centers = centers + step.clamp(max=1)[:, None] * (share > 0)[:, None] * (mean - centers)


class CentersPlace(nn.Module):
    """Add the read of the centers through a projection that starts at zero.

    Args:
        num_in (int): Channels of the feature.
        memory_feat (int): Channels of the centers.
    """

    def __init__(self, num_in, memory_feat):
        super().__init__()
        self.scaler = RunningScaler(num_in)
        self.proj_in = nn.Linear(num_in, memory_feat)
        self.proj_out = nn.Linear(memory_feat, num_in, bias=False)
        nn.init.zeros_(self.proj_out.weight)

    def forward(self, x, memory):
        """(N, num_in, H, W) or (N, L, num_in) -> the same shape."""
        read = memory.read(self.proj_in(self.scaler(to_rows(x))))
        return x + from_rows(self.proj_out(read), x)


DESIGNS = {
    'degradation': (DegradationMemory, DegradationPlace),
    'dictionary': (Dictionary, DictionaryPlace),
    'centers': (Centers, CentersPlace)
}


def degradation_statistics(x):
    """Statistics of tiles (of side TILE) of images that tell noise, blur and JPEG blocks apart.

    Args:
        x (Tensor): (N, C, H, W); sides below 9 pixels are padded, so that each of the 8 phases occurs. A smaller
            image is one tile.

    Returns:
        Tensor: (N, rows, columns, 4), logarithms of: standard deviation of noise (J. Immerkaer, Fast Noise Variance
        Estimation, CVIU 1996); mean difference of neighbors over that of pixels two apart (0.5 where it is smooth, 1
        for noise); largest over mean difference of neighbors among the 8 phases of columns, and of rows (1 without
        blocks).
    """
    x = at_least_float32(x).mean(1, keepdim=True)
    x = F.pad(x, (0, max(0, 9 - x.size(3)), 0, max(0, 9 - x.size(2))), 'replicate')
    for dim in (2, 3):
        tile = x.transpose(0, dim)[:TILE].size(0)  # the smaller of TILE and the side, also in a trace
        x = x.unfold(dim, tile, tile)
    grid = (x.size(0), *x.shape[2:4], 4)
    x = x.reshape(-1, 1, *x.shape[-2:])  # (tiles, 1, tile, tile)
    kernel = x.new_tensor([[1, -2, 1], [-2, 4, -2], [1, -2, 1]])[None, None]
    noise = math.sqrt(math.pi / 2) / 6 * F.conv2d(x, kernel).abs().mean((1, 2, 3))
    near = [(x[..., 1:] - x[..., :-1]).abs(), (x[..., 1:, :] - x[..., :-1, :]).abs().transpose(2, 3)]
    far = [(x[..., 2:] - x[..., :-2]).abs(), (x[..., 2:, :] - x[..., :-2, :]).abs()]
    sharpness = sum(v.mean((1, 2, 3)) for v in near) / (sum(v.mean((1, 2, 3)) for v in far) + 1e-6)
    blocks = []
    for difference in near:
        line = difference.mean(2)  # (tiles, 1, tile - 1)
        phases = torch.stack([line[..., p::8].mean(-1) for p in range(8)], dim=-1)
        blocks.append((phases.amax(-1) / (phases.mean(-1) + 1e-6)).squeeze(1))
    return torch.log(torch.stack([noise, sharpness, *blocks], dim=-1) + 1e-3).view(grid)


def at_least_float32(x):
    """x in float32, or as it is if it is float64."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def mean_over_ranks(value):
    """Mean over the processes of a distributed run."""
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(value)
        value = value / dist.get_world_size()
    return value
