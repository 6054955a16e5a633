"""Measure whether reading an LMDB keeps up with training."""
import time
import torch
from torch.utils.data import DataLoader

from basicsr.data.data_sampler import EnlargedSampler
from ...archs.memnet_arch import MemNet
from ...data.noisy_image_dataset import NoisyImageDataset
from ...data.sampling import EpochSampler, SeededDataset
from ...engine.speed import SpeedMeter
from ...errors import UsageError
from ...plugin.option_file import load_yaml
from .jobs import NARROW

COLUMNS = ('measurement', 'images per second', 'data wait')
ROUNDS = 3  # multiples of the prefetched batches to read; fewer would only measure the prefetched ones
WAIT = 0.02  # target share of time spent waiting for data


def measure_pipeline(lmdb, option_file, device, quick=False):
    """Measure the images per second of the loader alone, of training from memory and of training from the loader.

    Args:
        lmdb (str): LMDB of clean images.
        option_file (str): Option file that trains MemNet for denoising; defines patch, batch, workers and network.
        device (str): Device to train on.
        quick (bool): Whether to use a narrow network and few steps. Default: False.

    Returns:
        list[tuple]: (measurement, images per second, share of time spent waiting for data or None).

    Raises:
        UsageError: If the option file trains something else, or the LMDB cannot be read.
    """
    opt = load_yaml(option_file)
    data, network = opt['datasets']['train'], dict(opt['network_g'])
    if data['type'] != 'NoisyImageDataset' or network.pop('type') != 'MemNet':
        raise UsageError(f'{option_file}: does not train MemNet for denoising; use another option file')
    if quick:
        network, data = {**network, **NARROW['memnet']}, {**data, 'num_worker_per_gpu': 1, 'batch_size_per_gpu': 2}
    dataset = NoisyImageDataset({**data, 'dataroot_gt': lmdb, 'io_backend': {'type': 'lmdb'}, 'phase': 'train'})
    batch, workers = data['batch_size_per_gpu'], data['num_worker_per_gpu']
    steps = 3 if quick else ROUNDS * max(1, 2 * workers)  # a DataLoader prefetches two batches per worker

    def batches():
        ratio = (steps + 1) * batch / len(dataset)
        sampler = EpochSampler(EnlargedSampler(dataset, 1, 0, ratio), ratio, batch, batch, seed=0)
        return iter(DataLoader(SeededDataset(dataset), batch, sampler=sampler, num_workers=workers))

    loader = batches()
    first = next(loader)
    start = time.perf_counter()
    rest = sum(len(v['lq']) for v in loader)
    rows = [(f'loader alone ({workers} workers, batch {batch}, patch {data["gt_size"]})',
             rest / (time.perf_counter() - start), None)]

    torch.manual_seed(0)
    net = MemNet(**network).to(device)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4)

    def train(source):
        meter = None
        for item in source:
            if meter:
                meter.data_came()
            lq, gt = item['lq'].to(device), item['gt'].to(device)
            optimizer.zero_grad(set_to_none=True)
            sum((v - gt).square().mean() for v in net(lq)).backward()
            optimizer.step()
            if lq.is_cuda:
                torch.cuda.synchronize()
            if meter:
                meter.step_done(len(lq))
            else:
                meter = SpeedMeter()  # the first step warms up
        return meter.read()

    rows.append(('training from memory', train([first] * (1 + max(2, steps // 4)))['img_s'], None))
    figures = train(batches())
    rows.append(('training from the loader', figures['img_s'], figures['data_wait']))
    return rows


def rows_of(measured):
    """Rows of ``COLUMNS``."""
    rows = [[what, f'{speed:.1f}', '-' if wait is None else f'{wait:.2%}'] for what, speed, wait in measured]
    wait = measured[-1][2]
    return rows + [[f'data wait below {WAIT:.0%}', '', 'yes' if wait < WAIT else 'no']]
