"""Figures as PNG files. matplotlib is imported where it is used: training needs the numbers, not the pictures."""
import io
import numpy as np
import textwrap

from ..atomic_file import write_atomically
from ..errors import UsageError
from .memory.gate_norms import KINDS, kind_of_source, mean_norms
from .memory.spectrum import HIGH, frequencies, high_share

COLORS = ('#0072b2', '#e69f00', '#009e73', '#cc79a7', '#56b4e9', '#d55e00')  # told apart by the colour-blind too
LINEAR = 20  # costs that differ by more than this factor are shown on a logarithmic axis
DPI = 100  # a width of 10 inches is 1000 pixels


def check_output(path):
    """Refuse, before long work, a name that no figure can be written to.

    Args:
        path (str): File to write.

    Raises:
        UsageError: If it does not end with .png.
    """
    if not path.lower().endswith('.png'):
        raise UsageError(f'output {path}: figures are PNG files, let the name end with .png')


def new_figure(width, height):
    """A figure of its own, without pyplot's global state and without a screen.

    Args:
        width (float): Inches.
        height (float): Inches.

    Returns:
        matplotlib.figure.Figure: The figure.
    """
    from matplotlib.figure import Figure
    return Figure(figsize=(width, height), dpi=DPI, layout='constrained')


def write_figure(figure, path):
    """Write a figure, whole or not at all.

    Args:
        figure (matplotlib.figure.Figure): The figure.
        path (str): PNG file; its folder is made where it is missing.

    Raises:
        UsageError: If it cannot be written.
    """
    check_output(path)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    try:
        write_atomically(path, buffer.getvalue())
    except OSError as error:
        raise UsageError(f'output {path}: cannot be written ({error.strerror})') from None


