"""Training samples are decided by (seed, epoch, position): not by workers, processes or where a run was interrupted."""
import cv2
import math
import numpy as np
import pickle
import pytest
import random
import torch
from functools import partial

from basicsr.data import build_dataset
from basicsr.data.data_sampler import EnlargedSampler
from memnet_basicsr.data.sampling import EpochSampler, SampleIndex, SeededDataset, sample_seed
from memnet_basicsr.errors import UsageError
from memnet_basicsr.plugin.launch import build_dataloader

torch.set_num_threads(1)
N, BATCH = 11, 4


class Draws(torch.utils.data.Dataset):
    """Items are the index and one number of each global generator; counts what it is asked."""

    def __init__(self, length=N):
        self.length = length
        self.opt = dict(name='draws')

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        index = list(range(self.length))[index]  # an index is good for indexing
        return torch.tensor([index, random.random(), np.random.rand(), torch.rand(()).item()], dtype=torch.float64)


def loader(dataset, workers=0, rank=0, world_size=1, batch_size=BATCH, ratio=1, seed=5, model='RestorationModel',
           num_gpu=0, start=None, **more):  # yapf: disable
    """A loader as train.py makes it, and the sampler on which train.py sets the epoch."""
    sampler = EnlargedSampler(dataset, world_size, rank, ratio)
    opt = dict(phase='train', batch_size_per_gpu=batch_size, num_worker_per_gpu=workers, dataset_enlarge_ratio=ratio,
               **more)  # yapf: disable
    run_opt = dict(model_type=model, world_size=world_size, dist=world_size > 1, num_gpu=num_gpu)
    if start is not None:
        run_opt['resume_position'] = start
    result = build_dataloader(dataset, opt, num_gpu, world_size > 1, sampler, seed, run_opt=run_opt)

    def epochs(numbers):
        batches = []
        for epoch in numbers:
            sampler.set_epoch(epoch)
            batches.append(list(result))
        return batches

    return epochs


@pytest.fixture
def pairs(tmp_path):
    """BasicSR's dataset of three pairs, the second of which can be changed."""
    for folder in ('lq', 'gt'):
        (tmp_path / folder).mkdir()
        for name in 'abc':
            cv2.imwrite(str(tmp_path / folder / f'{name}.png'), np.full((16, 16, 3), 9, np.uint8))
    opt = dict(
        name='pairs', type='PairedImageDataset', phase='train', scale=1, io_backend=dict(type='disk'), gt_size=8,
        use_hflip=True, use_rot=True, **{f'dataroot_{v}': str(tmp_path / v) for v in ('lq', 'gt')})  # yapf: disable
    return SeededDataset(build_dataset(opt))


@pytest.mark.parametrize('content, reason', [
    (b'no image', 'damaged, or not an image'),
    (b'', 'damaged, or not an image'),
    (cv2.imencode('.png', np.zeros((9, 16, 3), np.uint8))[1].tobytes(), 'Scale mismatches'),
])
def test_images_that_basicsr_cannot_read_are_named(pairs, tmp_path, content, reason):
    (tmp_path / 'lq' / 'b.png').write_bytes(content)
    a, b = (
        next(i for i, v in enumerate(pairs.dataset.paths) if v['gt_path'].endswith(name))
        for name in ('a.png', 'b.png'))
    assert pairs[SampleIndex(a, 1, 0, 0)]['lq'].shape == (3, 8, 8)
    with pytest.raises(
            UsageError, match=rf'^dataset pairs: image .*lq/b\.png with .*gt/b\.png cannot be read \({reason}'):
        pairs[SampleIndex(b, 1, 0, 1)]


def test_samples_that_are_not_finite_are_named():

    class Samples(Draws):

        def __getitem__(self, index):
            return dict(lq=torch.zeros(3, 4, 4), gt=torch.full((3, 4, 4), float('inf')), lq_path='a.tif')

    with pytest.raises(UsageError, match=r'^dataset draws: image a\.tif: gt holds NaN or infinite values; replace'):
        SeededDataset(Samples())[SampleIndex(1, 1, 0, 1)]


