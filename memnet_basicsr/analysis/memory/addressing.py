"""Record, with hooks, how a network addresses its memory while it restores an image."""
import contextlib
import math
import torch
from dataclasses import dataclass
from torch.nn import functional as F

from ...archs.memory_util import LEVELS, HierarchicalMemory, MemoryInsertion, from_rows, to_rows
from ...archs.memorynet_arch import MemoryNet
from ...archs.mprnet_util import merge_columns, merge_rows
from ...archs.raw_pixel_memory import RawPixelMemory
from ...errors import UsageError
from ..networks import inference_of

DEAD = .1  # a prototype is dead if its mean weight is below this share of 1/N, as in AddressingMeter


@dataclass(frozen=True)
class AddressingMap:
    """Weights with which one insertion of a network addressed the prototypes of a level, for one image.

    Args:
        place (str): Name of the insertion; 'image' for the released memory, which reads the image itself.
        level (str): Level of the prototypes.
        weights (Tensor): (N, h, w), N prototypes; they sum to 1 at each position.
        size (tuple[int]): Height and width in pixels of the area that the positions cover: the image, padded at the
            right and bottom if the network needs it.
        query_cosine (float): Mean cosine between the queries of two positions. Near 1, all positions send the same
            query and get the same answer.
    """
    place: str
    level: str
    weights: torch.Tensor
    size: tuple
    query_cosine: float

    def entropy(self):
        """Entropy at each position over log N, 0 (one prototype) to 1 (uniform), (h, w)."""
        num = len(self.weights)
        return -torch.xlogy(self.weights, self.weights).sum(0) / math.log(num) if num > 1 else self.weights[0] * 0

    def strongest(self):
        """Index of the prototype with the largest weight at each position, (h, w)."""
        return self.weights.argmax(0)


def find_memory(net):
    """Find the memory of a network.

    Args:
        net (nn.Module): Network.

    Returns:
        HierarchicalMemory | RawPixelMemory: The memory.

    Raises:
        UsageError: If the network has no memory.
    """
    found = [v for v in net.modules() if isinstance(v, (HierarchicalMemory, RawPixelMemory))]
    if not found:
        raise UsageError(f'network_g: {type(net).__name__} has no memory; use MemoryNet with '
                         "'memory: feature' or 'memory: released', or MemoryAugmented")
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
    """Pairwise cosines of vectors (N, C), (N, N)."""
    unit = F.normalize(vectors, dim=-1)
    return unit @ unit.t()


def restore_and_record(net, image, note):
    """Restore an image and report how each insertion addressed the memory.

    The weights are those that the network itself computes. Chained reads are reported level by level. Parts that
    MemoryNet processes separately (quarters and halves) are merged; tokens are arranged as a map.

    Args:
        net (nn.Module): Network with a memory.
        image (Tensor): (c, H, W), [0, 1].
        note (callable): Called with each :class:`AddressingMap`; its weights are on the device of the network.

    Returns:
        Tensor: Restored image, (c', H * s, W * s).

    Raises:
        UsageError: If the network has no memory, or an insertion sees the image in parts of unknown order.
    """
    memory = find_memory(net)
    inference = inference_of(net)
    size = tuple(-(-v // inference.pad_multiple) * inference.pad_multiple for v in image.shape[1:])
    record = _record_image_reads if isinstance(memory, RawPixelMemory) else _record_insertions
    with record(net, memory, size, note):
        return inference(net, image[None])[0]


@contextlib.contextmanager
def _record_insertions(net, memory, size, note):
    """Record the addressing of each level while an insertion runs, and report it when the insertion has finished."""
    recorded = {}

    def record(level):

        def hook(module, args, weight):
            recorded[level] = weight.detach().float(), _query_cosine(args[0])

        return hook

    def report(name):

        def hook(module, args, output):
            for level, (weight, cosine) in recorded.items():
                note(AddressingMap(name, level, _as_map(weight, args[0], size, name, isinstance(net, MemoryNet)), size,
                                   cosine))  # yapf: disable
            recorded.clear()

        return hook

    handles = [v.register_forward_hook(record(level)) for level, v in zip(LEVELS, memory.addressing)]
    handles += [
        module.register_forward_hook(report(name.removeprefix('insertions.'))) for name, module in net.named_modules()
        if isinstance(module, MemoryInsertion)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextlib.contextmanager
def _record_image_reads(net, memory, size, note):
    """Recompute the weights of the released memory, which does not return them."""

    def hook(module, args, output):
        rows = to_rows(args[0])
        for level, values in zip(LEVELS, module.prototypes()):
            weight = module.address(rows, values)
            note(AddressingMap('image', level, from_rows(weight.float(), args[0])[0], size, _query_cosine(rows)))
            rows = weight @ values

    handle = memory.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def _query_cosine(rows):
    """Mean cosine over all pairs of rows, which is the squared norm of the mean unit vector."""
    return float(F.normalize(rows.detach().double(), dim=-1).mean(0).square().sum())


def _as_map(weight, feature, size, name, in_halves):
    """Arrange the weights (n, N) of the rows of a feature as a map (N, h, w) of the whole image."""
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
        raise UsageError(f'insertion {name}: sees the image in {len(parts)} parts of unknown order; use a network that '
                         'inserts its memory elsewhere')
    return parts[0]


def token_grid(length, size):
    """Height and width of the grid of tokens that cover an image.

    Args:
        length (int): Number of tokens.
        size (tuple[int]): Height and width of the image.

    Returns:
        tuple[int]: The factors of ``length`` whose ratio is nearest to that of the image.
    """
    pairs = [(h, length // h) for h in range(1, length + 1) if length % h == 0]
    return min(pairs, key=lambda v: abs(math.log(v[0] / v[1] * size[1] / size[0])))
