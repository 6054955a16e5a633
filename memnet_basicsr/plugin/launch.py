"""Between the command line and BasicSR's pipeline: options are checked, errors become one line, runs find a place.

BasicSR's ``train.py`` and ``test.py`` stay as they are, also when they run as a script, where their functions live in
``__main__``. Both call ``parse_options`` first; the wrapper here checks the option file, and exchanges in the calling
module the few functions that are repaired or that our models and data sets need (:func:`adopt`).
"""
import argparse
import atexit
import math
import multiprocessing
import os
import signal
import sys
import threading
import torch
from collections import OrderedDict
from functools import partial, wraps

from basicsr import data as stock_data
from basicsr.data.prefetch_dataloader import PrefetchGenerator
from basicsr.utils import logger as stock_logger
from basicsr.utils import options as stock_options
from basicsr.utils import registry
from ..data.sampling import EpochSampler, SeededDataset
from ..engine.distributed import gather
from ..engine.stop import leave_signals_to_parent
from ..errors import UsageError
from . import compat
from .option_file import check_blocks, check_options, find_pretrained, is_ours, load_yaml


class Options(OrderedDict):
    """BasicSR's option dict, whose ``root_path`` stays where this run writes.

    ``train_pipeline`` stores its own root there after parsing, which is site-packages for an installed BasicSR.
    """

    def __setitem__(self, key, value):
        super().__setitem__(key, compat.run_root(value) if key == 'root_path' else value)


def install():
    """Put the wrapper in place of ``parse_options`` wherever BasicSR has it. Idempotent."""
    if hasattr(stock_options.parse_options, '__wrapped__'):
        return
    parse_options = _wrap(stock_options.parse_options)
    for name in ('basicsr.utils.options', 'basicsr.train', 'basicsr.test'):
        if name in sys.modules:
            sys.modules[name].parse_options = parse_options


def _wrap(stock):

    @wraps(stock)
    def parse_options(root_path, is_train=True):
        caller = sys._getframe(1)
        from_pipeline = caller.f_code.co_name in ('train_pipeline', 'test_pipeline')
        if from_pipeline:
            sys.excepthook = partial(_excepthook, sys.excepthook)
            threading.excepthook = partial(_thread_excepthook, threading.excepthook)
        compat.accept_local_rank_spelling(sys.argv)
        parser = argparse.ArgumentParser(add_help=False)
        parser.add_argument('-opt', type=str)
        path = parser.parse_known_args()[0].opt
        if path is not None:
            check_blocks(load_yaml(path), path, is_train)
        opt, args = stock(compat.run_root(root_path), is_train)
        opt = Options(opt)
        if opt['dist']:  # without manual_seed each process has drawn one of its own
            opt['manual_seed'] = gather(opt['manual_seed'], opt)[0]
        check_options(opt, args.opt, is_train)
        find_pretrained(opt, args.opt)
        if from_pipeline:
            check_data(opt)
            adopt(caller.f_globals, opt)
        return opt, args

    return parse_options


def _excepthook(previous, kind, error, traceback):
    """Print a mistake of the user as one line; everything else as before."""
    if issubclass(kind, UsageError):
        # a worker of the loader sends its traceback as the text: the message is its last line
        text = str(error).strip().splitlines()[-1] if 'Original Traceback' in str(error) else str(error)
        sys.stderr.write(f'error: {text.split("UsageError: ")[-1]}\n')
    else:
        previous(kind, error, traceback)


def _thread_excepthook(previous, args):
    """End the run when its prefetching thread (``prefetch_mode: cpu``) dies: BasicSR would wait for it forever."""
    if not isinstance(args.thread, PrefetchGenerator):
        previous(args)
        return
    sys.excepthook(args.exc_type, args.exc_value, args.exc_traceback)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)


def _end_workers():
    """End the loader's workers when an error ends the run: they ignore SIGTERM, and Python would wait for them."""
    workers = multiprocessing.active_children()
    if workers and hasattr(signal, 'SIGCHLD'):
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's handler raises for a killed worker
    for worker in workers:
        worker.kill()


def check_data(opt):
    """Open the training set, and all sets of ours, before BasicSR moves an earlier run of that name away.

    Args:
        opt (Options): Options of the run.

    Raises:
        UsageError: A set cannot be opened, or the training set is too small for one batch or for the run (row 21).
    """
    with compat.pretend(stock_logger, initialized_logger={'basicsr': True}):  # silent: there is no log file yet
        for dataset_opt in opt['datasets'].values():
            cls = registry.DATASET_REGISTRY.get(dataset_opt['type'])
            if dataset_opt['phase'] == 'train' or is_ours(cls):
                dataset = stock_data.build_dataset(dataset_opt)
            if opt['is_train'] and dataset_opt['phase'] == 'train':
                _check_length(len(dataset), has_seeded_samples(opt, cls), opt, dataset_opt)


