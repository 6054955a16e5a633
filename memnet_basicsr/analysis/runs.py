"""Finished or running trainings, as their folders tell of them."""
import glob
import json
import re
from dataclasses import dataclass
from os import path as osp

from ..errors import UsageError
from ..plugin.option_file import load_yaml


@dataclass(frozen=True)
class Run:
    """A training.

    Args:
        name (str): ``name`` of its option file.
        network_g (dict): Type and arguments of its network.
        dataset (str): Validation set of the figure.
        iteration (int): Iteration of the figure.
        value (float): The figure.
    """
    name: str
    network_g: dict
    dataset: str
    iteration: int
    value: float


def read_run(source, experiments='experiments', dataset=None, metric='psnr'):
    """Read a run's network and a figure of its validation from its metrics.jsonl.

    Args:
        source (str): The run's folder, a checkpoint in it (``<run>/models/net_g_*.pth``; with an iteration in its name
            the figure of that iteration counts, else the last one), or its option file (``.yml``).
        experiments (str): Folder in which the run of an option file lies. Default: 'experiments'.
        dataset (str | None): Name of the validation set; None where there is only one. Default: None.
        metric (str): Name of the metric in the option file. Default: 'psnr'.

    Returns:
        Run: The run.

    Raises:
        UsageError: If a file is missing or damaged, or there is no such figure.
    """
    iteration = None
    if source.endswith(('.yml', '.yaml')):
        option_file, opt = source, load_yaml(source)
        folder = osp.join(experiments, str(opt.get('name')))
    else:
        folder = source
        if source.endswith('.pth'):
            if not osp.isfile(source):
                raise UsageError(f'checkpoint {source} does not exist')
            folder = osp.dirname(osp.dirname(osp.abspath(source)))
            number = re.search(r'_(\d+)\.pth$', source)
            iteration = int(number.group(1)) if number else None
        option_file = _option_file(folder)
        opt = load_yaml(option_file)
    if not isinstance(opt.get('network_g'), dict) or 'name' not in opt:
        raise UsageError(f'option file {option_file}: has no name or no network_g')
    path = osp.join(folder, 'metrics.jsonl')
    records = [v for v in _records(path) if v.get(metric) is not None and dataset in (None, v['dataset'])]
    records = [v for v in records if iteration in (None, v['iter'])]
    sets = sorted({v['dataset'] for v in records})
    if not records:
        wanted = f'{metric} of {dataset or "any data set"}' + (f' at iteration {iteration}' if iteration else '')
        raise UsageError(f'{path}: holds no {wanted}')
    if len(sets) > 1:
        raise UsageError(f'{path}: holds {metric} of several data sets, name one of {", ".join(sets)}')
    last = records[-1]
    return Run(opt['name'], opt['network_g'], last['dataset'], last['iter'], last[metric])


def _option_file(folder):
    """The copy of the option file that BasicSR puts into a run's folder."""
    files = sorted(glob.glob(osp.join(glob.escape(folder), '*.yml')))
    own = [v for v in files if osp.splitext(osp.basename(v))[0] == osp.basename(osp.abspath(folder))]
    if len(files) != 1 and not own:
        raise UsageError(f'folder {folder}: {len(files)} option files (*.yml) lie there, one is needed; '
                         'is this the folder of a run?')
    return (own or files)[0]


def _records(path):
    try:
        with open(path, encoding='utf-8') as f:
            lines = f.read().splitlines()
    except OSError as error:
        raise UsageError(f'{path}: cannot be read ({error.strerror}); no validation has been run?') from None
    records = []
    for number, line in enumerate(lines, 1):
        try:
            records.append(json.loads(line))
            records[-1]['dataset'], records[-1]['iter']
        except (ValueError, KeyError, TypeError):
            raise UsageError(f'{path}, line {number}: is not a record of a validation') from None
    return records
