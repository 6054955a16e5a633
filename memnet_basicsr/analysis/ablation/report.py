"""Results of an ablation: statistics, Markdown tables and a figure."""
import numpy as np
from dataclasses import dataclass, field
from scipy import stats

from ...engine.training_log import read_curves
from ...errors import UsageError
from ...inference.weights import build_untrained
from ..command import markdown_table
from ..complexity import complexity
from ..drawing import COLORS, new_figure
from ..networks import channels_of

SIDE = 256  # MACs are counted for an image of SIDE x SIDE pixels
VITALS_TEXT = (
    'Memory at the end of training: entropy of the addressing (0: one prototype, 1: uniform), information (0: all '
    'positions read the same), share of dead prototypes, mean cosine of prototypes:')
VITALS = ('entropy_', 'information_', 'dead_', 'similarity_')  # log keys of MemoryNetModel


@dataclass
class Row:
    """Results of a variant.

    Args:
        label (str): Name.
        runs (dict): Seed -> finished Run.
        parameters (int): Parameters of the network.
        macs (int): Multiply-accumulates for one image of SIDE x SIDE pixels.
        values (dict): (metric, dataset) -> seed -> value.
        vitals (dict): Log key of the memory -> mean over the seeds of its last value.
    """
    label: str
    runs: dict
    parameters: int
    macs: int
    values: dict = field(default_factory=dict)
    vitals: dict = field(default_factory=dict)

    @property
    def seconds(self):
        """Mean CPU seconds of a run."""
        return np.mean([run.state()['cpu_seconds'] for run in self.runs.values()])


def read_row(variant, runs):
    """Read the results (Row) of the finished runs (dict[int, Run], by seed) of a variant (Variant)."""
    finished = {seed: run for seed, run in runs.items() if run.finished()}
    if not finished:  # the network may be invalid
        return Row(variant.label, {}, 0, 0)
    network_opt = variant.opt['network_g']
    net = build_untrained(network_opt, variant.label)
    cost = complexity(net, (channels_of(net, network_opt), SIDE, SIDE))
    row = Row(variant.label, finished, cost.parameters, cost.macs)
    logged = {}
    for seed, run in finished.items():
        for key, value in _with_means(run.metrics()).items():
            row.values.setdefault(key, {})[seed] = value
        for name, points in read_curves(run.folder).items():
            if name.startswith(VITALS):
                logged.setdefault(name, []).append(points[-1][1])
    row.vitals = {name: float(np.mean(values)) for name, values in logged.items()}
    return row


def interval(differences):
    """95 % t-interval of the mean of differences paired by seed.

    Args:
        differences (list[float]): At least two.

    Returns:
        tuple[float, float]: Lower and upper end.
    """
    half = stats.sem(differences) * stats.t.ppf(.975, len(differences) - 1)
    return np.mean(differences) - half, np.mean(differences) + half


def paired(row, baseline, key):
    """Differences of a row to the baseline for the seeds that both have."""
    ours, theirs = row.values.get(key, {}), baseline.values.get(key, {})
    return [ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())]


def holm(p_values):
    """Adjust p-values for the number of comparisons (Holm, Scandinavian Journal of Statistics 6, 1979).

    Args:
        p_values (dict): Comparison -> p-value.

    Returns:
        dict: Comparison -> adjusted p-value; those below 0.05 hold together at that level.
    """
    adjusted, least = {}, 0
    for rank, key in enumerate(sorted(p_values, key=p_values.get)):
        least = adjusted[key] = max(least, min(1, (len(p_values) - rank) * p_values[key]))
    return adjusted


def find_baseline(rows, name):
    """Find a row by its label or by the end of its label.

    Raises:
        UsageError: If there is not exactly one.
    """
    found = [r for r in rows if r.label == name] or [r for r in rows if r.label.endswith(f'_{name}')]
    if len(found) != 1:
        raise UsageError(f"--baseline {name}: matches {len(found)} variants; use one of "
                         f"{', '.join(r.label for r in rows)}")
    return found[0]


