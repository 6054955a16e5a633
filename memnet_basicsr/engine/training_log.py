"""Curves from what a run has written: BasicSR's log files and metrics.jsonl."""
import glob
import json
import re
from os import path as osp

from ..errors import UsageError

_HEAD = re.compile(r'\[epoch:\s*\d+, iter:\s*([\d,]+), lr:\(([^)]*)\)\]')
_VALUE = re.compile(r'(\w+): (\S+)(?= |$)')


def read_curves(folder):
    """Read the values that were logged during training.

    A resumed run repeats iterations; from its first iteration on, the later log replaces the earlier one.

    Args:
        folder (str): Folder of a run, with its train_*.log files.

    Returns:
        dict[str, list[tuple[int, float]]]: Name (``lr``, ``l_pix``, ``grad_norm``, ...) -> (iteration, value).

    Raises:
        UsageError: There is no log with a line of training.
    """
    points = {}
    # names end with the time; those of one second (a restart at once) in the order of writing
    for path in sorted(glob.glob(osp.join(folder, 'train_*.log')), key=osp.getmtime):
        with open(path, encoding='utf-8') as f:
            found = [v for v in map(_parse_line, f) if v]
        if found:
            points = {i: v for i, v in points.items() if i < found[0][0]}
            points.update(found)
    if not points:
        raise UsageError(f'{folder} has no train_*.log with training lines; give the folder of a training run')
    curves = {}
    for iteration, values in sorted(points.items()):
        for name, value in values.items():
            curves.setdefault(name, []).append((iteration, value))
    return curves


def _parse_line(line):
    head = _HEAD.search(line)
    if not head:
        return None
    values = {'lr': float(head[2].split(',')[0])}
    for name, text in _VALUE.findall(line[line.rindex(']') + 1:]):
        try:
            values[name] = float(text)
        except ValueError:
            continue
    return int(head[1].replace(',', '')), values


def read_validations(folder):
    """Figures of every validation.

    Args:
        folder (str): Folder of a run; without metrics.jsonl in it there were none.

    Returns:
        dict[str, dict[str, list[tuple[int, float]]]]: Metric -> dataset -> (iteration, value); null is left out.
    """
    path = osp.join(folder, 'metrics.jsonl')
    metrics = {}
    if osp.isfile(path):
        with open(path, encoding='utf-8') as f:
            for line in f:
                values = json.loads(line)
                iteration, name = values.pop('iter'), values.pop('dataset')
                for metric, value in values.items():
                    if value is not None:
                        metrics.setdefault(metric, {}).setdefault(name, []).append((iteration, value))
    return metrics
