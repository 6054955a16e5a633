"""Hooks into BasicSR's pipelines: checks options, formats errors, sets where runs write.

BasicSR's ``train.py`` and ``test.py`` stay as they are. Functions that they import are replaced in the modules of
BasicSR that hold them (:func:`install`), so that every script finds ours. ``load_resume_state``, which ``train.py``
defines itself, also when it runs as ``__main__``, is replaced in the caller's globals (:func:`_adopt`). Runs that use
nothing of this package get BasicSR's own functions (:mod:`memnet_basicsr.plugin.strangers`).
"""
import argparse
import atexit
import errno
import inspect
import math
import multiprocessing
import os
import signal
import sys
import threading
import torch
from functools import partial, update_wrapper, wraps
from urllib.error import URLError

from basicsr import data as stock_data
from basicsr.data.prefetch_dataloader import PrefetchGenerator
from basicsr.models.base_model import BaseModel
from basicsr.utils import logger as stock_logger
from basicsr.utils import options as stock_options
from basicsr.utils import registry
from ..data.sampling import EpochSampler, SeededDataset
from ..engine import checkpoint
from ..engine.distributed import gather
from ..engine.optim import resume
from ..engine.run_lock import lock_run
from ..engine.stop import leave_signals_to_parent
from ..engine.validation import check_crop_border, image_name
from ..errors import UsageError
from . import compat
from .option_file import check_file, check_launcher, find_pretrained, import_modules, override, read_option_file
from .resume import epoch_length
from .shipped import find_option_file
from .strangers import is_ours, uses_plugin

# iterations of an epoch below which the start of workers shows
MIN_EPOCH = 200
# errors of disks and folders
FILE_SYSTEM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG, errno.EIO, errno.ENOENT,
               errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP, errno.ENAMETOOLONG)

# options of the run in this process: None before one starts, an empty dict if it uses nothing of this package
current_run = None


def install():
    """Exchange the functions that ``train.py`` and ``test.py`` import. Idempotent."""
    for module, name, wrap in ((stock_options, 'parse_options', _checking), (stock_data, 'build_dataloader', _seeding),
                               (stock_logger, 'get_env_info', _reporting)):
        stock = getattr(module, name)
        if not hasattr(stock, '__wrapped__'):
            _exchange(name, stock, wrap(stock))
    for name, wrap in (('load_network', _loading_safely), ('resume_training', _resuming)):
        if not hasattr(getattr(BaseModel, name), '__wrapped__'):
            setattr(BaseModel, name, wrap(getattr(BaseModel, name)))


def _exchange(name, stock, ours):
    """Replace a function in every loaded module of BasicSR: `import basicsr` has loaded `basicsr.train` before us."""
    for key, module in list(sys.modules.items()):
        if key.split('.')[0] == 'basicsr' and getattr(module, name, None) is stock:
            setattr(module, name, ours)


# ---- parse_options --------------------------------------------------------------------------------------------------


def _checking(stock):

    @wraps(stock)
    def parse_options(root_path, is_train=True):
        caller = sys._getframe(1)
        from_pipeline = caller.f_code.co_name in ('train_pipeline', 'test_pipeline')
        compat.accept_local_rank_spelling(sys.argv)
        parser = argparse.ArgumentParser(add_help=False)
        parser.add_argument('-opt', type=str)
        parser.add_argument('--launcher', default='none')
        parser.add_argument('--force_yml', nargs='+')
        command = parser.parse_known_args()[0]
        if command.opt is None:  # BasicSR's parser says how it is called
            return stock(root_path, is_train)
        path = find_option_file(command.opt)
        if path != command.opt:  # BasicSR's parser opens it too
            sys.argv = [
                v.replace(command.opt, path) if v in (command.opt, f'-opt={command.opt}') else v for v in sys.argv
            ]
            compat.notes.append(f'-opt {command.opt} is {path}')
        try:
            file = read_option_file(path)
            import_modules(file)
            override(file, command.force_yml)
            if not uses_plugin(file.options):
                opt, args = stock(root_path, is_train)
                if from_pipeline:
                    _adopt(caller.f_globals, {})
                return opt, args
            check_file(file, is_train)
            check_launcher(command.launcher, file)
            opt, args = stock(compat.run_root(root_path), is_train)
            opt['seed_drawn'] = file.options.get('manual_seed') is None
            if opt.get('val'):
                opt['val'].setdefault('suffix', None)  # BasicSR's models need the line, though it may be empty
            if opt['dist']:  # without manual_seed each process has drawn its own
                opt['manual_seed'] = gather(opt['manual_seed'], opt)[0]
            find_pretrained(opt, args.opt)
            if from_pipeline:
                try:
                    check_data(opt)
                except UsageError as error:
                    raise UsageError(f'{args.opt}: {error}') from None
                _lock(opt)
                _adopt(caller.f_globals, opt)
            return opt, args
        except UsageError as error:
            if not from_pipeline:
                raise
            if int(os.environ.get('RANK', 0)) == 0:
                sys.stderr.write(f'{error}\n')
            sys.exit(2)

    return parse_options


