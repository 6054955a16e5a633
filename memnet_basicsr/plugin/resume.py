"""Compare the options of a resumed run with those that its training state keeps."""
import inspect
import math

from basicsr.utils import registry
from ..data.options import LoaderOptions
from ..engine.options import RunOptions
from ..errors import UsageError
from ..option_block import inner_blocks, shown
from .check import Blocks, dataset_options
from .strangers import lookup

# blocks that do not belong to the training itself
_NO_TRAINING = ('val', 'logger')


def check_resume(opt, state, path):
    """Compare the options of a run with those of the state that it resumes.

    Three classes of options, from the marker ``on_resume`` of the option classes: changes of ``free`` ones take effect
    (iterations, learning rate, validation, logging, workers); a change of a ``stop`` one (optimizer) stops; a change of
    any other one (batch, data, network, loss) makes another run and stops without ``resume: allow_changes: true``.

    Args:
        opt (dict): Options of the run.
        state (dict): The training state; its ``epoch`` is adapted where changes are allowed.
        path (str): Its file, for messages.

    Returns:
        list[str]: One line for each change, for the log.

    Raises:
        UsageError: The run cannot go on with these options: one line for each.
    """
    ours, total_iter = state.get('memnet_basicsr', {}), int(opt['train']['total_iter'])
    if state['iter'] > total_iter:
        raise UsageError(f'train: total_iter: {total_iter} is below iteration {state["iter"]} of {path}; raise it, '
                         'or resume from an earlier state')  # yapf: disable
    if 'options' not in ours:
        return [f'{path} keeps no options, so that changes of the option file are not noticed']
    drawn = opt.get('seed_drawn') and {'manual_seed': ours['manual_seed']}
    changes = _changes(ours['options'], {**opt, **(drawn or {})})
    for key, place, unit in (('batch_size', ('batch_size_per_gpu', ), 'samples per iteration of all processes'),
                             ('num_images', (), 'images')):  # yapf: disable
        if key in opt and ours.get(key, opt[key]) != opt[key]:
            changes.append((('datasets', 'train', *place), None, f'{ours[key]} {unit} then, {opt[key]} now'))
    allowed = (opt.get('resume') or {}).get('allow_changes', False)
    ends = {
        'stop': '; start a new run from its weights (another name, path: pretrain_network_g)',
        None: '' if allowed else '; change it back, or add `resume: {allow_changes: true}` to the option file'
    }
    stops = [f'{": ".join(place)}: {text} ({path}){ends[kind]}' for place, kind, text in changes
             if kind == 'stop' or (kind is None and not allowed)]  # yapf: disable
    if stops:
        raise UsageError('\n'.join(stops))
    if allowed and any(kind is None for _, kind, _ in changes):  # an epoch may have another length now
        state['epoch'] = state['iter'] // epoch_length(opt)
    return [f'Changed since {path}: {": ".join(place)}: {text}{"" if kind else " (no longer the same run)"}'
            for place, kind, text in changes]  # yapf: disable


def epoch_length(opt):
    """Iterations of an epoch as BasicSR's ``train.py`` counts them.

    Args:
        opt (dict): Options of the run, with ``num_images``.

    Returns:
        int: The number.
    """
    train = opt['datasets']['train']
    return math.ceil(opt['num_images'] * train.get('dataset_enlarge_ratio', 1) /
                     (train['batch_size_per_gpu'] * opt['world_size']))


def _changes(old, new):
    """Differences of two runs' options as (place, class, text)."""
    blocks = Blocks(lookup(registry.MODEL_REGISTRY, new['model_type']))
    outer = [k for k in RunOptions.model_fields if k not in ('name', 'resume')]
    found = list(_compare(*({k: v.get(k) for k in outer} for v in (old, new)), (RunOptions, )))
    for key in sorted(k for k in old.keys() | new.keys() if k in ('train', *_NO_TRAINING) or k.startswith('network_')):
        cls, kind = getattr(blocks, key, None), 'free' if key in _NO_TRAINING else None
        found += _compare(old.get(key) or {}, new.get(key) or {}, (cls, ) if cls else (), (key, ), kind)
    for key in sorted(old['datasets'].keys() | new['datasets'].keys()):
        a, b = (v['datasets'].get(key) or {} for v in (old, new))
        if a and b:
            cls = lookup(registry.DATASET_REGISTRY, b['type'])
            found += _compare(a, b, (LoaderOptions, dataset_options(cls)), ('datasets', key),
                              None if key == 'train' else 'free')  # yapf: disable
        else:
            found.append((('datasets', key), 'free', 'is new' if b else 'is not there any more'))
    return found


def _compare(old, new, classes, place=(), kind=None):
    """Differences of two blocks; ``classes`` are their option classes, ``kind`` the class of options without marker."""
    for key in sorted(old.keys() | new.keys()):
        cls = next((v for v in classes if key in v.model_fields), None)
        notes, field = (cls.extra(key), cls.model_fields[key]) if cls else ({}, None)
        if notes.get('injected'):
            continue
        own = notes.get('on_resume', kind)
        a, b = (block.get(key, _default(field, block, key)) for block in (old, new))
        if isinstance(a, dict) and isinstance(b, dict):
            yield from _compare(a, b, inner_blocks(field.annotation) if field else (), (*place, key), own)
        elif a != b:
            yield (*place, str(key)), own, f'{shown(a)} then, {shown(b)} now'


def _default(field, block, key):
    """Default of an option: that of its class, or of the argument of the network or loss that the block names."""
    if field:
        default = None if field.is_required() else field.get_default()
        return default.model_dump() if hasattr(default, 'model_dump') else default
    for known in (registry.ARCH_REGISTRY, registry.LOSS_REGISTRY):
        found = lookup(known, block.get('type'))
        parameter = inspect.signature(found).parameters.get(key) if found else None
        if parameter is not None and parameter.default is not parameter.empty:
            return parameter.default
    return None
