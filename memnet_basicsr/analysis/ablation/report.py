"""What an ablation has found: statistics, a Markdown table and a picture."""
import copy
import numpy as np
import torch
from dataclasses import dataclass, field
from scipy import stats
from torch.utils.flop_counter import FlopCounterMode

from basicsr.archs import build_network
from ...engine.training_log import read_curves
from ...errors import UsageError
from ..cost import num_parameters
from ..drawing import COLORS, new_figure

SIDE = 256  # of the picture that MACs are counted for
VITALS_TEXT = (
    'The memory in the last step: entropy of the addressing (0 one prototype, 1 uniform), information (0 the '
    'same is read everywhere), share of dead prototypes, mean cosine between prototypes:')
VITALS = ('entropy_', 'information_', 'dead_', 'similarity_')  # what MemoryNetModel logs of a memory


@dataclass
class Row:
    """A variant's results.

    Args:
        label (str): Its name.
        runs (dict): Seed -> finished Run.
        parameters (int): Of its network.
        macs (float): Multiplications with addition, of one picture of SIDE x SIDE.
        values (dict): (metric, data set) -> seed -> value.
        vitals (dict): Name in the log -> mean over the seeds of its last value.
    """
    label: str
    runs: dict
    parameters: int
    macs: float
    values: dict = field(default_factory=dict)
    vitals: dict = field(default_factory=dict)

    @property
    def seconds(self):
        """Mean seconds of CPU time of a training."""
        return np.mean([run.state()['cpu_seconds'] for run in self.runs.values()])


def read_row(variant, runs):
    """Results of a variant.

    Args:
        variant (Variant): The variant.
        runs (dict[int, Run]): Seed -> run, finished or not.

    Returns:
        Row: Of the finished ones.
    """
    finished = {seed: run for seed, run in runs.items() if run.finished()}
    if not finished:  # perhaps its network cannot even be built
        return Row(variant.label, {}, 0, 0.)
    net = build_network(variant.opt['network_g'])
    row = Row(variant.label, finished, num_parameters(net), count_macs(net))
    logged = {}
    for seed, run in finished.items():
        for key, value in run.metrics().items():
            row.values.setdefault(key, {})[seed] = value
        for name, points in read_curves(run.folder).items():
            if name.startswith(VITALS):
                logged.setdefault(name, []).append(points[-1][1])
    row.vitals = {name: float(np.mean(values)) for name, values in logged.items()}
    return row


@torch.no_grad()
def count_macs(net):
    """Multiplications with addition of convolutions and matrix products, for one picture of SIDE x SIDE.

    Args:
        net (nn.Module): Network; left unchanged.

    Returns:
        float: Half of what torch's FlopCounterMode counts.
    """
    channels = next(p for p in net.parameters() if p.dim() == 4).shape[1]
    net = copy.deepcopy(net).eval().requires_grad_(False).to('meta')  # shapes alone: nothing is computed
    with FlopCounterMode(display=False) as counter:
        net(torch.zeros(1, channels, SIDE, SIDE, device='meta'))
    return counter.get_total_flops() / 2


def interval(differences):
    """Mean and half width of the 95 % t-interval of differences paired by seed.

    mean +- t(0.975, n - 1) * s / sqrt(n), s the sample's standard deviation.

    Args:
        differences (list[float]): One for each seed.

    Returns:
        tuple[float, float]: The half width is infinite for one seed alone.
    """
    n = len(differences)
    if n < 2:
        return float(np.mean(differences)), float('inf')
    return float(np.mean(differences)), float(stats.t.ppf(.975, n - 1) * np.std(differences, ddof=1) / n**.5)


def paired(row, baseline, key):
    """Differences of a row to the baseline for the seeds that both have."""
    ours, theirs = row.values.get(key, {}), baseline.values.get(key, {})
    return [ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())]


def find_baseline(rows, name):
    """The row of a name, or whose name ends with it.

    Raises:
        UsageError: There is none, or there are several.
    """
    found = [r for r in rows if r.label == name] or [r for r in rows if r.label.endswith(f'_{name}')]
    if len(found) != 1:
        raise UsageError(f"baseline '{name}': {len(found)} variants are called so, of "
                         f'{", ".join(r.label for r in rows)}')
    return found[0]


