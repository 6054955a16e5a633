"""Markdown and figure of the benchmark."""
import numpy as np
import os
import platform
import torch

from ..drawing import COLORS, new_figure
from .jobs import CONVOLUTIONS, PLAIN
from .suite import find, verdicts

MB = 2**20
BUSY = 0.2  # load per core from which times are doubtful
COLUMNS = ('network and input', 'form', 'precision', 'time (s)', 'to plain fp32', 'to plain', 'to convolutions',
           'peak memory (MB)', 'memory to plain fp32')  # yapf: disable


def header(threads, devices, repetitions, quick):
    """Lines that tell where and how the figures were measured.

    Args:
        threads (int): Threads.
        devices (list[str]): Devices.
        repetitions (int): Timed repetitions.
        quick (bool): Whether the networks are narrow.

    Returns:
        list[str]: Lines of Markdown.
    """
    load, cores = os.getloadavg()[0] if hasattr(os, 'getloadavg') else float('nan'), os.cpu_count()
    lines = [
        f'- CPU: {_processor()}, {cores} cores, {threads} threads',
        f'- GPU: {torch.cuda.get_device_name() if "cuda" in devices else "none measured"}',
        f'- torch {torch.__version__}, Python {platform.python_version()}, {platform.system()}',
        f'- load average before the measurement: {load:.2f}',
        f'- time: median of {repetitions} repetitions in turns after one that is not timed; memory: peak of all of '
        'them above what the process holds after import and building the network (on a CPU resident, without code of '
        'libraries; on a GPU of tensors)',
        '- bf16: inference with the network converted (all forms), training with autocast; a training step includes '
        'AdamW, and ours the allocator setting of RestorationModel; convolutions alone: all that the plain network '
        'executes, in channels_last',
        '- torch.compile: on the network in channels_last; compiling is building, so that its memory leaves out what '
        'the compiler and the first runs keep (gradients, state of AdamW)',
        '- MemoryNet with `memory: feature` is compared with the plain backbone, which has no memory'
    ]
    if load > BUSY * cores:
        lines.append(f'- **The machine is not idle (load average {load:.2f}): times and their ratios are doubtful.**')
    if quick:
        lines.append('- **Quick look with narrow networks and small pictures: the figures mean nothing.**')
    return lines


def _processor():
    try:
        with open('/proc/cpuinfo') as f:
            return next(line.split(':', 1)[1].strip() for line in f if line.startswith('model name'))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def table(columns, rows):
    """Lines of a Markdown table."""
    return ['| ' + ' | '.join(v) + ' |' for v in (columns, ['---'] * len(columns), *rows)]


def rows_of(case, results):
    """Rows of the large table.

    Args:
        case (Case): The case.
        results (list[Result]): Of it.

    Returns:
        list[list[str]]: As COLUMNS has them.
    """
    plain = find(results, PLAIN, 'fp32')
    rows = []
    for result in results:
        job = result.job
        row = [case.title, job.form, job.precision]
        if result.skipped:
            rows.append(row + [f'skipped: {result.skipped}'.replace('|', '/')] + ['-'] * 5)
            continue
        row.append(f'{result.median:.3g}')
        for other in (plain, find(results, PLAIN, job.precision), find(results, CONVOLUTIONS, job.precision)):
            row.append(f'{result.median / other.median:.3f}' if other else '-')
        if job.form == CONVOLUTIONS:  # runs on buffers that are there already
            rows.append(row + ['-', '-'])
        else:
            rows.append(row + [f'{result.peak / MB:.1f}', _ratio(result.peak, plain.peak)])
    return rows


def _ratio(value, other):
    return f'{value / other:.3f}' if other > 0 else '-'


def verdict_rows(measured):
    """Rows of the table of figures to reach.

    Args:
        measured (list[tuple]): (Case, list[Result]).

    Returns:
        list[list[str]]: Input, figure, ratio, highest ratio, and whether it is reached.
    """
    return [[case.title, what, f'{ratio:.3f}', f'{limit:g}', 'yes' if ratio <= limit else 'no']
            for case, results in measured for what, ratio, limit in verdicts(case, results)]


def growth_rows(case, results):
    """Rows of the table of growth: seconds and memory, and both per million pixels."""
    rows = []
    for result in results:
        job, (n, _, height, width) = result.job, result.job.shape
        pixels = n * height * width / 1e6
        form = job.form if job.tile is None else f'{job.form}, tiles of {job.tile}'
        rows.append([case.title, form, f'{result.median:.3g}', f'{result.median / pixels:.3g}',
                     f'{result.peak / MB:.1f}', f'{result.peak / MB / pixels:.0f}'])  # yapf: disable
    return rows


GROWTH_COLUMNS = ('network and input', 'form', 'time (s)', 's per million pixels', 'peak memory (MB)',
                  'MB per million pixels')  # yapf: disable
VERDICT_COLUMNS = ('network and input', 'ratio', 'measured', 'at most', 'reached')


def draw(measured, title):
    """Bars of the ratios to the plain network in fp32, a row of panels for each case that has figures to reach.

    Args:
        measured (list[tuple]): (Case, list[Result]).
        title (str): Of the figure.

    Returns:
        matplotlib.figure.Figure: Left time, right memory; dashed lines are the figures to reach.
    """
    figure = new_figure(10, 1 + 2.6 * len(measured))
    axes = figure.subplots(len(measured), 2, squeeze=False)
    for (case, results), (left, right) in zip(measured, axes):
        plain = find(results, PLAIN, 'fp32')
        forms = list(dict.fromkeys(v.job.form for v in results))
        for axis, key, name in ((left, 'median', 'time'), (right, 'peak', 'peak memory')):
            shown = [v for v in forms if key == 'median' or v != CONVOLUTIONS]
            for k, precision in enumerate(('fp32', 'bf16')):
                found = [find(results, v, precision) for v in shown]
                ratios = [getattr(v, key) / getattr(plain, key) if v else np.nan for v in found]
                places = np.arange(len(shown)) - .2 + .4 * k
                axis.barh(places, ratios, .38, color=COLORS[k], label=precision)
                for place, ratio in zip(places, ratios):
                    if np.isfinite(ratio):
                        axis.annotate(f'{ratio:.2f}', (ratio, place), (2, 0), textcoords='offset points', va='center',
                                      fontsize=7)  # yapf: disable
            targets = case.targets if results[0].job.device == 'cpu' and not results[0].job.narrow else {}
            wanted = {'median': [('fp32', 0), ('bf16', 1)], 'peak': [('memory', 0)]}[key]
            for target, k in wanted:
                if target in targets:
                    axis.axvline(targets[target], color=COLORS[k], linestyle='--', linewidth=1.2)
            axis.set_yticks(range(len(shown)), shown, fontsize=8)
            axis.invert_yaxis()
            axis.margins(x=.12)
            axis.set_xlabel(f'{name}, plain fp32 = 1', fontsize=8)
            axis.grid(axis='x', alpha=.3)
        left.set_title(case.title, fontsize=9, loc='left')
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc='outside lower center', ncols=2, fontsize=9)
    figure.suptitle(title, fontsize=10)
    return figure
