"""Curves of one run, or of several to compare: losses, validation metrics, learning rate, gradient norm, speed.

Example:

    python scripts/analysis/plot_training.py experiments/train_MemNet_Denoise_BSD --output curves.png

You see the file's name, and in the picture one panel per quantity: losses, learning rate and gradient norm on a
logarithmic axis, each metric with one line per data set. Reads the train_*.log files (a resumed run has several) and
metrics.jsonl of each folder; safe to run while the run goes on.
"""
import argparse
import math
import matplotlib
from os import path as osp

import memnet_basicsr  # noqa: F401  (BasicSR imports only behind it)
from memnet_basicsr.analysis.command import run_command
from memnet_basicsr.engine.training_log import read_curves, read_validations
from memnet_basicsr.errors import UsageError

matplotlib.use('Agg')
LOGARITHMIC = ('lr', 'grad_norm')


def panels_of(folder):
    """Quantity -> line -> (iteration, value) of one run."""
    panels = {}
    for name, points in read_curves(folder).items():
        panels.setdefault('losses' if name.startswith('l_') else name, {})[name] = points
    for metric, sets in read_validations(folder).items():
        panels[metric] = sets
    first = ['losses', *read_validations(folder), *LOGARITHMIC]
    return {k: panels[k] for k in sorted(panels, key=lambda k: first.index(k) if k in first else len(first))}


def draw(runs, path):
    """Draw the panels of runs into a picture.

    Args:
        runs (dict[str, dict]): Name of the run -> its panels, as of :func:`panels_of`.
        path (str): Picture to write.

    Returns:
        list[str]: Names of the panels.
    """
    from matplotlib import pyplot as plt
    names = list(dict.fromkeys(name for panels in runs.values() for name in panels))
    columns = min(3, len(names))
    rows = math.ceil(len(names) / columns)
    figure, axes = plt.subplots(rows, columns, figsize=(5 * columns, 3.4 * rows), squeeze=False, layout='constrained')
    for axis, name in zip(axes.flat, names):
        for run, panels in runs.items():
            for line, points in panels.get(name, {}).items():
                label = line if len(runs) == 1 else f'{run}: {line}'
                axis.plot(*zip(*points), label=label, linewidth=1, marker='.' if len(points) < 30 else None)
        values = [v for panels in runs.values() for points in panels.get(name, {}).values() for _, v in points]
        if name in (*LOGARITHMIC, 'losses') and all(v > 0 for v in values):
            axis.set_yscale('log')
        axis.set(title=name, xlabel='iteration')
        axis.grid(alpha=0.3)
        if any(list(panels.get(name, ())) not in ([], [name]) for panels in runs.values()) or len(runs) > 1:
            axis.legend(fontsize='small')
    for axis in list(axes.flat)[len(names):]:
        axis.remove()
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return names


def main(args=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('folders', nargs='+', metavar='FOLDER', help='folders of runs, experiments/<name>')
    parser.add_argument('--output', required=True, help='picture to write (.png, .pdf, .svg)')
    args = parser.parse_args(args)
    runs = {}
    for folder in args.folders:
        name = osp.basename(osp.normpath(folder))
        runs[name if name not in runs else folder] = panels_of(folder)
    try:
        names = draw(runs, args.output)
    except (OSError, ValueError) as error:
        raise UsageError(f'cannot write {args.output}: {error}') from None
    print(f'{args.output}: {len(runs)} run(s), {", ".join(names)}')


if __name__ == '__main__':
    run_command(main)
