"""Options of a run that no code reads, and options that contradict each other, found before data is opened."""
import ast
import functools
import inspect
import re
import sys
import torch

from basicsr.utils import registry
from ..engine.optim import build_optimizer, build_scheduler, length_of_schedule
from ..engine.step import DTYPES
from ..engine.validation import METRIC_OPTIONS
from ..errors import UsageError, near
from ..inference import Inference

# modules that read options, beside those of the model and the data sets
_PIPELINE = ('basicsr.train', 'basicsr.test', 'basicsr.utils.options', 'basicsr.utils.logger', 'basicsr.utils.misc',
             'basicsr.utils.dist_util', 'basicsr.data', 'basicsr.models.base_model', 'memnet_basicsr.plugin.compat',
             'memnet_basicsr.plugin.launch', 'memnet_basicsr.engine.validation', 'memnet_basicsr.engine.step',
             'memnet_basicsr.engine.optim', 'memnet_basicsr.engine.checkpoint', 'memnet_basicsr.engine.mixup', __name__)
# arguments of metrics that the validator fills in
_METRIC_GIVEN = ('img', 'img2', 'mask', 'abnormality', 'kwargs')
_PATH_PREFIXES = ('pretrain_network_', 'param_key_', 'strict_load_')


def check_run(opt, path, is_train):
    """Check the options of a run with one of our models.

    Args:
        opt (dict): Options as read from the file, their types known to the registries.
        path (str): The option file, for the messages.
        is_train (bool): Whether they are for training.

    Raises:
        UsageError: An option that no code reads, an argument that a class does not take, or a contradiction.
    """
    _check_numbers(opt, f'{path}: ')
    model_words = _words_of_class(registry.MODEL_REGISTRY.get(opt['model_type']))
    words = model_words.union(Inference.option_keys(), *(_words(name) for name in _PIPELINE if name in sys.modules))
    _check_keys([k for k in opt if not k.startswith('network_')], words, path, '')
    for block in ('train', 'val', 'logger', 'path'):
        keys = [k for k in opt.get(block) or {} if block != 'path' or not k.startswith(_PATH_PREFIXES)]
        _check_keys(keys, words, path, f'{block}: ')
    for phase, block in opt['datasets'].items():
        _check_keys(block, words | _words_of_class(registry.DATASET_REGISTRY.get(block['type'])), path,
                    f'datasets: {phase}: ')
    for key, block in opt.items():
        if key.startswith('network_'):
            _check_arguments(registry.ARCH_REGISTRY, block, path, key)
    for key, block in (opt.get('train') or {}).items():
        if key.endswith('_opt') and isinstance(block, dict) and 'type' in block:
            _check_arguments(registry.LOSS_REGISTRY, block, path, f'train: {key}')
    _check_validation(opt, path, is_train)
    if is_train:
        _check_training(opt, path)


def _check_training(opt, path):
    train = opt['train']

    def refuse(key, fault):
        raise UsageError(f'{path}: train: {key}: {fault}')

    precision = train.get('precision', 'fp32')
    if precision not in DTYPES:
        refuse('precision', f'{precision!r} is unknown, use one of {", ".join(DTYPES)}')
    decay = train.get('ema_decay', 0)
    if not _is_number(decay) or not 0 <= decay < 1:
        refuse('ema_decay', f'{decay} lies outside [0, 1)')
    parts, batch = train.get('accumulate', 1), opt['datasets']['train'].get('batch_size_per_gpu', 1)
    if not _is_count(parts) or batch % parts:
        refuse('accumulate', f'{parts} does not divide batch_size_per_gpu: {batch} into equal parts')
    clip = train.get('grad_clip') or {}
    if not isinstance(clip, dict) or len(clip) > 1 or clip.keys() - {'norm', 'value', 'adjustable'}:
        shown = dict(clip) if isinstance(clip, dict) else clip
        refuse('grad_clip', f'{shown} is none of {{norm: c}}, {{value: c}}, {{adjustable: theta}}')
    if any(not _is_number(v) or v <= 0 for v in clip.values()):
        refuse('grad_clip', f'{dict(clip)} must hold a positive number')
    if clip and train.get('use_grad_clip'):
        refuse('grad_clip', 'use_grad_clip asks for the norm 0.01 beside it; leave one of them out')
    for key in ('keep_last', 'nonfinite_patience', 'total_iter'):
        if key in train and not _is_count(train[key]):
            refuse(key, f'{train[key]!r} is not a positive whole number')
    if 'total_iter' not in train:
        refuse('total_iter', f'is missing{near("total_iter", train)}')
    for key, wanted in (('optim_g', ('type', 'lr')), ('scheduler', ('type', ))):
        for name in wanted:
            if not isinstance(train.get(key), dict) or name not in train[key]:
                refuse(key, f'has no {name}')
    try:
        # on a stand-in for the network, so that types and arguments are checked by those who know them
        optim_opt = {k: v for k, v in train['optim_g'].items() if k not in ('type', 'bias_lr_mult')}
        optimizer = build_optimizer(train['optim_g']['type'], [torch.nn.Parameter(torch.zeros(1, 1))], **optim_opt)
        scheduler_opt = {k: v for k, v in train['scheduler'].items() if k != 'type'}
        build_scheduler(train['scheduler']['type'], optimizer, **scheduler_opt)
    except UsageError as error:
        raise UsageError(f'{path}: {error}') from None
    length = length_of_schedule(train['scheduler'])
    if length is not None and length < train['total_iter']:
        refuse(
            'total_iter', f'{train["total_iter"]} lies beyond the {length} iterations of scheduler '
            f'{train["scheduler"]["type"]}')
    for key in ('print_freq', 'save_checkpoint_freq'):
        if not _is_count(opt['logger'].get(key)):
            raise UsageError(f'{path}: logger: {key}: {opt["logger"].get(key)!r} is not a positive whole number'
                             f'{near(key, opt["logger"])}')


