"""How a network addresses its memory while it restores a picture, seen from outside, by hooks."""
import contextlib
import math
import torch
from dataclasses import dataclass
from torch.nn import functional as F

from ...archs.memory_util import LEVELS, HierarchicalMemory, MemoryInsertion, to_rows
from ...archs.memorynet_arch import MemoryNet
from ...archs.mprnet_util import merge_columns, merge_rows
from ...archs.raw_pixel_memory import RawPixelMemory
from ...errors import UsageError
from ..networks import inference_of

DEAD = .1  # prototypes whose mean weight is below this share of 1/N count as dead, as in HierarchicalMemory.measures


@dataclass(frozen=True)
class Addressing:
    """The weights with which one place of a network addressed the prototypes of a level, over one picture.

    Args:
        place (str): Name of the insertion; 'picture' for the released memory on the picture.
        level (str): Level of the prototypes.
        weights (Tensor): (N, h, w), N prototypes; at each position they sum to 1.
        size (tuple[int]): Height and width in pixels of what the positions cover: the picture, padded right and bottom
            where the network needs it. Position (i, j) lies over the pixel ((i + 0.5) / h, (j + 0.5) / w) of it.
        query_cosine (float): Mean cosine between what any two positions ask the memory with. Near 1 they all ask the
            same, and the memory cannot but answer alike.
    """
    place: str
    level: str
    weights: torch.Tensor
    size: tuple
    query_cosine: float

    def entropy(self):
        """Entropy of the addressing at each position over log N, 0 (one prototype) to 1 (uniform), (h, w)."""
        num = len(self.weights)
        return -torch.xlogy(self.weights, self.weights).sum(0) / math.log(num) if num > 1 else self.weights[0] * 0

    def strongest(self):
        """Index of the prototype of the largest weight at each position, (h, w)."""
        return self.weights.argmax(0)


def find_memory(net):
    """The memory of a network.

    Args:
        net (nn.Module): Network.

    Returns:
        HierarchicalMemory | RawPixelMemory: The memory.

    Raises:
        UsageError: If it has none.
    """
    found = [v for v in net.modules() if isinstance(v, (HierarchicalMemory, RawPixelMemory))]
    if not found:
        raise UsageError(f'network_g: {type(net).__name__} as configured here has no memory; give one that has '
                         "(MemoryNet with 'memory: feature' or 'released', MemoryAugmented)")
    return found[0]


def prototypes(memory, level):
    """Prototypes of a level of a network's memory.

    Args:
        memory (HierarchicalMemory | RawPixelMemory): The memory.
        level (str): Level.

    Returns:
        Tensor: (N, C).
    """
    if isinstance(memory, RawPixelMemory):
        return memory.prototypes()[LEVELS.index(level)].detach()
    return memory.prototypes(level).detach()


def cosines(vectors):
    """Cosines between vectors (N, C), (N, N)."""
    unit = F.normalize(vectors, dim=-1)
    return unit @ unit.t()


def restore_and_watch(net, picture, note):
    """Restore a picture and hand over how the memory was addressed, one place after the other.

    Whatever a place reads is what the network itself computes: the memory's ``address`` is listened to. Chained reads
    are handed over level by level. Parts of a picture that a network treats apart (quarters and halves in MemoryNet)
    are put together; features of tokens are laid out as the picture is.

    Args:
        net (nn.Module): Network with a memory.
        picture (Tensor): (c, H, W), [0, 1].
        note (callable): Called with an :class:`Addressing`, whose weights lie on the network's device.

    Returns:
        Tensor: Restored picture, (c', H * s, W * s).

    Raises:
        UsageError: If the network has no memory, or a place sees the picture in pieces whose order is not known.
    """
    memory = find_memory(net)
    inference = inference_of(net)
    size = tuple(-(-v // inference.pad_multiple) * inference.pad_multiple for v in picture.shape[1:])
    watch = _watch_picture if isinstance(memory, RawPixelMemory) else _watch_insertions
    with watch(net, memory, size, note):
        return inference(net, picture[None])[0]


@contextlib.contextmanager
def _watch_insertions(net, memory, size, note):
    """Listen to ``memory.address`` while an insertion runs, and tell when it has finished."""
    heard = {}
    address = memory.address
    in_halves = isinstance(net, MemoryNet)

    def listen(rows, level, *args, **kwargs):
        weight = address(rows, level, *args, **kwargs)
        # a large picture comes in chunks
        heard.setdefault(level, []).append((weight.detach().float(), _sum_of_units(rows)))
        return weight

    def finish(name):

        def hook(module, args, output):
            for level, parts in heard.items():
                weights, sums = zip(*parts)
                weight = torch.cat(weights)
                maps = _as_map(weight, args[0], size, name, in_halves)
                note(Addressing(name, level, maps, size, _mean_cosine(sum(sums), len(weight))))
            heard.clear()

        return hook

    handles = [
        module.register_forward_hook(finish(name.removeprefix('insertions.'))) for name, module in net.named_modules()
        if isinstance(module, MemoryInsertion)
    ]
    memory.address = listen
    try:
        yield
    finally:
        del memory.address  # the class's own shows again
        for handle in handles:
            handle.remove()


@contextlib.contextmanager
def _watch_picture(net, memory, size, note):
    """The released memory hands out no weights: they are computed once more, by its own definition."""

    def hook(module, args, output):
        rows, back = to_rows(args[0])
        for level, values in zip(LEVELS, module.prototypes()):
            weight = torch.softmax(rows @ values.t(), dim=-1)
            weight = weight * (weight > .0025)
            weight = weight / weight.sum(-1, keepdim=True).clamp(min=1e-12)
            maps = back(weight.float())[0]
            note(Addressing('picture', level, maps, size, _mean_cosine(_sum_of_units(rows), len(rows))))
            rows = weight @ values

    handle = memory.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def _sum_of_units(rows):
    return F.normalize(rows.detach().double(), dim=-1).sum(0)


def _mean_cosine(sum_of_units, count):
    """Mean cosine over all pairs of rows: the squared length of the mean of their unit vectors."""
    return float((sum_of_units / count).square().sum())


def _as_map(weight, feature, size, name, in_halves):
    """Weights (n, N) of a feature's rows -> (N, h, w) over the whole picture."""
    if feature.dim() == 3:
        h, w = token_grid(feature.shape[1], size)
        parts = weight.view(feature.shape[0], h, w, -1).permute(0, 3, 1, 2)
    else:
        parts = weight.view(feature.shape[0], *feature.shape[2:], -1).permute(0, 3, 1, 2)
    if in_halves and len(parts) == 4:
        parts = merge_columns(parts)
    if in_halves and len(parts) == 2:
        parts = merge_rows(parts)
    if len(parts) != 1:
        raise UsageError(f'insertion {name}: sees a picture in {len(parts)} pieces, whose order is not known; give a '
                         'network that inserts its memory elsewhere')
    return parts[0]


def token_grid(length, size):
    """Height and width of tokens that cover a picture.

    Args:
        length (int): Number of tokens.
        size (tuple[int]): Height and width of the picture.

    Returns:
        tuple[int]: The pair of that product whose ratio is nearest to the picture's.
    """
    pairs = [(h, length // h) for h in range(1, length + 1) if length % h == 0]
    return min(pairs, key=lambda v: abs(math.log(v[0] / v[1] * size[1] / size[0])))