def _lock(opt):
    """Lock the folder of a run for its first process; all processes end where it is in use."""
    fault = None
    if opt['rank'] == 0:
        fault = lock_run(opt['path']['experiments_root' if opt['is_train'] else 'results_root'])
    fault = gather(fault, opt)[0]
    if fault:
        raise UsageError(f'name: {opt["name"]}: {fault}')


def _adopt(script, opt):
    """Start a run: the only place where globals of a script are changed.

    Args:
        script (dict): Global names of the running ``train.py`` or ``test.py``.
        opt (dict): Options of its run; empty if it uses nothing of this package.
    """
    global current_run
    current_run = opt
    if 'load_resume_state' in script:
        stock = inspect.unwrap(script['load_resume_state'])
        ours = partial(compat.load_resume_state) if opt else compat.resume_without_gpu(stock)
        script['load_resume_state'] = update_wrapper(ours, stock)
    if opt:
        if os.environ.pop('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', None):
            compat.warnings_for_log.append('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD is ignored: it would let files run code')
        sys.excepthook = partial(_excepthook, sys.excepthook)
        threading.excepthook = partial(_thread_excepthook, threading.excepthook)


def _excepthook(previous, kind, error, traceback):
    """Print mistakes of the user, faults of the file system and failed downloads as one line; all else as before."""
    if issubclass(kind, URLError) or (issubclass(kind, OSError) and
                                      (error.errno in FILE_SYSTEM or str(error).startswith('cannot write checkpoint'))):
        sys.stderr.write(f'error: the run cannot continue: {error}\n')
    elif issubclass(kind, UsageError):
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


# ---- get_env_info ---------------------------------------------------------------------------------------------------


def _reporting(stock):

    @wraps(stock)
    def get_env_info():
        if current_run is None:
            return stock()
        return f'{stock()}\n{compat.report() if current_run else compat.report_to_strangers()}'

    return get_env_info


# ---- models ---------------------------------------------------------------------------------------------------------


def _loading_safely(stock):
    """All models read weights in one way: nothing is executed, checksums are verified, mistakes are one line."""

    @wraps(stock)
    def load_network(self, net, load_path, strict=True, param_key='params'):
        if current_run == {}:
            return stock(self, net, load_path, strict, param_key)
        content = checkpoint.load_for(self.get_bare_model(net), load_path, strict, param_key)
        with compat.pretend(torch, load=lambda path, **how: content):
            return stock(self, net, load_path, strict, param_key)

    return load_network


def _resuming(stock):
    """In BasicSR's models too, another schedule takes effect and another optimizer stops the run."""

    @wraps(stock)
    def resume_training(self, resume_state):
        (stock if current_run == {} else resume)(self, resume_state)

    return resume_training


# ---- data -----------------------------------------------------------------------------------------------------------


def check_data(opt):
    """Open the training set, and all sets of ours, before BasicSR moves an earlier run of that name away.

    Args:
        opt (dict): Options of the run.

    Raises:
        UsageError: A set cannot be opened, or the training set is too small for one batch or for the run (row 21).
    """
    with compat.pretend(stock_logger, initialized_logger={'basicsr': True}):  # silent: there is no log file yet
        for phase, dataset_opt in opt['datasets'].items():
            cls = registry.DATASET_REGISTRY.get(dataset_opt['type'])
            if dataset_opt['phase'] == 'train' or is_ours(cls):
                dataset = stock_data.build_dataset(dataset_opt)
            if opt['is_train'] and dataset_opt['phase'] == 'train':
                opt['num_images'] = len(dataset)
                opt['batch_size'] = _epoch_size(opt, dataset_opt)[2] * opt['world_size']
                _check_length(len(dataset), has_seeded_samples(opt, cls), opt, dataset_opt)
            elif is_ours(cls):
                try:
                    _check_validation_set(dataset, dataset_opt, opt)
                except UsageError as error:
                    raise UsageError(f'datasets: {phase}: {error}') from None


def _check_validation_set(dataset, dataset_opt, opt):
    """Check that image names are unique, and that metrics leave something of the first one."""
    paths = dataset.source.paths if hasattr(dataset, 'source') else []
    names = {}
    for path in paths:
        other = names.setdefault(image_name(path, dataset_opt), path)
        if other != path:
            raise UsageError(f'{other} and {path} have the same name, under which results are written; rename one')
    metrics = dataset_opt.get('metrics') or (opt.get('val') or {}).get('metrics')
    if metrics:
        item = dataset[0]
        check_crop_border(metrics, item['lq'].shape[-2:], item['lq_path'])