def table(title, rows, baseline):
    """Format a group of rows (list[Row]) as Markdown: results, differences to the baseline, and use of the memories."""
    done = [r for r in rows if r.runs]
    keys = sorted({key for r in done for key in r.values})
    head = ['variant', 'seeds', 'parameters', f'MACs at {SIDE}x{SIDE}', 'CPU seconds', *(_key(k, keys) for k in keys)]
    results = [[
        r.label,
        len(r.runs), f'{r.parameters:,}', f'{r.macs / 1e9:.3f} G', f'{r.seconds:.0f}',
        *(_spread(list(r.values.get(k, {}).values()), k) for k in keys)
    ] for r in done]
    found = {(r.label, key): paired(r, baseline, key) for r in done if r is not baseline for key in keys}
    adjusted = {}
    for key in keys:
        adjusted |= holm({place: _p_value(v) for place, v in found.items() if place[1] == key and len(v) > 1})
    verdicts = [[label, _key(key, keys), len(v), *_verdict(v, key, adjusted.get((label, key)))]
                for (label, key), v in found.items() if v]  # yapf: disable
    parts = [
        f'## {title}',
        markdown_table(head, results),
        f'Difference to `{baseline.label}` ({baseline.parameters:,} parameters), paired by seed, with 95 % t-interval '
        "and p-value of the t-test, adjusted by Holm's method for the number of variants:",
        markdown_table(['variant', 'metric', 'pairs', 'difference', '95 % interval', 'adjusted p', ''], verdicts)
    ]
    vitals = sorted({name for r in done for name in r.vitals})
    if vitals:
        body = [[r.label, *(f'{r.vitals[v]:.3f}' if v in r.vitals else '' for v in vitals)] for r in done if r.vitals]
        parts += [VITALS_TEXT, markdown_table(['variant', *vitals], body)]
    missing = [r.label for r in rows if not r.runs]
    if missing:
        parts.append(f'No finished run: {", ".join(missing)}.')
    return '\n\n'.join(parts) + '\n'


def draw(title, rows, baseline):
    """Draw the results of all seeds, their mean, and the difference to the baseline with its interval.

    Returns:
        matplotlib.figure.Figure: One row of panels per metric and dataset.
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
                mean = np.mean(differences)
                low, high = interval(differences) if len(differences) > 1 else (-np.inf, np.inf)
                color = COLORS[2] if low > 0 else COLORS[5] if high < 0 else 'gray'
                right.plot(differences, [place] * len(differences), 'o', color=color, alpha=.4, markersize=5)
                right.plot(mean, place, '|', color=color, markersize=16, markeredgewidth=2.5)
                if len(differences) > 1:
                    right.hlines(place, low, high, color=color, linewidth=2.5)
        left.axvline(np.mean(list(baseline.values[key].values())), color=COLORS[1], linewidth=1, linestyle=':')
        right.axvline(0, color=COLORS[1], linewidth=1.5)
        left.set_yticks(places, [f'{r.label} ({r.parameters / 1000:.0f}k)' for r in rows], fontsize=9)
        left.set_title(f'{_key(key, keys)}: seeds and mean', fontsize=10)
        right.set_title(f'difference to {baseline.label}, 95 % interval', fontsize=10)
        for axis in (left, right):
            axis.grid(axis='x', alpha=.3)
            axis.set_ylim(-.7, len(rows) - .3)
    figure.suptitle(f'{title} (gray: interval includes zero)', fontsize=11)
    return figure


def _with_means(metrics):
    """Add the mean over the datasets of each metric that has several."""
    means = {}
    for name in {metric for metric, _ in metrics}:
        values = [value for (metric, _), value in metrics.items() if metric == name]
        if len(values) > 1:
            means[name, 'mean'] = float(np.mean(values))
    return {**metrics, **means}


def _p_value(differences):
    if np.ptp(differences) == 0:  # no spread, so that t is infinite or undefined
        return 0. if differences[0] else 1.
    return float(stats.ttest_1samp(differences, 0).pvalue)


def _verdict(differences, key, p_value):
    mean, digits = np.mean(differences), _digits(key)
    if len(differences) == 1:
        return [f'{mean:+.{digits}f}', '', '', 'no interval for one seed']
    low, high = interval(differences)
    if low <= 0 <= high:
        text = '**includes zero**'
    else:
        text = ('above zero' if low > 0 else 'below zero') + ('' if p_value < .05 else ', **but not after adjustment**')
    return [f'{mean:+.{digits}f}', f'{low:+.{digits}f} to {high:+.{digits}f}', f'{p_value:.3f}', text]


def _spread(values, key):
    if not values:
        return ''
    deviation = f' ± {np.std(values, ddof=1):.{_digits(key)}f}' if len(values) > 1 else ''
    return f'{np.mean(values):.{_digits(key)}f}{deviation}'


def _digits(key):
    return 4 if 'ssim' in key[0] else 3


def _key(key, keys):
    return key[0] if len({name for _, name in keys}) == 1 else f'{key[0]} of {key[1]}'
