"""Training randomness that depends only on (seed, epoch, position).

BasicSR seeds its workers once and re-creates them every epoch, so that every epoch repeats its crops, flips and noise.
Here, the sampler yields :class:`SampleIndex`, an ``int`` that carries its position in the run. :class:`SeededDataset`
seeds the global generators from it for each sample. Any dataset that draws from ``random``, ``numpy.random`` or
``torch`` then gives the same samples for any number of workers or ranks. No two epochs repeat, and a run that is
resumed within an epoch continues with the next sample.
"""
import cv2
import math
import numpy as np
import random
import torch
from contextlib import contextmanager
from torch.utils.data import Dataset, Sampler

from ..errors import UsageError


class SampleIndex(int):
    """Index of a sample that also carries its position in the run; picklable, and an ``int`` everywhere else.

    Args:
        index (int): Index into the dataset.
        seed (int): ``manual_seed`` of the run.
        epoch (int): Epoch, from 0.
        position (int): Position in the epoch over all processes, from 0.
    """

    def __new__(cls, index, seed, epoch, position):
        self = super().__new__(cls, index)
        self.seed, self.epoch, self.position = seed, epoch, position
        return self

    def __getnewargs__(self):
        return int(self), self.seed, self.epoch, self.position


@contextmanager
def sample_seed(index):
    """Seed ``random``, ``numpy.random`` and ``torch`` (CPU) from a :class:`SampleIndex`; restore them afterwards.

    Restoring matters without workers: the network's own randomness then lives in the same process.
    """
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    entropy = np.random.SeedSequence((index.seed, index.epoch, index.position)).generate_state(4)
    random.seed(entropy.tobytes())
    np.random.seed(entropy)
    torch.random.default_generator.manual_seed(int(entropy[0]) << 32 | int(entropy[1]))
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def checked_item(dataset, index):
    """Read an item of a dataset.

    Args:
        dataset (Dataset): The dataset. Errors of BasicSR's own classes do not name the image; here they do.
        index (int): Index of the item.

    Returns:
        object: The item.

    Raises:
        UsageError: BasicSR cannot read the image, or input or ground truth is not finite.
    """
    try:
        item = dataset[index]
    except Exception as error:
        if isinstance(error, UsageError) or not type(dataset).__module__.startswith('basicsr.'):
            raise
        text = 'damaged, or not an image' if isinstance(error, (AttributeError, cv2.error)) else \
            ' '.join(map(str, error.args)) or type(error).__name__
        raise UsageError(f'{_item_name(dataset, index)} cannot be read ({text}); replace or '
                         'remove it') from error
    for kind in ('lq', 'gt') if isinstance(item, dict) else ():
        if torch.is_tensor(item.get(kind)) and not torch.isfinite(item[kind]).all():
            raise UsageError(f'{_item_name(dataset, index, item)}: {kind} holds NaN or infinite values; replace or '
                             'remove it')  # yapf: disable
    return item


def _item_name(dataset, index, item=None):
    """Dataset and image for messages; BasicSR's datasets keep the paths of each item in ``paths``."""
    paths = item or (dataset.paths[index] if hasattr(dataset, 'paths') else {'path': f'number {int(index)}'})
    paths = [v for k, v in paths.items() if 'path' in k] if isinstance(paths, dict) else [paths]
    return f'dataset {dataset.opt.get("name")}: image {" with ".join(dict.fromkeys(map(str, paths)))}'


class SeededDataset(Dataset):
    """Map-style dataset whose randomness is seeded for each :class:`SampleIndex`.

    Args:
        dataset (Dataset): The dataset. Its ``opt`` is passed on, since BasicSR's pipelines read it.
    """

    def __init__(self, dataset):
        self.dataset = dataset
        self.opt = dataset.opt

    def __getitem__(self, index):
        if not isinstance(index, SampleIndex):
            return checked_item(self.dataset, index)
        with sample_seed(index):
            return checked_item(self.dataset, index)

    def __len__(self):
        return len(self.dataset)


class EpochSampler(Sampler):
    """Sampler of whole batches, shuffled by (seed, epoch), that can start in the middle of an epoch.

    An epoch concatenates permutations of the dataset, truncated to a whole number of batches. It has exactly the number
    of iterations that BasicSR's ``train.py`` counts (BasicSR drops the last incomplete batch and then ends early). Rank
    r of n takes positions r, r + n, ..., so that n ranks together see the batches of one process with n times the batch
    size.

    Args:
        base (EnlargedSampler): BasicSR's sampler, on which ``train.py`` sets the epoch.
        ratio (float): ``dataset_enlarge_ratio``.
        batch_size (int): Batch size of one process, from which the iterations of an epoch are computed.
        loader_batch_size (int): Batch size of the loader, larger than ``batch_size`` with DataParallel.
        seed (int): ``manual_seed``.
        start (tuple[int]): Epoch in which the run starts, and the iterations done before. Default: (0, 0).
    """

    def __init__(self, base, ratio, batch_size, loader_batch_size, seed, start=(0, 0)):
        self.base = base
        self.num_iter = math.ceil(len(base.dataset) * ratio / (batch_size * base.num_replicas))
        self.batch_size = loader_batch_size
        self.seed = seed
        self.start = start[0], min(max(start[1] - start[0] * self.num_iter, 0), self.num_iter)

    def __iter__(self):
        epoch, rank, num_replicas = self.base.epoch, self.base.rank, self.base.num_replicas
        generator = torch.Generator()
        generator.manual_seed(int(np.random.SeedSequence((self.seed, epoch)).generate_state(1, np.uint64)[0]))
        total = len(self) * num_replicas
        size = len(self.base.dataset)
        order = torch.cat([torch.randperm(size, generator=generator) for _ in range(math.ceil(total / size))])
        done = self.start[1] * self.batch_size if epoch == self.start[0] else 0
        for position in range(rank + done * num_replicas, total, num_replicas):
            yield SampleIndex(order[position].item(), self.seed, epoch, position)

    def __len__(self):
        return self.num_iter * self.batch_size