def _check_validation(opt, path, is_train):
    val_opt = opt.get('val')
    if val_opt is None:
        return
    try:
        Inference.from_options(val_opt)
    except UsageError as error:
        raise UsageError(f'{path}: val: {error}') from None
    if is_train and not _is_count(val_opt.get('val_freq')):
        raise UsageError(f'{path}: val: val_freq: {val_opt.get("val_freq")!r} is not a positive whole number'
                         f'{near("val_freq", val_opt)}')
    if 'save_img' not in val_opt:
        raise UsageError(f'{path}: val: save_img: is missing{near("save_img", val_opt)}')
    blocks = {'val': val_opt}
    names = {}
    for phase, block in opt['datasets'].items():
        if phase.split('_')[0] != ('val' if is_train else 'test'):
            continue
        blocks[f'datasets: {phase}'] = block
        if block.get('name') in names:
            raise UsageError(f'{path}: datasets: {phase}: name: {block.get("name")!r} is also that of '
                             f'{names[block.get("name")]}; results are kept by name')
        names[block.get('name')] = phase
    for place, block in blocks.items():
        if block.get('max_images') is not None and not _is_count(block['max_images']):
            raise UsageError(f'{path}: {place}: max_images: {block["max_images"]!r} is not a positive whole number')
        for name, metric in (block.get('metrics') or {}).items():
            _check_arguments(registry.METRIC_REGISTRY, metric, path, f'{place}: metrics: {name}', _METRIC_GIVEN)
            if metric.get('better', 'higher') not in ('higher', 'lower'):
                raise UsageError(
                    f'{path}: {place}: metrics: {name}: better: {metric["better"]!r} is neither higher nor '
                    'lower')


def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_count(value):
    return _is_number(value) and value >= 1 and value == int(value)


def _check_numbers(value, place):
    """Refuse ``lr: 1e-3``, which is text in YAML 1.1 and fails where nobody looks for it."""
    if isinstance(value, str) and re.fullmatch(r'[+-]?\d+(\.\d*)?[eE][+-]?\d+', value):
        raise UsageError(f'{place}{value} is text in YAML; write !!float {value}')
    for key, inner in value.items() if isinstance(value, dict) else ():
        if key != 'name':
            _check_numbers(inner, f'{place}{key}: ')
    for inner in value if isinstance(value, list) else ():
        _check_numbers(inner, place)


def _check_keys(keys, words, path, place):
    for key in keys:
        if key not in words:
            raise UsageError(f'{path}: {place}{key}: no code reads this option{near(key, words)}')


def _check_arguments(known, block, path, place, given=()):
    """Arguments of a registered class or function that is called with ``**block``."""
    parameters = inspect.signature(known.get(block['type'])).parameters
    swallows = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    allowed = [*(name for name in parameters if name not in given), *(METRIC_OPTIONS if given else ())]
    # metrics swallow what they do not know, so that a validator can pass everything to all
    if not swallows or given:
        for key in block:
            if key != 'type' and key not in allowed:
                raise UsageError(f'{path}: {place}: {block["type"]} has no argument {key}{near(key, allowed)}')
    missing = [k for k, p in parameters.items() if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD
               and k not in block and k not in given]  # yapf: disable
    if missing:
        raise UsageError(f'{path}: {place}: {block["type"]} needs the argument {missing[0]}')


def _words_of_class(cls):
    return set().union(*(_words(base.__module__) for base in cls.__mro__ if base is not object))


@functools.lru_cache(None)
def _words(module):
    """All string constants of a module: an option that is read by name is among them."""
    try:
        tree = ast.parse(inspect.getsource(sys.modules[module]))
    except (OSError, TypeError):
        return frozenset()
    return frozenset(node.value for node in ast.walk(tree)
                     if isinstance(node, ast.Constant) and isinstance(node.value, str))  # yapf: disable
