"""Figures of MemNet's memories: gate norms, supervised outputs and spectra of the features."""
import numpy as np

from ..drawing import COLORS, new_figure, set_title
from .gate_norms import KINDS, kind_of_source, mean_norms
from .spectrum import HIGH, frequencies, high_share


def draw_gate_norms(blocks, title, scaled=False):
    """Draw the paper's figure: norms of the gate weights over the input channels, one panel per memory block.

    Args:
        blocks (list[dict]): See :func:`gate_norms`.
        title (str): Name of the network.
        scaled (bool): Whether the norms are scaled by gamma (only for the label). Default: False.

    Returns:
        matplotlib.figure.Figure: The figure.
    """
    from matplotlib.lines import Line2D
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
    handles = [Line2D([], [], color=color, label=kind, linewidth=2.5) for kind, color in zip(KINDS, COLORS)]
    figure.legend(handles=handles, loc='outside lower center', ncols=len(KINDS), fontsize=9)
    set_title(figure, f'Gate weights of {title}: thin: input channel, thick: mean of the source')
    for axis in axes[-1]:
        axis.set_xlabel('input channels of the gate, by source', fontsize=9)
    figure.supylabel(r'norm $|\gamma|\,\|W\|_2$ (no unit)' if scaled else r'norm $\|W\|_2$ (no unit)', fontsize=10)
    return figure


def draw_spectra(networks, clean, degraded, title):
    """Draw the spectra of the features along the depth, one panel per network, and their share of high frequencies.

    Args:
        networks (list[FeatureSpectra]): See :func:`feature_spectra`.
        clean (ndarray): Spectrum of the clean images, (BINS, ), see :func:`mean_spectrum`.
        degraded (ndarray): Spectrum of the degraded images, (BINS, ).
        title (str): Degradation and dataset.

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
    axis.axhline(100 * high_share(clean), color='black', linestyle=':', label='clean images')
    axis.set_yscale('log')
    axis.set(xticks=np.arange(depth), xlabel='memory', ylabel='share of the power (%)')
    axis.set_xticklabels([f'$B_{{{m}}}$' for m in range(depth)])
    draws = networks[0].common is not None
    of_it = '; dashed: the part that two noise draws share' if draws else ''
    axis.set_title(f'power above {HIGH} cycles per pixel, in % of all power{of_it}', fontsize=10)
    axis.grid(alpha=.3)
    axis.legend(fontsize=8)
    set_title(figure, title)
    return figure