def _epoch_size(opt, dataset_opt):
    """Enlargement of the data set, samples per iteration that an epoch is counted with, and that the loader takes."""
    batch_size = dataset_opt['batch_size_per_gpu']
    return (dataset_opt.get('dataset_enlarge_ratio',
                            1), batch_size, batch_size if opt['dist'] else batch_size * max(opt['num_gpu'], 1))


def _check_length(length, seeded, opt, dataset_opt):
    """Row 21: BasicSR drops the last incomplete batch of an epoch but counts it, and so would end early."""
    ratio, batch_size, loader_batch_size = _epoch_size(opt, dataset_opt)
    world_size = opt['world_size']
    if length * ratio < loader_batch_size * world_size:
        raise UsageError(f'datasets: train: {length} picture(s) are too few for one batch of '
                         f'{loader_batch_size * world_size}: lower batch_size_per_gpu or set dataset_enlarge_ratio to '
                         f'{-(-loader_batch_size * world_size // max(length, 1))} or more')
    if seeded:  # EpochSampler's epochs have the number of iterations that BasicSR counts
        return
    total_iter = int(opt['train']['total_iter'])
    epochs = math.ceil(total_iter / math.ceil(length * ratio / (batch_size * world_size))) + 1
    done = epochs * (math.ceil(length * ratio / world_size) // loader_batch_size)
    if done < total_iter:
        raise UsageError(f'datasets: train: the last incomplete batch of each epoch is dropped, so that training would '
                         f'end at iteration {done} of {total_iter}: set dataset_enlarge_ratio to {10 * ratio} or more'
                         f'{" and num_gpu to 1 (or use torchrun)" if loader_batch_size > batch_size else ""}')


def adopt(module, opt):
    """Exchange functions of a running ``train.py`` or ``test.py``.

    Args:
        module (dict): Global names of the script.
        opt (Options): Its options.
    """
    if 'load_resume_state' in module:
        module['load_resume_state'] = compat.load_resume_state
    if 'create_train_val_dataloader' in module:
        module['build_dataloader'] = partial(build_dataloader, run_opt=opt)
    module['get_env_info'] = _with_plugin_info(module['get_env_info'])


def _with_plugin_info(stock):
    if hasattr(stock, '__wrapped__'):
        return stock
    return wraps(stock)(lambda: f'{stock()}\n{compat.report()}')


def has_seeded_samples(opt, dataset_class):
    """Whether a run's training samples come from :mod:`memnet_basicsr.data.sampling`."""
    return is_ours(registry.MODEL_REGISTRY.get(opt['model_type'])) or is_ours(dataset_class)


def build_dataloader(dataset, dataset_opt, num_gpu=1, dist=False, sampler=None, seed=None, *, run_opt):
    """BasicSR's ``build_dataloader``, with seeded samples for our models and data sets.

    Args:
        run_opt (Options): All options of the run; the others as in BasicSR.
    """
    if dataset_opt['phase'] != 'train':
        return stock_data.build_dataloader(dataset, dataset_opt, num_gpu, dist, sampler, seed)
    if not has_seeded_samples(run_opt, type(dataset)):
        return stock_data.build_dataloader(dataset, dataset_opt, num_gpu, dist, sampler, seed)
    ratio, batch_size, loader_batch_size = _epoch_size(run_opt, dataset_opt)
    start = run_opt.get('resume_position', (0, 0))
    sampler = EpochSampler(sampler, ratio, batch_size, loader_batch_size, seed, start)
    run_opt['iters_per_epoch'] = sampler.num_iter
    # workers prefetch anyway; BasicSR's prefetching thread would share this process's generators
    dataset_opt = {**dataset_opt, 'prefetch_mode': None}
    loader = stock_data.build_dataloader(SeededDataset(dataset), dataset_opt, num_gpu, dist, sampler, seed)
    loader.generator = torch.Generator()  # else each epoch's start draws from the network's generator
    atexit.unregister(_end_workers)
    atexit.register(_end_workers)
    loader.worker_init_fn = leave_signals_to_parent  # SeededDataset seeds
    return loader
