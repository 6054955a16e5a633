"""Options of a run that no code reads, and options that contradict each other, found before data is opened."""
import ast
import difflib
import functools
import inspect
import sys

from basicsr.utils import registry
from ..errors import UsageError
from ..inference import Inference
from .optim import SCHEDULERS, length_of_schedule
from .step import DTYPES

# modules that read options, beside those of the model and the data sets
_PIPELINE = ('basicsr.train', 'basicsr.test', 'basicsr.utils.options', 'basicsr.utils.logger', 'basicsr.utils.misc',
             'basicsr.utils.dist_util', 'basicsr.data', 'basicsr.models.base_model', 'memnet_basicsr.compat',
             'memnet_basicsr.launch', 'memnet_basicsr.engine.validation', 'memnet_basicsr.engine.step',
             'memnet_basicsr.engine.optim', 'memnet_basicsr.engine.checkpoint', __name__)
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
    if is_train:
        _check_training(opt, path)
    Inference.from_options(opt.get('val'))


def _check_training(opt, path):
    train = opt['train']

    def refuse(key, fault):
        raise UsageError(f'{path}: train: {key}: {fault}')

    precision = train.get('precision', 'fp32')
    if precision not in DTYPES:
        refuse('precision', f'{precision!r} is unknown, use one of {", ".join(DTYPES)}')
    decay = train.get('ema_decay', 0)
    if not 0 <= decay < 1:
        refuse('ema_decay', f'{decay} lies outside [0, 1)')
    parts, batch = train.get('accumulate', 1), opt['datasets']['train'].get('batch_size_per_gpu', 1)
    if not isinstance(parts, int) or parts < 1 or batch % parts:
        refuse('accumulate', f'{parts} does not divide batch_size_per_gpu: {batch} into equal parts')
    clip = train.get('grad_clip') or {}
    if not isinstance(clip, dict) or len(clip) > 1 or clip.keys() - {'norm', 'value', 'adjustable'}:
        refuse('grad_clip', f'{clip!r} is none of {{norm: c}}, {{value: c}}, {{adjustable: theta}}')
    if any(not isinstance(v, (int, float)) or v <= 0 for v in clip.values()):
        refuse('grad_clip', f'{dict(clip)} must hold a positive number')
    if clip and train.get('use_grad_clip'):
        refuse('grad_clip', 'use_grad_clip asks for the norm 0.01 beside it; leave one of them out')
    for key in ('keep_last', 'nonfinite_patience'):
        if key in train and (not isinstance(train[key], int) or train[key] < 1):
            refuse(key, f'{train[key]!r} is not a positive number')
    for key in ('optim_g', 'scheduler'):
        if not isinstance(train.get(key), dict) or 'type' not in train[key]:
            refuse(key, 'is missing or has no type')
    scheduler = train['scheduler']
    if scheduler['type'] not in SCHEDULERS:
        refuse('scheduler', f"type '{scheduler['type']}' is unknown{near(scheduler['type'], SCHEDULERS)}")
    length = length_of_schedule(scheduler)
    if length is not None and length < train['total_iter']:
        refuse('total_iter', f'{train["total_iter"]} lies beyond the {length} iterations of scheduler '
               f'{scheduler["type"]}')


def _check_keys(keys, words, path, place):
    for key in keys:
        if key not in words:
            raise UsageError(f'{path}: {place}{key}: no code reads this option{near(key, words)}')


def _check_arguments(known, block, path, place):
    """Arguments of a registered class that is built with ``**block``."""
    parameters = inspect.signature(known.get(block['type'])).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    for key in block:
        if key != 'type' and key not in parameters:
            raise UsageError(f'{path}: {place}: {block["type"]} has no argument {key}{near(key, parameters)}')
    missing = [k for k, p in parameters.items() if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD
               and k not in block]  # yapf: disable
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


def near(name, known):
    """Near names as the end of a message.

    Args:
        name (str): What was written.
        known (iterable[str]): What there is.

    Returns:
        str: '; near: a, b', or nothing.
    """
    folded = {str(v).lower(): str(v) for v in known}
    found = [folded[v] for v in difflib.get_close_matches(str(name).lower(), folded, n=3, cutoff=0.6)]
    return f'; near: {", ".join(found)}' if found else ''