def table(title, rows, baseline):
    """Markdown of a group.

    Args:
        title (str): Heading.
        rows (list[Row]): Variants.
        baseline (Row): The one that all are compared to.

    Returns:
        str: Tables: the figures, the differences, and how the memories were addressed at the end.
    """
    done = [r for r in rows if r.runs]
    keys = sorted({key for r in done for key in r.values})
    lines = [f'## {title}', '']
    lines += _markdown(
        ['variant', 'seeds', 'parameters', f'MACs at {SIDE}x{SIDE}', 'CPU seconds', *(_key(k, keys) for k in keys)], [[
            r.label,
            len(r.runs), f'{r.parameters:,}', f'{r.macs / 1e9:.3f} G', f'{r.seconds:.0f}',
            *(_spread(list(r.values.get(k, {}).values()), k) for k in keys)
        ] for r in done])
    lines += ['', f'Difference to `{baseline.label}` ({baseline.parameters:,} parameters), paired by seed, with its '
              '95 % t-interval (by chance alone one of twenty such intervals leaves out zero):', '']  # yapf: disable
    body = []
    for r in done:
        for key in keys:
            differences = paired(r, baseline, key) if r is not baseline else []
            if differences:
                body.append([r.label, _key(key, keys), len(differences), *_verdict(differences, key)])
    lines += _markdown(['variant', 'metric', 'pairs', 'difference', '95 % interval', ''], body)
    vitals = sorted({name for r in done for name in r.vitals})
    if vitals:
        lines += ['', VITALS_TEXT, '']
        lines += _markdown(['variant', *vitals], [[
            r.label, *(f'{r.vitals[v]:.3f}' if v in r.vitals else '' for v in vitals)] for r in done if r.vitals
        ])  # yapf: disable
    missing = [r.label for r in rows if not r.runs]
    if missing:
        lines += ['', f'No run is finished of: {", ".join(missing)}.']
    return '\n'.join(lines) + '\n'


def draw(title, rows, baseline):
    """Figures of each seed, their mean, and the difference to the baseline with its interval.

    Args:
        title (str): Heading.
        rows (list[Row]): Variants, from top to bottom.
        baseline (Row): The one that all are compared to.

    Returns:
        matplotlib.figure.Figure: One line of panels for each metric and data set.
    """
    rows = [r for r in rows if r.runs]
    keys = sorted({key for r in rows for key in r.values})
    figure = new_figure(11, 0.8 + len(keys) * (1.1 + 0.32 * len(rows)))
    axes = figure.subplots(len(keys), 2, squeeze=False, sharey=True)
    places = np.arange(len(rows))[::-1]
    for key, (left, right) in zip(keys, axes):
        for row, place in zip(rows, places):
            values = list(row.values.get(key, {}).values())
            color = COLORS[1] if row is baseline else COLORS[0]
            left.plot(values, [place] * len(values), 'o', color=color, alpha=.5, markersize=5)
            left.plot(np.mean(values), place, '|', color=color, markersize=16, markeredgewidth=2.5)
            differences = paired(row, baseline, key) if row is not baseline else []
            if differences:
                mean, half = interval(differences)
                clear = np.isfinite(half) and abs(mean) > half
                color = COLORS[2 if mean > 0 else 5] if clear else 'gray'
                right.plot(differences, [place] * len(differences), 'o', color=color, alpha=.4, markersize=5)
                right.plot(mean, place, '|', color=color, markersize=16, markeredgewidth=2.5)
                if np.isfinite(half):
                    right.hlines(place, mean - half, mean + half, color=color, linewidth=2.5)
        left.axvline(np.mean(list(baseline.values[key].values())), color=COLORS[1], linewidth=1, linestyle=':')
        right.axvline(0, color=COLORS[1], linewidth=1.5)
        left.set_yticks(places, [f'{r.label} ({r.parameters / 1000:.0f}k)' for r in rows], fontsize=9)
        left.set_title(f'{_key(key, keys)}: each seed, and their mean', fontsize=10)
        right.set_title(f'difference to {baseline.label}, 95 % interval', fontsize=10)
        for axis in (left, right):
            axis.grid(axis='x', alpha=.3)
            axis.set_ylim(-.7, len(rows) - .3)
    figure.suptitle(f'{title} (gray: the interval includes zero)', fontsize=11)
    return figure


def _verdict(differences, key):
    mean, half = interval(differences)
    digits = _digits(key)
    if not np.isfinite(half):
        return [f'{mean:+.{digits}f}', '', 'one seed alone says nothing']
    text = '**includes zero**' if abs(mean) <= half else 'above zero' if mean > 0 else 'below zero'
    return [f'{mean:+.{digits}f}', f'{mean - half:+.{digits}f} to {mean + half:+.{digits}f}', text]


def _spread(values, key):
    if not values:
        return ''
    deviation = f' ± {np.std(values, ddof=1):.{_digits(key)}f}' if len(values) > 1 else ''
    return f'{np.mean(values):.{_digits(key)}f}{deviation}'


def _digits(key):
    return 4 if 'ssim' in key[0] else 3


def _key(key, keys):
    return key[0] if len({name for _, name in keys}) == 1 else f'{key[0]} of {key[1]}'


def _markdown(head, body):
    rows = [head, ['---'] * len(head), *body]
    return ['| ' + ' | '.join(map(str, row)) + ' |' for row in rows]
