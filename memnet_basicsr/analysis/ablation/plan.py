"""Variants of an ablation: option files, and plans with many variants of one option file."""
import copy
import json
import yaml
from dataclasses import dataclass
from os import path as osp

from ...errors import UsageError, near
from ...plugin.option_file import check_blocks, load_yaml

LENGTHS = ('total_iter', 'recording_iter', 'warmup_iter')  # below train:, in iterations


@dataclass(frozen=True)
class Variant:
    """One row of the table.

    Args:
        group (str): Name of the plan, '' for an option file. Only variants of the same group are compared.
        label (str): Name within the group.
        opt (dict): Training options.
    """
    group: str
    label: str
    opt: dict

    def run_name(self, seed):
        """``name`` of the run with a seed."""
        return '_'.join(v for v in (self.group, self.label, f'seed{seed}') if v)


def read_variants(paths):
    """Read option files and plans.

    A plan is a YAML file with ``option_file:``, a path relative to the plan, and ``variants:``, the changes of each
    label. Blocks are merged, other values are replaced, and ``~`` removes a key. With ``like:`` and the label of an
    earlier variant, the changes apply to that variant.

    Args:
        paths (list[str]): Option files and plans.

    Returns:
        list[Variant]: In the order of the files.

    Raises:
        UsageError: If a file is missing or invalid, two variants have the same name, or variants of a group differ in
            data or length and cannot be compared.
    """
    variants = []
    for path in paths:
        content = load_yaml(path)
        stem = osp.splitext(osp.basename(path))[0]
        if 'variants' not in content:
            check_blocks(content, path)
            variants.append(Variant('', stem, content))
            continue
        if set(content) != {'option_file', 'variants'} or not isinstance(content['variants'], dict):
            raise UsageError(f'plan {path}: must hold only option_file: and variants: (a block for each label)')
        base = load_yaml(osp.join(osp.dirname(path), str(content['option_file'])))
        known = {}
        for label, changes in content['variants'].items():
            where = f'plan {path}: variants: {label}'
            changes = dict(changes or {})
            like = changes.pop('like', None)
            if like is not None and like not in known:
                raise UsageError(f'{where}: like: no earlier variant {like}{near(like, known)}')
            known[label] = merged(known.get(like, base), changes, where)
            check_blocks(known[label], f'{path}, variant {label}')
            variants.append(Variant(stem, str(label), known[label]))
    names = [v.run_name(0) for v in variants]
    for variant, name in zip(variants, names):
        if names.count(name) > 1:
            raise UsageError(f'{variant.label}: two variants have this name; rename one')
    for group in {v.group for v in variants}:
        _check_comparable([v for v in variants if v.group == group])
    return variants


def merged(opt, changes, where):
    """Copy options and apply changes: blocks are merged, other values are replaced, None removes a key.

    Args:
        opt (dict): Options.
        changes (dict): Changes.
        where (str): Location of the changes in error messages.

    Returns:
        dict: Changed copy.

    Raises:
        UsageError: If a key to remove does not exist.
    """
    opt = copy.deepcopy(opt)
    for key, value in changes.items():
        if value is None:
            if key not in opt:
                raise UsageError(f'{where}: {key}: does not exist and cannot be removed{near(key, opt)}')
            del opt[key]
        elif isinstance(value, dict) and isinstance(opt.get(key), dict):
            opt[key] = merged(opt[key], value, f'{where}: {key}')
        else:
            opt[key] = copy.deepcopy(value)
    return opt


def options_of_run(variant, seed, iterations=None):
    """Options of one run: name, seed and length are replaced, and data paths become absolute.

    All values in iterations (schedule, warm-up, recording) are scaled with the length. The run validates once, at the
    end, and has no data workers, so samples depend only on the seed, which pairs the variants.

    Args:
        variant (Variant): The variant.
        seed (int): ``manual_seed``; replaces ``{seed}`` in the paths of ``path:``.
        iterations (int | None): Length; None for that of the option file. Default: None.

    Returns:
        dict: Options.
    """
    opt = json.loads(json.dumps(variant.opt))  # plain dicts and lists, which can be dumped as YAML
    opt['name'], opt['manual_seed'] = variant.run_name(seed), seed
    train = opt['train']
    total = int(train['total_iter'])
    iterations = iterations or total
    for key in LENGTHS:
        if train.get(key, 0) > 0:
            train[key] = round(train[key] * iterations / total)
    for key in ('T_max', 'periods', 'milestones'):
        value = train['scheduler'].get(key)
        if isinstance(value, list):
            train['scheduler'][key] = [max(1, round(v * iterations / total)) for v in value]
        elif value:
            train['scheduler'][key] = max(1, round(value * iterations / total))
    opt['datasets']['train'].update(num_worker_per_gpu=0)
    for block in opt['datasets'].values():
        for key, value in block.items():
            if key.startswith('dataroot_') and value:
                block[key] = osp.abspath(osp.expanduser(value))
    for key, value in opt['path'].items():
        if isinstance(value, str):
            value = value.replace('{seed}', str(seed))
            # experiments/ refers to a run of this ablation, in the output folder.
            own = value.startswith('experiments/') or not osp.exists(value)
            opt['path'][key] = value if own else osp.abspath(value)
    opt.setdefault('val', {}).update(val_freq=iterations, save_img=False, pbar=False)
    opt['logger'] = dict(print_freq=max(1, iterations // 20), save_checkpoint_freq=max(1, iterations // 4),
                         use_tb_logger=False)  # yapf: disable
    train['keep_last'] = 1
    return opt


def option_text(opt):
    """Format options as an option file."""
    return yaml.safe_dump(opt, sort_keys=False, default_flow_style=None, width=110)


def _check_comparable(variants):
    first = variants[0]
    for variant in variants[1:]:
        for what, get in (('datasets', lambda v: v['datasets']), ('total_iter', lambda v: v['train']['total_iter'])):
            if get(variant.opt) != get(first.opt):
                raise UsageError(
                    f'{variant.label} and {first.label} differ in {what} and cannot be compared; use separate '
                    'calls')
