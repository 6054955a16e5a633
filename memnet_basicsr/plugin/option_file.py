"""An option file before a run: reading it, and checks that say what is wrong before anything is opened or written."""
import os
import yaml
from os import path as osp

from basicsr.utils import options as stock_options
from basicsr.utils import registry
from ..errors import UsageError, near
from ..inference.weights import find_weights
from .options import check_run

_required = dict(
    train=('name', 'model_type', 'num_gpu', 'datasets', 'network_g', 'path', 'train', 'logger'),
    test=('name', 'model_type', 'num_gpu', 'datasets', 'network_g', 'path', 'val'))
# options that BasicSR reads without a default, some of them only when the run has gone on for hours
_required_in = dict(train=dict(train=('total_iter', ), logger=('print_freq', 'save_checkpoint_freq', 'use_tb_logger'),
                               val=('val_freq', 'save_img')),
                    test=dict(val=('save_img', )))  # yapf: disable
_required_of_training_set = ('batch_size_per_gpu', 'num_worker_per_gpu')


def load_yaml(path):
    """Read an option file as BasicSR does.

    Args:
        path (str): Path of the option file.

    Returns:
        OrderedDict: The options.

    Raises:
        UsageError: The file is missing, is not YAML, or is not a mapping of options.
    """
    if not osp.isfile(path):
        folder = osp.dirname(path) or '.'
        others = near(osp.basename(path), os.listdir(folder)) if osp.isdir(folder) else ''
        raise UsageError(f'option file {path} does not exist (current directory: {os.getcwd()}){others}')
    try:
        with open(path, encoding='utf-8') as f:
            opt = yaml.load(f, Loader=stock_options.ordered_yaml()[0])
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, 'problem_mark', None)
        where = f', line {mark.line + 1}' if mark else ''
        raise UsageError(f'option file {path}{where} is not YAML: {getattr(error, "problem", None) or error}') from None
    if not isinstance(opt, dict):
        raise UsageError(f'option file {path} holds no options (a mapping `key: value` is wanted)')
    return opt


def check_blocks(opt, path, is_train=True):
    """Check that an option file has the parts that BasicSR's parser and pipelines take for granted.

    Args:
        opt (dict): Options as read from the file.
        path (str): Path of the option file, for the messages.
        is_train (bool): Whether they are for training. Default: True.

    Raises:
        UsageError: A part is missing or is not a mapping.
    """
    for key in _required['train' if is_train else 'test']:
        if opt.get(key) is None:
            raise UsageError(f'{path}: `{key}:` is missing{near(key, opt)}')
    for key in ('datasets', 'network_g', 'path', 'train', 'val', 'logger'):
        if opt.get(key) is not None and not isinstance(opt[key], dict):
            raise UsageError(f'{path}: `{key}:` must be a block of options')
    for phase, block in opt['datasets'].items():
        if not isinstance(block, dict):
            raise UsageError(f'{path}: `datasets: {phase}:` must be a block of options')
    if is_train and 'train' not in opt['datasets']:
        raise UsageError(f'{path}: `datasets: train:` is missing')
    wanted = {block: (opt.get(block), keys) for block, keys in _required_in['train' if is_train else 'test'].items()}
    if is_train:
        wanted['datasets: train'] = opt['datasets']['train'], _required_of_training_set
    for place, (block, keys) in wanted.items():
        for key in keys if block is not None else ():
            if block.get(key) is None:
                raise UsageError(f'{path}: {place}: `{key}:` is missing{near(key, block)}')


def check_options(opt, path, is_train=True):
    """Check what can be checked before anything is opened or written.

    Args:
        opt (dict): Options of the run; those of the command line (``--force_yml``) are in them.
        path (str): Path of the option file, for the messages.
        is_train (bool): Whether they are for training. Default: True.

    Raises:
        UsageError: A type is in no registry, or a data root does not exist.
    """
    _check_type(opt['model_type'], registry.MODEL_REGISTRY, 'model_type', path)
    for key, block in opt.items():
        if key.startswith('network_') and isinstance(block, dict):
            _check_type(block.get('type'), registry.ARCH_REGISTRY, f'{key}: type', path)
    for phase, block in opt['datasets'].items():
        place = f'datasets: {phase}'
        _check_type(block.get('type'), registry.DATASET_REGISTRY, f'{place}: type', path)
        for name, metric in (block.get('metrics') or {}).items():
            _check_type(metric.get('type'), registry.METRIC_REGISTRY, f'{place}: metrics: {name}: type', path)
        for key in ('dataroot_gt', 'dataroot_lq', 'dataroot_mask'):
            check_data_root(block.get(key), f'{path}: {place}: {key}')
    for key, block in (opt.get('train') or {}).items():
        if key.endswith('_opt') and isinstance(block, dict) and 'type' in block:
            _check_type(block['type'], registry.LOSS_REGISTRY, f'train: {key}: type', path)
    for name, metric in ((opt.get('val') or {}).get('metrics') or {}).items():
        _check_type(metric.get('type'), registry.METRIC_REGISTRY, f'val: metrics: {name}: type', path)
    if is_ours(registry.MODEL_REGISTRY.get(opt['model_type'])):
        check_run(opt, path, is_train)


def find_pretrained(opt, path):
    """Let ``path: pretrain_network_*`` name packaged weights or an http(s) address too: put their file in its place.

    Args:
        opt (Options): Options of the run; changed.
        path (str): Path of the option file, for the message.

    Raises:
        UsageError: There is no such file, name or address, and the run does not go on from a state of its own.
    """
    for key, source in opt['path'].items():
        if key.startswith('pretrain_network_') and isinstance(source, str):
            try:
                opt['path'][key] = find_weights(source)
            except UsageError as error:
                if not opt['auto_resume'] and not opt['path'].get('resume_state'):
                    raise UsageError(f'{path}: path: {key}: {error}') from None


def check_data_root(root, place):
    """Check that a data root, if one is named, can hold pictures.

    Args:
        root (str | None): Folder or LMDB.
        place (str): Where it was named, for the message.

    Raises:
        UsageError: It does not exist, is empty, or is an LMDB without meta file.
    """
    if not isinstance(root, str):
        return
    root = osp.expanduser(root)
    if not osp.isdir(root):
        fault = 'is not a folder' if osp.exists(root) else 'does not exist'
        raise UsageError(f'{place}: {root} {fault} (current directory: {os.getcwd()})')
    if root.rstrip('/').endswith('.lmdb') and not osp.isfile(osp.join(root, 'meta_info.txt')):
        raise UsageError(f'{place}: {root} has no meta_info.txt: make the LMDB again '
                         'with scripts/data_preparation/create_lmdb.py')
    if not any(os.scandir(root)):
        raise UsageError(f'{place}: {root} is empty')


def _check_type(name, known, place, path):
    if not isinstance(name, str):
        raise UsageError(f'{path}: `{place}` is missing')
    if name not in known and f'{name}_basicsr' not in known:
        raise UsageError(f"{path}: {place}: no '{name}' is registered{near(name, known.keys())}")


def is_ours(cls):
    """Whether a class is, or derives from, one of this package: only then does the plug-in change behaviour."""
    package = __package__.split('.')[0]
    return any(base.__module__.split('.')[0] == package for base in cls.__mro__)
