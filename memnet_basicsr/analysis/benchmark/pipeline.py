"""Measure training as it is really run: model, optimizer, average and loader of an option file."""
import contextlib
import logging
import tempfile
import time
import torch
from torch.utils.data import DataLoader

from basicsr.data import build_dataset
from basicsr.data.data_sampler import EnlargedSampler
from basicsr.models import build_model
from ...data.sampling import EpochSampler, SeededDataset
from ...engine.speed import SpeedMeter
from ...errors import UsageError
from ...plugin.option_file import load_yaml
from .jobs import NARROW

COLUMNS = ('measurement', 'images per second', 'data wait')
PROFILE_COLUMNS = ('part of the step', 'share of CPU time')
ROUNDS = 3  # multiples of the prefetched batches to read; fewer would only measure the prefetched ones
WAIT = 0.02  # target share of time spent waiting for data
OPTIMIZER, AVERAGE = 'Optimizer.step', 'average of the weights'
# operators of torch by parts of their names; the first that fits
GROUPS = {
    'convolutions': ('conv', ),
    'BatchNorm': ('batch_norm', ),
    'matrix products': ('mm', ),
    'ReLU': ('relu', 'threshold', 'clamp'),
    'copies': ('copy', 'fill', 'zero', 'cat', 'clone', 'stack'),
    'sums and other elementwise operators': ('', ),
}


def measure_pipeline(lmdb, option_file, device, quick=False):
    """Measure the images per second of the loader alone, of training from memory and of training from the loader.

    Args:
        lmdb (str): LMDB of clean images.
        option_file (str): Option file of a ``RestorationModel``, whose training data is replaced by ``lmdb``.
        device (str): Device to train on.
        quick (bool): Whether to use a narrow network and few steps. Default: False.

    Returns:
        tuple: list of (measurement, images per second, share of time spent waiting for data or None); and list of
            (part of the step, share of the CPU time as text).

    Raises:
        UsageError: If the option file trains something else, or the LMDB cannot be read.
    """
    opt = load_yaml(option_file)
    data, network = opt['datasets']['train'], opt['network_g']
    if opt['model_type'] != 'RestorationModel' or 'dataroot_gt' not in data or 'dataroot_lq' in data:
        raise UsageError(
            f'{option_file}: does not train a RestorationModel on degraded images; use another option file')
    data.update(dataroot_gt=lmdb, io_backend={'type': 'lmdb'}, phase='train', scale=opt['scale'])
    if quick:
        network.update(NARROW[network['type'].lower()])
        data.update(num_worker_per_gpu=1, batch_size_per_gpu=2)
    dataset = build_dataset(data)
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

    model = _build(opt, device)

    def train(source):
        for i, item in enumerate(source):
            model.feed_data(item)
            model.optimize_parameters(i + 1)
            if device != 'cpu':
                torch.cuda.synchronize()
            if i == 0:
                model.speed = SpeedMeter()  # the first step warms up
        return model.speed.read()

    rows.append(('training from memory', train([first] * (1 + max(2, steps // 4)))['img_s'], None))
    figures = train(batches())
    rows.append(('training from the loader', figures['img_s'], figures['data_wait']))
    return rows, _profile(model, lambda: train([first, first]))


def _build(opt, device):
    opt.update(dist=False, rank=0, world_size=1, is_train=True, auto_resume=False, num_gpu=int(device != 'cpu'))
    folder = tempfile.gettempdir()  # nothing is written: no checkpoint is due
    opt['path'].update(models=folder, training_states=folder, log=folder, pretrain_network_g=None)
    before = logging.root.manager.disable
    logging.disable(logging.INFO)  # the network as text
    try:
        return build_model(opt)
    finally:
        logging.disable(before)


def _profile(model, run):
    average = model.model_ema

    def recorded(*args, **kwargs):
        with torch.profiler.record_function(AVERAGE):
            average(*args, **kwargs)

    model.model_ema = recorded
    with contextlib.ExitStack() as stack:
        stack.callback(delattr, model, 'model_ema')
        profile = stack.enter_context(torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]))
        run()
    events = profile.key_averages()
    total = sum(v.self_cpu_time_total for v in events)
    parts = dict.fromkeys([*GROUPS, 'Python and autograd'], 0.)
    for event in events:
        fits = (k for k, v in GROUPS.items() if event.key.startswith('aten::') and any(name in event.key for name in v))
        parts[next(fits, 'Python and autograd')] += event.self_cpu_time_total
    for name in (OPTIMIZER, AVERAGE):
        parts[f'of all: {name}'] = sum(v.cpu_time_total for v in events if v.key.startswith(name))
    return [(name, f'{value / total:.1%}') for name, value in parts.items()]


def rows_of(measured):
    """Rows of ``COLUMNS``."""
    rows = [[what, f'{speed:.1f}', '-' if wait is None else f'{wait:.2%}'] for what, speed, wait in measured]
    wait = measured[-1][2]
    return rows + [[f'data wait below {WAIT:.0%}', '', 'yes' if wait < WAIT else 'no']]
