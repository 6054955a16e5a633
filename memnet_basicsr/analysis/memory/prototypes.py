"""How a network uses the prototypes of its memory over a dataset."""
import math
import torch
from dataclasses import dataclass
from torch.nn import functional as F

from .addressing import DEAD, cosines, find_memory, prototypes, restore_and_record

CELLS = 4  # patches are selected from 4x4 regions of each image


@dataclass(eq=False)
class Patch:
    """A patch of an image that addresses a prototype.

    Args:
        weight (float): Weight of the prototype at the center of the patch.
        image (int): Index of the image.
        top (int): First row of the patch in pixels of the image.
        left (int): First column.
        pixels (Tensor): (c, side, side), [0, 1].
    """
    weight: float
    image: int
    top: int
    left: int
    pixels: torch.Tensor


@dataclass
class PlaceUse:
    """Sums over all positions that addressed the prototypes.

    Args:
        positions (int): Number of positions. Default: 0.
        weights (Tensor): Sum of each prototype's weights, (N, ).
        wins (Tensor): Number of positions where each prototype had the largest weight, (N, ).
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
        """Add one :class:`AddressingMap`."""
        weights = addressing.weights
        self.positions += weights[0].numel()
        self.weights = self.weights + weights.sum((1, 2)).double().cpu()
        self.wins = self.wins + addressing.strongest().flatten().bincount(minlength=len(weights)).double().cpu()
        self.entropies += float(addressing.entropy().double().sum())

    def usage(self):
        """Mean weight of each prototype, (N, ); they sum to 1."""
        return self.weights / self.positions

    def strongest(self):
        """Share of positions where each prototype has the largest weight, (N, )."""
        return self.wins / self.positions

    def entropy(self):
        """Mean entropy of the addressing over log N, 0 (one prototype) to 1 (uniform)."""
        return self.entropies / self.positions

    def information(self):
        """Mutual information of position and prototype: (entropy of the mean weights - mean entropy) / log N.

        0 if all positions have the same weights, so the memory returns a constant; 1 if each position addresses one
        prototype and all prototypes are used equally.
        """
        usage = self.usage()
        if len(usage) == 1:
            return 0.
        return max(0., float(-torch.xlogy(usage, usage).sum() / math.log(len(usage))) - self.entropy())


class LevelUse:
    """How the prototypes of a level were addressed, over all images and insertions.

    Args:
        vectors (Tensor): The prototypes, (N, C).
        num_patches (int): Patches to keep for each prototype.
        side (int): Side of a patch in pixels of the image.

    Attributes:
        similarity (Tensor): Cosines between the prototypes, (N, N).
        patches (list[list[Patch]]): For each prototype, largest weight first; patches of an image do not overlap.
        places (dict[str, PlaceUse]): Insertions that read this level.
    """

    def __init__(self, vectors, num_patches, side):
        self.similarity = cosines(vectors).cpu()
        self.num_patches, self.side = num_patches, side
        self.patches = [[] for _ in vectors]
        self.places = {}

    @torch.no_grad()
    def add(self, addressing, image, index):
        """Add the :class:`AddressingMap` of an image (c, H, W) with an index."""
        self.places.setdefault(addressing.place, PlaceUse()).add(addressing)
        self._offer_patches(addressing, image, index)

    def total(self):
        """Use by all insertions together, PlaceUse."""
        return sum(self.places.values(), PlaceUse())

    def dead(self):
        """Whether the mean weight of each prototype is below 0.1 / N, (N, ) bool."""
        return self.total().usage() < DEAD / len(self.patches)

    def mean_similarity(self):
        """Mean cosine of two different prototypes; 0 for a single one."""
        num = len(self.similarity)
        return float((self.similarity.sum() - num) / max(num * (num - 1), 1))

    def _offer_patches(self, addressing, image, index):
        weights, (height, width) = addressing.weights, addressing.size
        h, w = weights.shape[1:]
        values, places = F.adaptive_max_pool2d(weights, (min(CELLS, h), min(CELLS, w)), return_indices=True)
        for own, own_values, own_places in zip(self.patches, values.flatten(1).tolist(), places.flatten(1).tolist()):
            for value, place in zip(own_values, own_places):
                if len(own) == self.num_patches and value <= own[-1].weight:
                    continue
                y, x = divmod(place, w)
                top, left = corner((y + .5) / h * height, (x + .5) / w * width, image.shape[1:], self.side)
                rivals = [
                    v for v in own
                    if v.image == index and abs(v.top - top) < self.side and abs(v.left - left) < self.side
                ]
                if any(v.weight >= value for v in rivals):
                    continue
                pixels = image[:, top:top + self.side, left:left + self.side].clone()
                own[:] = [v for v in own if v not in rivals] + [Patch(value, index, top, left, pixels)]
                own.sort(key=lambda v: -v.weight)
                del own[self.num_patches:]


def corner(y, x, size, side):
    """Upper left corner of the patch around a point, moved into the image.

    Args:
        y (float): Center of the patch in pixels from the top edge.
        x (float): Center in pixels from the left edge.
        size (tuple[int]): Height and width of the image in pixels.
        side (int): Side of the patch in pixels.

    Returns:
        tuple[int]: First row and first column.
    """
    return tuple(min(max(round(v - side / 2), 0), max(n - side, 0)) for v, n in zip((y, x), size))


def prototype_use(net, images, num_patches=4, side=32):
    """Collect how a network addresses its memory over a dataset.

    Args:
        net (nn.Module): Network with a memory.
        images (iterable[dict]): Items with ``lq``, (c, h, w), [0, 1].
        num_patches (int): Patches to keep for each prototype. Default: 4.
        side (int): Side of a patch in pixels; the receptive field of a position is larger. Default: 32.

    Returns:
        dict[str, LevelUse]: Level -> its use, for each level that was read.

    Raises:
        UsageError: If the network has no memory.
    """
    memory, levels = find_memory(net), {}
    for index, item in enumerate(images):

        def note(addressing, image=item['lq'], index=index):
            level = addressing.level
            if level not in levels:
                levels[level] = LevelUse(prototypes(memory, level), num_patches, side)
            levels[level].add(addressing, image, index)

        restore_and_record(net, item['lq'], note)
    return levels
