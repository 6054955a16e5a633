"""Tables of the benchmark."""
import os
import platform
import statistics
import torch

from .jobs import CONVOLUTIONS, PEAK, PLAIN, operations
from .suite import find, verdicts

MB = 2**20
BUSY = 0.2  # load per core above which times are unreliable
COLUMNS = ('network and input', 'form', 'precision', 'time (s)', 'CPU (s)', 'to plain fp32', 'to plain',
           'to convolutions', 'GFLOP/s', 'share of peak', 'peak memory (MB)', 'memory to plain fp32')  # yapf: disable


def header(threads, devices, repetitions, quick):
    """Lines of Markdown that describe the machine and the method of measurement."""
    load, cores = os.getloadavg()[0] if hasattr(os, 'getloadavg') else float('nan'), os.cpu_count()
    lines = [
        f'- CPU: {_processor()}, {cores} cores, {threads} threads',
        f'- GPU: {torch.cuda.get_device_name() if "cuda" in devices else "none measured"}',
        f'- torch {torch.__version__}, Python {platform.python_version()}, {platform.system()}',
        f'- load average before the measurement: {load:.2f}',
        f'- time: median of {repetitions} repetitions, in turns, after an untimed one; ratios are of CPU time (all '
        'threads); GFLOP/s: operations of the plain network\'s convolutions per CPU second, beside the peak of a '
        'large matrix product; memory: peak above what the '
        'process holds after building the network (CPU: resident set without library code, GPU: tensors)',
        '- bf16: inference with converted networks, training with autocast; a training step includes AdamW, and for '
        'ours the allocator setting of RestorationModel; convolutions alone: all convolutions of the plain network, in '
        'channels_last',
        '- torch.compile: in channels_last; its memory excludes what the compiler and the first runs keep (gradients, '
        'state of AdamW)', '- MemoryNet with `memory: feature` is compared with the plain backbone, which has no memory'
    ]
    if load > BUSY * cores:
        lines.append(f'- **The machine is not idle (load average {load:.2f}): times and ratios are unreliable.**')
    if quick:
        lines.append('- **Quick check with narrow networks and small images: the figures are not meaningful.**')
    return lines


def _processor():
    try:
        with open('/proc/cpuinfo') as f:
            return next(line.split(':', 1)[1].strip() for line in f if line.startswith('model name'))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def rows_of(case, results):
    """Rows of ``COLUMNS``, one per result (Result) of a case (Case)."""
    plain = find(results, PLAIN, 'fp32')
    rows = []
    for result in results:
        job = result.job
        row = [case.title, job.form, job.precision]
        if result.skipped:
            rows.append(row + [f'skipped: {result.skipped}'.replace('|', '/')] + ['-'] * 8)
            continue
        row += [f'{result.wall:.3g}', f'{statistics.median(result.cpu):.3g}' if result.cpu else '-']
        for other in (plain, find(results, PLAIN, job.precision), find(results, CONVOLUTIONS, job.precision)):
            row.append(f'{result.median / other.median:.3f}' if other else '-')
        speed, peak = speed_of(result), find(results, PEAK, job.precision)
        row += [f'{speed / 1e9:.0f}', f'{speed / speed_of(peak):.2f}' if peak else '-']
        if job.form in (CONVOLUTIONS, PEAK):  # runs on preallocated memory
            rows.append(row + ['-', '-'])
        else:
            rows.append(row + [f'{result.peak / MB:.1f}', _ratio(result.peak, plain.peak) if plain else '-'])
    return rows


def speed_of(result):
    """Operations per second, of CPU time; see :func:`operations`."""
    return operations(result.job) / result.median


def _ratio(value, other):
    return f'{value / other:.3f}' if other > 0 else '-'


def verdict_rows(measured):
    """Rows of ``VERDICT_COLUMNS`` for pairs (Case, list[Result])."""
    return [[case.title, what, f'{ratio:.3f}', f'{limit:g}', 'yes' if ratio <= limit else 'no']
            for case, results in measured for what, ratio, limit in verdicts(case, results)]


def growth_rows(case, results):
    """Rows of ``GROWTH_COLUMNS``: seconds and memory, absolute and per million pixels."""
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