def test_errors_of_other_datasets_keep_their_traceback():

    class Wrong(Draws):

        def __getitem__(self, index):
            raise KeyError('a mistake in the code')

    with pytest.raises(KeyError, match='a mistake in the code'):
        SeededDataset(Wrong())[0]


def flat(epochs):
    return torch.cat([batch for epoch in epochs for batch in epoch])


def test_index_is_an_int():
    index = SampleIndex(3, seed=1, epoch=2, position=7)
    assert index == 3 and isinstance(index, int) and hash(index) == hash(3) and [0, 1, 2, 9][index] == 9
    again = pickle.loads(pickle.dumps(index))
    assert type(again) is SampleIndex
    assert (int(again), again.seed, again.epoch, again.position) == (3, 1, 2, 7)


@pytest.mark.filterwarnings('ignore:This DataLoader will create')
@pytest.mark.parametrize('workers', [1, 3])
def test_number_of_workers_does_not_matter(workers):
    expected = flat(loader(Draws())(range(2)))
    torch.manual_seed(99)  # nor does the state of this process
    assert torch.equal(flat(loader(Draws(), workers)(range(2))), expected)


def test_kept_workers_and_prefetching():
    expected = flat(loader(Draws())(range(3)))
    assert torch.equal(flat(loader(Draws(), 1, persistent_workers=True)(range(3))), expected)
    assert torch.equal(flat(loader(Draws(), 1, prefetch_mode='cpu')(range(3))), expected)


def test_two_processes_see_what_one_with_the_doubled_batch_sees():
    one = loader(Draws(), batch_size=2 * BATCH)(range(3))
    two = [loader(Draws(), rank=rank, world_size=2)(range(3)) for rank in range(2)]
    for epoch in range(3):
        assert len(one[epoch]) == len(two[0][epoch]) == len(two[1][epoch]) == 2  # ceil(11 / 8)
        for batch, *parts in zip(one[epoch], two[0][epoch], two[1][epoch]):
            together = torch.cat(parts)
            assert torch.equal(together[together[:, 3].argsort()], batch[batch[:, 3].argsort()])


def test_several_gpus_in_one_process():
    """DataParallel: the loader's batch is num_gpu times as large; epochs have the iterations that train.py counts."""
    epochs = loader(Draws(), batch_size=2, num_gpu=2)(range(2))
    assert [len(epoch) for epoch in epochs] == [6, 6]  # ceil(11 / 2), as train.py counts
    assert all(len(batch) == 4 for epoch in epochs for batch in epoch)


@pytest.mark.parametrize('n, batch_size, ratio, world_size', [(11, 4, 1, 1), (11, 11, 1, 1),
                                                              (12, 4, 1, 1), (3, 4, 2, 1), (11, 4, 1, 3), (5, 2, 3, 2),
                                                              (7, 1, 0.5, 1)])
def test_epochs_have_the_iterations_that_train_py_counts(n, batch_size, ratio, world_size):
    counted = math.ceil(n * ratio / (batch_size * world_size))  # BasicSR, train.py
    for rank in range(world_size):
        epoch, = loader(Draws(n), rank=rank, world_size=world_size, batch_size=batch_size, ratio=ratio)([0])
        assert len(epoch) == counted
        assert all(len(batch) == batch_size for batch in epoch)


def test_no_two_epochs_repeat():
    """Neither the order nor any draw."""
    samples = flat(loader(Draws())(range(6)))
    assert len(samples) == 6 * 12
    for column in (1, 2, 3):
        assert len(samples[:, column].unique()) == len(samples)
    orders = samples[:, 0].reshape(6, 12)
    assert len(orders.unique(dim=0)) == 6


def test_stock_epochs_repeat():
    """Row 9: what BasicSR's own loader does with a worker, and why the mechanism is there; it stays so for SRModel."""
    epochs = loader(Draws(), 1, model='SRModel')([0, 0])
    assert torch.equal(flat(epochs[:1])[:, 1:3], flat(epochs[1:])[:, 1:3])
    other = loader(Draws(), 1, model='SRModel')([0, 1])
    assert torch.equal(flat(other[:1])[:, 1:3], flat(other[1:])[:, 1:3])  # another order, the same draws
    plain = torch.utils.data.DataLoader(
        Draws(), batch_size=BATCH, sampler=EnlargedSampler(Draws(), 1, 0), drop_last=True)
    epoch, = loader(Draws(), model='SRModel')([0])
    assert torch.equal(flat([epoch])[:, 0], flat([list(plain)])[:, 0])