def draw_gate_norms(blocks, title, scaled=False):
    """The paper's figure: norm of the gate weights over the input channels, a panel for each memory block.

    Args:
        blocks (list[dict]): See :func:`gate_norms`.
        title (str): Name of the network.
        scaled (bool): Whether the norms are scaled by gamma; for the label. Default: False.

    Returns:
        matplotlib.figure.Figure: The figure.
    """
    columns = 1 if len(blocks) <= 4 else 2
    rows = -(-len(blocks) // columns)
    figure = new_figure(10, 1.2 + 1.9 * rows)
    axes = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for axis in axes.ravel()[len(blocks):]:
        axis.remove()
    for m, (axis, norms) in enumerate(zip(axes.ravel(), blocks), 1):
        for k, (name, values) in enumerate(norms.items()):
            color = COLORS[KINDS.index(kind_of_source(name, norms))]
            x = k + (np.arange(len(values)) + .5) / len(values)
            axis.plot(x, values, color=color, linewidth=.7, alpha=.6)
            axis.hlines(values.mean(), k, k + 1, color=color, linewidth=2.5)
        means = ', '.join(f'{kind} {value:.3g}' for kind, value in mean_norms(norms).items())
        axis.set_title(f'block {m} (means: {means})', fontsize=9 if columns == 1 else 8)
        axis.set_xticks(np.arange(len(norms)) + .5, [f'${v[0]}_{{{v[1:]}}}$' for v in norms], fontsize=8)
        axis.set_xticks(np.arange(len(norms) + 1), minor=True)
        axis.grid(axis='x', which='minor', alpha=.4)
        axis.tick_params(axis='x', which='both', length=0)
        axis.set(xlim=(0, len(norms)), ylim=(0, None))
    figure.legend(
        handles=[_line(color, kind) for kind, color in zip(KINDS, COLORS)],
        loc='outside lower center',
        ncols=len(KINDS),
        fontsize=9)
    set_title(figure, f'Gate weights of {title}: thin, each input channel; thick, mean of the source')
    for axis in axes[-1]:
        axis.set_xlabel('input channels of the gate, by source', fontsize=9)
    figure.supylabel(r'norm $|\gamma|\,\|W\|_2$ (no unit)' if scaled else r'norm $\|W\|_2$ (no unit)', fontsize=10)
    return figure


def draw_supervised_outputs(weights, levels, title):
    """Ensemble weights, and PSNR of every supervised output and of the result.

    Args:
        weights (list[float]): w_1, ..., w_M.
        levels (dict): Level -> PSNR in dB of the degraded pictures, the outputs and the result, see
            :func:`psnr_of_outputs`.
        title (str): Name of the network and of the pictures.

    Returns:
        matplotlib.figure.Figure: The figure.
    """
    figure = new_figure(10, 4.6)
    left, right = figure.subplots(1, 2, width_ratios=(2, 3))
    blocks = np.arange(1, len(weights) + 1)
    left.bar(blocks, weights, color=COLORS[0])
    left.axhline(0, color='black', linewidth=.8)
    for m, w in zip(blocks, weights):
        left.annotate(f'{w:.3f}', (m, w), (0, 3 if w >= 0 else -3), textcoords='offset points', ha='center',
                      va='bottom' if w >= 0 else 'top', fontsize=8)  # yapf: disable
    left.margins(y=.12)
    left.set(xticks=blocks, xlabel='memory block m', ylabel='$w_m$ (no unit)')
    left.set_title(f'learned ensemble weights (sum {sum(weights):.3f})', fontsize=10)
    places = np.arange(1, len(weights) + 2)
    white = {'facecolor': 'white', 'edgecolor': 'none', 'alpha': .7, 'pad': .5}
    for color, (level, (lq, outputs, result)) in zip(COLORS * len(levels), levels.items()):
        right.plot(places[:-1], outputs, 'o-', color=color, label=f'{level}: input {lq:.2f}, result {result:.2f} dB')
        right.plot(places[-1], result, 'D', color=color)
        for x, y in zip(places, [*outputs, result]):
            right.annotate(f'{y:.2f}', (x, y), (0, 6), textcoords='offset points', ha='center', fontsize=8, bbox=white)
    right.margins(.1, .15)
    right.set(xticks=places, ylabel='PSNR (dB)', xlabel='output')
    right.set_xticklabels([f'$y_{{{m}}}$' for m in blocks] + ['result'])
    right.grid(axis='y', alpha=.4)
    right.set_title('PSNR of the supervised outputs and of the result', fontsize=10)
    figure.legend(loc='outside lower center', ncols=2, fontsize=9)
    set_title(figure, title)
    return figure


def draw_spectra(networks, clean, degraded, title):
    """Spectra of the features along the depth, a panel for each network, and how much of them is high frequencies.

    Args:
        networks (list[FeatureSpectra]): See :func:`feature_spectra`.
        clean (ndarray): Of the clean pictures, (BINS, ), see :func:`mean_spectrum`.
        degraded (ndarray): Of the degraded pictures, (BINS, ).
        title (str): What the pictures are.

    Returns:
        matplotlib.figure.Figure: The figure.
    """
    from matplotlib import colormaps
    figure = new_figure(10, 8.2)
    upper, lower = figure.subfigures(2, 1, height_ratios=(3, 2))
    axes = upper.subplots(1, len(networks), squeeze=False, sharey=True)[0]
    depth = max(len(v.density) for v in networks)
    colors = [colormaps['viridis'](m / depth) for m in range(depth)]
    for axis, spectra in zip(axes, networks):
        for color, label, density in (('black', 'clean', clean), ('red', 'degraded', degraded)):
            axis.plot(frequencies(), 10 * np.log10(density), color=color, linestyle=':', label=label)
        for m, density in enumerate(spectra.density):
            axis.plot(frequencies(), 10 * np.log10(density), color=colors[m], linewidth=1.6, label=f'$B_{{{m}}}$')
        axis.axvline(HIGH, color='gray', linewidth=.8, alpha=.6)
        axis.set(xlim=(0, .5), xlabel='spatial frequency (cycles per pixel)')
        axis.set_title(spectra.name, fontsize=10)
        axis.grid(alpha=.3)
        axis.legend(fontsize=8, ncols=2, loc='upper right')
    axes[0].set_ylabel('power spectral density (dB, white = 0)')
    axis = lower.subplots()
    for color, spectra in zip(COLORS, networks):
        blocks = np.arange(len(spectra.density))
        axis.plot(blocks, 100 * spectra.high_share(), 'o-', color=color, label=spectra.name)
        if spectra.common is not None:
            share = 100 * spectra.common_high_share()
            axis.plot(blocks, np.where(share > 0, share, np.nan), 's--', color=color)
    axis.axhline(100 * high_share(clean), color='black', linestyle=':', label='clean pictures')
    axis.set_yscale('log')
    axis.set(xticks=np.arange(depth), xlabel='memory', ylabel='share of the power (%)')
    axis.set_xticklabels([f'$B_{{{m}}}$' for m in range(depth)])
    draws = networks[0].common is not None
    of_it = '; dashed: the part that two draws of the noise have in common' if draws else ''
    axis.set_title(f'power above {HIGH} cycles per pixel, in % of all power{of_it}', fontsize=10)
    axis.grid(alpha=.3)
    axis.legend(fontsize=8)
    set_title(figure, title)
    return figure


def draw_costs(costs, title):
    """PSNR over parameters and over seconds for each picture.

    Args:
        costs (list[tuple]): Of each configuration its name, PSNR in dB, parameters, and sorted seconds (list[float]).
        title (str): What the pictures and the machine are.

    Returns:
        matplotlib.figure.Figure: The figure.
    """
    figure = new_figure(10, 5)
    left, right = figure.subplots(1, 2, sharey=True)
    for k, (name, value, parameters, seconds) in enumerate(costs):
        style = {'color': COLORS[k % len(COLORS)], 'marker': 'osD^vP'[k // len(COLORS) % 6], 'markersize': 8}
        label = f'{name}: {value:.2f} dB, {parameters:,} parameters, {np.median(seconds):.3g} s'
        left.plot(parameters / 1000, value, linestyle='', label=label, **style)
        right.plot(np.median(seconds), value, linestyle='', **style)
        right.hlines(value, seconds[0], seconds[-1], color=style['color'], linewidth=1)
    left.set(xlabel='parameters (thousands)', ylabel='PSNR (dB)')
    right.set(xlabel='seconds per picture (median; line: fastest to slowest)')
    for axis, values in ((left, [v[2] / 1000 for v in costs]), (right, [v[3][-1] for v in costs])):
        axis.margins(.15, .15)
        if max(values) > LINEAR * min(values):
            axis.set_xscale('log')
        else:
            axis.set_xlim(0, 1.15 * max(values))
        axis.grid(alpha=.3)
    figure.legend(loc='outside lower center', fontsize=8)
    set_title(figure, title)
    return figure


def set_title(figure, text):
    """Title over a whole figure, broken into lines of its width."""
    figure.suptitle('\n'.join(textwrap.fill(v, int(11 * figure.get_figwidth())) for v in text.split('\n')), fontsize=11)


def _line(color, label, **style):
    from matplotlib.lines import Line2D
    return Line2D([], [], color=color, label=label, **{'linewidth': 2.5, **style})