def _epoch_size(opt, dataset_opt):
    """Enlargement of the dataset, samples per iteration that an epoch is counted with, and that the loader takes."""
    batch_size = dataset_opt['batch_size_per_gpu']
    return (dataset_opt.get('dataset_enlarge_ratio',
                            1), batch_size, batch_size if opt['dist'] else batch_size * max(opt['num_gpu'], 1))


def _check_length(length, seeded, opt, dataset_opt):
    """Row 21: BasicSR drops the last incomplete batch of an epoch but counts it, and so would end early."""
    ratio, batch_size, loader_batch_size = _epoch_size(opt, dataset_opt)
    world_size = opt['world_size']
    if length * ratio < loader_batch_size * world_size:
        raise UsageError(f'datasets: train: {length} image(s) are too few for one batch of '
                         f'{loader_batch_size * world_size}: lower batch_size_per_gpu or set dataset_enlarge_ratio to '
                         f'{-(-loader_batch_size * world_size // max(length, 1))} or more')
    if seeded:  # EpochSampler's epochs have the number of iterations that BasicSR counts
        return
    total_iter = int(opt['train']['total_iter'])
    epoch = epoch_length(opt)
    if dataset_opt['num_worker_per_gpu'] and not dataset_opt.get('persistent_workers') \
            and epoch < min(MIN_EPOCH, total_iter):  # yapf: disable
        compat.warnings_for_log.append(
            f'datasets: train: an epoch has only {epoch} iterations, and workers restart every epoch: set '
            f'persistent_workers: true, or dataset_enlarge_ratio to {ratio * math.ceil(MIN_EPOCH / epoch):g}')
    epochs = math.ceil(total_iter / epoch) + 1
    done = epochs * (math.ceil(length * ratio / world_size) // loader_batch_size)
    if done < total_iter:
        raise UsageError(f'datasets: train: the last incomplete batch of each epoch is dropped, so that training would '
                         f'end at iteration {done} of {total_iter}: set dataset_enlarge_ratio to {10 * ratio} or more'
                         f'{" and num_gpu to 1 (or use torchrun)" if loader_batch_size > batch_size else ""}')


def has_seeded_samples(opt, dataset_class):
    """Whether a run's training samples come from :mod:`memnet_basicsr.data.sampling`."""
    return is_ours(registry.MODEL_REGISTRY.get(opt['model_type'])) or is_ours(dataset_class)


def _seeding(stock):

    @wraps(stock)
    def build(dataset, dataset_opt, num_gpu=1, dist=False, sampler=None, seed=None):
        return build_dataloader(dataset, dataset_opt, num_gpu, dist, sampler, seed, run_opt=current_run)

    return build


def build_dataloader(dataset, dataset_opt, num_gpu=1, dist=False, sampler=None, seed=None, *, run_opt):
    """BasicSR's ``build_dataloader``, with seeded samples for our models and datasets.

    Args:
        run_opt (dict | None): All options of the run; the others as in BasicSR.
    """
    stock = inspect.unwrap(stock_data.build_dataloader)
    if not run_opt or dataset_opt['phase'] != 'train' or not has_seeded_samples(run_opt, type(dataset)):
        return stock(dataset, dataset_opt, num_gpu, dist, sampler, seed)
    ratio, batch_size, loader_batch_size = _epoch_size(run_opt, dataset_opt)
    start = run_opt.get('resume_position', (0, 0))
    sampler = EpochSampler(sampler, ratio, batch_size, loader_batch_size, seed, start)
    run_opt['iters_per_epoch'] = sampler.num_iter
    # workers prefetch anyway; BasicSR's prefetching thread would share this process's generators
    persistent = dataset_opt.get('persistent_workers')
    persistent = dataset_opt['num_worker_per_gpu'] > 0 if persistent is None else persistent
    dataset_opt = {**dataset_opt, 'prefetch_mode': None, 'persistent_workers': persistent}
    loader = stock(SeededDataset(dataset), dataset_opt, num_gpu, dist, sampler, seed)
    loader.generator = torch.Generator()  # else each epoch's start draws from the network's generator
    atexit.unregister(_end_workers)
    atexit.register(_end_workers)
    loader.worker_init_fn = leave_signals_to_parent  # SeededDataset seeds
    return loader


def _end_workers():
    """End the loader's workers when an error ends the run: they ignore SIGTERM, and Python would wait for them."""
    workers = multiprocessing.active_children()
    if workers and hasattr(signal, 'SIGCHLD'):
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's handler raises for a killed worker
    for worker in workers:
        worker.kill()