def test_every_image_comes():
    """No image is left out: each permutation of the dataset is whole, only the last is cut."""
    order = flat(loader(Draws(), ratio=3)([4]))[:, 0]
    assert len(order) == 36
    for i in range(3):
        assert sorted(order[i * N:(i + 1) * N].tolist()) == list(range(N))
    assert len(set(order[33:].tolist())) == 3


def test_seed_matters():
    a, b, c = (flat(loader(Draws(), seed=seed)([0])) for seed in (0, 1, 0))
    assert torch.equal(a, c)
    assert not torch.equal(a[:, 0], b[:, 0])
    assert not (a[:, 1:] == b[:, 1:]).any()


@pytest.mark.parametrize('done, workers', [*((v, 0) for v in range(13)), (4, 2), (6, 2)])
def test_resumed_run_goes_on_with_the_next_sample(done, workers):
    """Interrupted after any iteration, in the middle of an epoch or between two; epochs have 3 iterations."""
    whole = [batch for epoch in loader(Draws())(range(5)) for batch in epoch]
    for epoch in {max(done - 1, 0) // 3, done // 3}:  # a state holds the epoch of its last iteration
        rest = [batch for v in loader(Draws(), workers, start=(epoch, done))(range(epoch, 5)) for batch in v]
        assert len(rest) == len(whole) - done
        assert torch.equal(torch.cat(rest), torch.cat(whole[done:]))


def test_resumed_with_two_processes():
    whole = [[batch for epoch in loader(Draws(), rank=rank, world_size=2)(range(3)) for batch in epoch]
             for rank in (0, 1)]
    for rank in (0, 1):
        rest = flat(loader(Draws(), rank=rank, world_size=2, start=(1, 3))([1, 2]))
        assert torch.equal(rest, torch.cat(whole[rank][3:]))


def test_generators_of_this_process_are_restored():
    """The network's own randomness (dropout) does not hang together with the data, also without workers."""

    def draw():
        return random.random(), np.random.rand(), np.random.randn(), torch.rand(()).item(), random.gauss(0, 1)

    def seed():
        random.seed(1)
        np.random.seed(2)
        torch.manual_seed(3)
        np.random.randn()  # leaves a cached number behind
        random.gauss(0, 1)

    seed()
    expected = draw()
    seed()
    with sample_seed(SampleIndex(0, 0, 0, 0)):
        draw()
    assert draw() == expected
    seed()
    with pytest.raises(ZeroDivisionError), sample_seed(SampleIndex(0, 0, 0, 0)):
        1 / draw()[0] / 0
    assert draw() == expected
    for workers in (0, 1):
        seed()
        loader(Draws(), workers)(range(2))
        assert draw() == expected


def test_bare_indices_are_not_seeded():
    """Somebody who asks for an item himself gets what the dataset gives."""
    dataset = SeededDataset(Draws())
    random.seed(0)
    a, b = dataset[0], dataset[0]
    assert a[1] != b[1]
    assert dataset.opt == dict(name='draws') and len(dataset) == N


def test_generators_are_uniform_over_positions():
    """Neighbouring positions, epochs and seeds give unrelated draws."""
    for change in ('seed', 'epoch', 'position'):
        values = []
        for i in range(400):
            with sample_seed(SampleIndex(0, **{**dict(seed=0, epoch=0, position=0), change: i})):
                values.append((random.random(), np.random.rand(), torch.rand(()).item()))
        values = np.array(values)
        assert np.abs(values.mean(0) - 0.5).max() < 0.08  # standard error 0.0144
        assert np.abs(np.corrcoef(values[:-1].T, values[1:].T)[:3, 3:]).max() < 0.2  # standard error 0.05
        assert np.abs(np.corrcoef(values.T) - np.eye(3)).max() < 0.2


# ---- datasets ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
    """Pairs of 24x24 color images; every pixel of all images is different, so that a pixel tells where it was."""
    root = tmp_path_factory.mktemp('pairs')
    values = np.random.RandomState(0).permutation(256**3)[:N * 576]
    values = np.stack([values % 256, values // 256 % 256, values // 65536], 1).astype(np.uint8)
    for name in ('gt', 'lq'):
        (root / name).mkdir()
        for i, img in enumerate(values.reshape(N, 24, 24, 3)):
            cv2.imwrite(str(root / name / f'p{i:02d}.png'), img)
    return root


def noisy(folders):
    return build_dataset(dict(
        name='noisy', type='NoisyImageDataset', phase='train', dataroot_gt=str(folders / 'gt'), color='rgb',
        sigma=[30, 50], io_backend=dict(type='disk'), gt_size=12, use_hflip=True, use_rot=True))  # yapf: disable


def paired(folders):
    return build_dataset(dict(
        name='paired', type='PairedImageDataset', phase='train', dataroot_gt=str(folders / 'gt'), scale=1,
        dataroot_lq=str(folders / 'lq'), io_backend=dict(type='disk'), gt_size=12, use_hflip=True,
        use_rot=True))  # yapf: disable


def collect(epochs):
    """The samples of some epochs: where a patch came from, how it was flipped, and its degraded pixels."""
    batches = [batch for epoch in epochs for batch in epoch]
    gt, lq = (torch.cat([batch[key] for batch in batches]) for key in ('gt', 'lq'))
    paths = [path.split('/')[-1] for batch in batches for path in batch['gt_path']]
    return paths, gt, lq


@pytest.mark.parametrize('make, model', [(noisy, 'RestorationModel'), (noisy, 'SRModel'), (paired, 'RestorationModel')])
def test_data_sets_profit(folders, make, model):
    """Ours with any model and BasicSR's own with ours: image, crop, flip and noise do not repeat from epoch to epoch,
    and are the same with workers."""
    paths, gt, lq = collect(loader(make(folders), model=model)(range(8)))
    other = collect(loader(make(folders), 2, model=model)(range(8)))
    assert other[0] == paths and torch.equal(other[1], gt) and torch.equal(other[2], lq)

    # an image's patches in eight epochs: corner pixels tell crop and flip (13 x 13 places in 8 positions)
    corners = [v[:, [0, 0, -1, -1], [0, -1, 0, -1]].flatten().tolist() for v in gt]
    views = {(path, tuple(corner)) for path, corner in zip(paths, corners)}
    assert len(views) >= 94  # of 96; 1352 views of each image, a repetition is rare
    assert len(set(paths[:11])) == N
    if make is noisy:
        sigma = (lq - gt).flatten(1).std(1) * 255
        low, high = (sigma - 30).abs() < 4, (sigma - 50).abs() < 6
        assert (low | high).all() and 20 < low.sum() < 76
        noise = (lq - gt) / sigma.view(-1, 1, 1, 1)
        repeated = torch.corrcoef(noise.flatten(1)) - torch.eye(len(noise))
        assert repeated.abs().max() < 0.3  # standard error 0.048
    else:
        assert torch.equal(gt, lq)


def test_stock_data_set_with_stock_model_is_left_alone(folders):
    dataset = paired(folders)
    sampler = EnlargedSampler(dataset, 1, 0)
    opt = dict(phase='train', batch_size_per_gpu=BATCH, num_worker_per_gpu=1)
    made = partial(build_dataloader, dataset, opt, 0, False, sampler, 5)
    left = made(run_opt=dict(model_type='SRModel', world_size=1, dist=False, num_gpu=0))
    assert left.dataset is dataset and left.sampler is sampler
    ours = made(run_opt=dict(model_type='RestorationModel', world_size=1, dist=False, num_gpu=0))
    assert isinstance(ours.dataset, SeededDataset) and isinstance(ours.sampler, EpochSampler)
    assert ours.dataset.dataset is dataset and ours.dataset.opt is dataset.opt
    assert ours.persistent_workers and not left.persistent_workers


def test_validation_is_left_alone(folders):
    dataset = noisy(folders)
    made = build_dataloader(dataset, dict(phase='val'), run_opt=dict(model_type='RestorationModel'))
    assert made.dataset is dataset
