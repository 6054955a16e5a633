import math
import torch
from dataclasses import dataclass
from torch.nn import functional as F

from .addressing import DEAD, cosines, find_memory, prototypes, restore_and_watch

CELLS = 4  # candidates for patches come from 4 x 4 regions of each picture


@dataclass(eq=False)
class Patch:
    """A patch of a picture that addresses a prototype.

    Args:
        weight (float): Weight of the prototype at its middle.
        picture (int): Index of the picture.
        top (int): First row of the patch in pixels of the picture.
        left (int): First column.
        pixels (Tensor): (c, side, side), [0, 1].
    """
    weight: float
    picture: int
    top: int
    left: int
    pixels: torch.Tensor


@dataclass
class PlaceUse:
    """Sums over the positions at which prototypes were addressed.

    Args:
        positions (int): Number of positions. Default: 0.
        weights (Tensor): Sum of each prototype's weights, (N, ).
        wins (Tensor): Number of positions at which each prototype had the largest weight, (N, ).
        entropies (float): Sum of the entropies of the addressing over log N. Default: 0.
    """
    positions: int = 0
    weights: torch.Tensor = 0.
    wins: torch.Tensor = 0.
    entropies: float = 0.

    def __add__(self, other):
        return PlaceUse(self.positions + other.positions, self.weights + other.weights, self.wins + other.wins,
                        self.entropies + other.entropies)

    def add(self, addressing):
        """Add those of one :class:`Addressing`."""
        weights = addressing.weights
        self.positions += weights[0].numel()
        self.weights = self.weights + weights.sum((1, 2)).double().cpu()
        self.wins = self.wins + addressing.strongest().flatten().bincount(minlength=len(weights)).double().cpu()
        self.entropies += float(addressing.entropy().double().sum())

    def usage(self):
        """Mean weight of each prototype, (N, ); the sum is 1."""
        return self.weights / self.positions

    def strongest(self):
        """Share of the positions at which each prototype has the largest weight, (N, )."""
        return self.wins / self.positions

    def entropy(self):
        """Mean entropy of the addressing over log N, 0 (one prototype) to 1 (uniform)."""
        return self.entropies / self.positions

    def information(self):
        """What the addressing tells about the position: (entropy of the mean weights - mean entropy) / log N.

        0 where every position is addressed alike, so that the memory returns a constant, however sharp that is; 1
        where each position has one prototype and all are used alike.
        """
        usage = self.usage()
        if len(usage) == 1:
            return 0.
        return max(0., float(-torch.xlogy(usage, usage).sum() / math.log(len(usage))) - self.entropy())


class LevelUse:
    """How the prototypes of a level were addressed, gathered over pictures and places.

    Args:
        vectors (Tensor): The prototypes, (N, C).
        num_patches (int): Patches kept of each prototype.
        side (int): Side of a patch in pixels of the picture.

    Attributes:
        similarity (Tensor): Cosines between the prototypes, (N, N).
        patches (list[list[Patch]]): Of each prototype, largest weight first; patches of one picture do not overlap.
        places (dict[str, PlaceUse]): Places that read this level.
    """

    def __init__(self, vectors, num_patches, side):
        self.similarity = cosines(vectors).cpu()
        self.num_patches, self.side = num_patches, side
        self.patches = [[] for _ in vectors]
        self.places = {}

    @torch.no_grad()
    def add(self, addressing, picture, index):
        """Gather one place's addressing over a picture (c, H, W) of that index."""
        self.places.setdefault(addressing.place, PlaceUse()).add(addressing)
        self._offer_patches(addressing, picture, index)

    def total(self):
        """Use of all places together, PlaceUse."""
        return sum(self.places.values(), PlaceUse())

    def dead(self):
        """Which prototypes have a mean weight below a tenth of 1/N, (N, ) bool."""
        return self.total().usage() < DEAD / len(self.patches)

    def mean_similarity(self):
        """Mean cosine between two different prototypes; 0 of a single one."""
        num = len(self.similarity)
        return float((self.similarity.sum() - num) / max(num * (num - 1), 1))

    def _offer_patches(self, addressing, picture, index):
        weights, (height, width) = addressing.weights, addressing.size
        h, w = weights.shape[1:]
        values, places = F.adaptive_max_pool2d(weights, (min(CELLS, h), min(CELLS, w)), return_indices=True)
        for own, own_values, own_places in zip(self.patches, values.flatten(1).tolist(), places.flatten(1).tolist()):
            for value, place in zip(own_values, own_places):
                if len(own) == self.num_patches and value <= own[-1].weight:
                    continue
                y, x = divmod(place, w)
                top, left = corner((y + .5) / h * height, (x + .5) / w * width, picture.shape[1:], self.side)
                rivals = [
                    v for v in own
                    if v.picture == index and abs(v.top - top) < self.side and abs(v.left - left) < self.side
                ]
                if any(v.weight >= value for v in rivals):
                    continue
                pixels = picture[:, top:top + self.side, left:left + self.side].clone()
                own[:] = [v for v in own if v not in rivals] + [Patch(value, index, top, left, pixels)]
                own.sort(key=lambda v: -v.weight)
                del own[self.num_patches:]


def corner(y, x, size, side):
    """Upper left corner of the patch around a point, moved into the picture.

    Args:
        y (float): Middle of the patch in pixels from the top edge.
        x (float): In pixels from the left edge.
        size (tuple[int]): Height and width of the picture in pixels.
        side (int): Side of the patch in pixels.

    Returns:
        tuple[int]: First row and first column.
    """
    return tuple(min(max(round(v - side / 2), 0), max(n - side, 0)) for v, n in zip((y, x), size))


def prototype_use(net, pictures, num_patches=4, side=32):
    """How a network addresses its memory over pictures.

    Args:
        net (nn.Module): Network with a memory.
        pictures (iterable[dict]): Items with ``lq``, (c, h, w), [0, 1].
        num_patches (int): Patches kept of each prototype. Default: 4.
        side (int): Side of a patch in pixels; what the network looks at around a position is larger. Default: 32.

    Returns:
        dict[str, LevelUse]: Of each level that was read.

    Raises:
        UsageError: If the network has no memory.
    """
    memory, levels = find_memory(net), {}
    for index, item in enumerate(pictures):

        def note(addressing, picture=item['lq'], index=index):
            level = addressing.level
            if level not in levels:
                levels[level] = LevelUse(prototypes(memory, level), num_patches, side)
            levels[level].add(addressing, picture, index)

        restore_and_watch(net, item['lq'], note)
    return levels
