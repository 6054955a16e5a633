"""Figures of a memory: its prototypes, and how an image addresses them."""
import numpy as np
import torch

from ..drawing import COLORS, new_figure, set_title
from .prototypes import PlaceUse

LABELS = 40  # if there are more prototypes, only every fifth or tenth is labeled
SPAN = .01  # minimum range of the color scale of a map
NAMED = ('#0072b2', '#e69f00', '#009e73', '#cc79a7', '#56b4e9', '#d55e00', '#f0e442', '#882255', '#44aa99', '#aaaaff')


def draw_prototypes(level, use, title):
    """Draw similarity matrix, usage and patches of the prototypes of a level.

    Args:
        level (str): Name of the level.
        use (LevelUse): See :func:`prototype_use`.
        title (str): Name of the network and of the dataset.

    Returns:
        matplotlib.figure.Figure: The figure.
    """
    from matplotlib.lines import Line2D
    num = len(use.patches)
    columns = min(10, max(4, 40 // max(1, use.num_patches)), num)
    rows = -(-num // columns)
    cell = use.num_patches * (use.side + 2) + use.side // 4, use.side + use.side // 2  # width, height with a label
    figure = new_figure(16, 6.6 + 16 * rows * cell[1] / (columns * cell[0]))
    upper, lower = figure.subfigures(2, 1, height_ratios=(6, figure.get_figheight() - 6))
    upper_left, upper_right = upper.subfigures(1, 2, width_ratios=(2, 3))
    left, (above, below) = upper_left.subplots(), upper_right.subplots(2, 1, height_ratios=(3, 2))
    ticks = np.arange(0, num, 1 if num <= LABELS else (5 if num <= 3 * LABELS else -(-num // 12)))

    image = left.imshow(use.similarity.numpy(), cmap='RdBu_r', vmin=-1, vmax=1)
    upper_left.colorbar(image, ax=left, label='cosine', shrink=.8)
    left.set(xlabel='prototype', ylabel='prototype')
    left.set_xticks(ticks, ticks, fontsize=7, rotation=90)
    left.set_yticks(ticks, ticks, fontsize=7)
    left.set_title(f'similarity (mean of different prototypes {use.mean_similarity():.3f})', fontsize=11)

    total, dead = use.total(), use.dead().numpy()
    above.bar(np.arange(num), total.usage().numpy(), color=np.where(dead, COLORS[5], COLORS[0]))
    if dead.any():  # an empty line without clipping breaks the layout
        above.plot(np.flatnonzero(dead), 0 * np.flatnonzero(dead), 'x', color=COLORS[5], markersize=6, clip_on=False)
    below.bar(np.arange(num), total.strongest().numpy(), color='dimgray')
    for axis, label in ((above, 'mean weight'), (below, 'share of positions\nwhere strongest')):
        axis.axhline(1 / num, color=COLORS[2], linestyle='--', linewidth=1.2)
        axis.set(ylabel=label, xlim=(-.7, num - .3), ylim=(0, 1.25 * axis.get_ylim()[1]))
        axis.set_xticks(ticks, ticks, fontsize=7, rotation=90)
    below.set_xlabel('prototype')
    above.legend(
        handles=[
            Line2D([], [], color=COLORS[2], linestyle='--', label=f'uniform, 1/{num}'),
            Line2D([], [],
                   color=COLORS[5],
                   marker='x',
                   linestyle='',
                   label=f'dead: below a tenth of 1/{num} ({dead.sum()})')
        ],
        fontsize=9,
        loc='upper right')
    above.set_title(f'usage over {total.positions:,} positions', fontsize=11)

    _draw_patches(lower.subplots(), use, columns, cell, dead)
    set_title(figure, f'{title}\n{level} level: {describe_places(use)}')
    return figure


def describe_places(use):
    """Text with entropy and information of the addressing at each insertion of a :class:`LevelUse`."""
    return '; '.join(f'{name} entropy {place.entropy():.3f}, information {place.information():.4f}'
                     for name, place in use.places.items())  # yapf: disable


def _draw_patches(axis, use, columns, cell, dead):
    """Draw one cell of patches per prototype, labeled with its index and largest weight."""
    num, side = len(use.patches), use.side
    canvas = np.ones((-(-num // columns) * cell[1], columns * cell[0], 3), np.float32)
    for j, patches in enumerate(use.patches):
        top, left = (j // columns + 1) * cell[1] - side, j % columns * cell[0]
        for k, patch in enumerate(patches):
            pixels = as_image(patch.pixels)
            start = left + k * (side + 2)
            canvas[top:top + pixels.shape[0], start:start + pixels.shape[1]] = pixels
        text = f'{j}{" (dead)" if dead[j] else ""}: {patches[0].weight:.3f}'
        axis.text(left, top - 2, text, fontsize=8, va='bottom', color=COLORS[5] if dead[j] else 'black')
    axis.imshow(canvas, interpolation='nearest', vmin=0, vmax=1)
    axis.axis('off')
    axis.set_title(f'{side}x{side} patches around the positions with the largest weight of each prototype', fontsize=11)


def draw_addressing(image, restored, places, title, top=3):
    """Draw, for each insertion, maps of the strongest prototype, the entropy and the weights of the most used ones.

    Args:
        image (Tensor): (c, H, W), [0, 1].
        restored (Tensor): (c', H', W').
        places (list[AddressingMap]): See :func:`restore_and_record`.
        title (str): Name of the network and of the image.
        top (int): Number of prototypes whose weights are drawn, largest mean weight first. Default: 3.

    Returns:
        matplotlib.figure.Figure: The figure.
    """
    from matplotlib.colors import ListedColormap
    from matplotlib.lines import Line2D
    columns = 2 + top
    width, ratio = 14, image.shape[1] / image.shape[2]
    side = width / columns
    figure = new_figure(width, (len(places) + 1) * (side * .8 * ratio + .75) + .6)
    axes = figure.subplots(len(places) + 1, columns, squeeze=False)
    for axis in axes.ravel():
        axis.set(xticks=[], yticks=[])
    for axis, img, name in zip(axes[0], (image, restored), ('image', 'restored')):
        axis.imshow(as_image(img), vmin=0, vmax=1)
        axis.set_title(name, fontsize=10)
    for axis in axes[0, 2:]:
        axis.remove()
    for row, place in zip(axes[1:], places):
        num, use = len(place.weights), PlaceUse()
        use.add(place)
        strongest, entropy = place.strongest().cpu().numpy(), place.entropy().cpu().numpy()
        share = np.bincount(strongest.ravel(), minlength=num) / strongest.size
        named = np.argsort(-share, kind='stable')[:len(NAMED)]
        rank = np.full(num, len(NAMED))
        rank[named] = np.arange(len(named))
        colors = ListedColormap([*NAMED, 'lightgray'])
        row[0].imshow(rank[strongest], cmap=colors, vmin=-.5, vmax=len(NAMED) + .5, interpolation='nearest')
        row[0].set_ylabel(f'{place.place}\n{place.level}, information {use.information():.4f}', fontsize=9)
        row[0].set_title(f'strongest ({(share > 0).sum()} of {num} occur)', fontsize=9)
        handles = [
            Line2D([], [], color=NAMED[k], marker='s', linestyle='', label=f'{j}: {100 * share[j]:.0f} %')
            for k, j in enumerate(named) if share[j] >= .005
        ]
        others = 100 * (1 - share[named].sum())
        if others >= .5:
            handles.append(Line2D([], [], color='lightgray', marker='s', linestyle='', label=f'others: {others:.0f} %'))
        row[0].legend(handles=handles, fontsize=7, ncols=4, loc='upper center', bbox_to_anchor=(.5, -.01),
                      frameon=False, handletextpad=0, columnspacing=.6, borderpad=.1)  # yapf: disable
        _show(figure, row[1], entropy, 'magma')
        row[1].set_title(f'entropy / log {num} (mean {entropy.mean():.3f})', fontsize=9)
        means = place.weights.mean((1, 2))
        for axis, j in zip(row[2:], torch.argsort(means, descending=True).tolist()):
            _show(figure, axis, place.weights[j].cpu().numpy(), 'viridis')
            axis.set_title(f'weight of prototype {j} (mean {means[j]:.3f})', fontsize=9)
        for axis in row[2 + num:]:
            axis.remove()
    set_title(figure, f'{title}: addressing of the memory')
    return figure


def _show(figure, axis, values, cmap):
    """Draw a map with a color bar that spans at least ``SPAN``, so that a constant map looks flat."""
    middle, half = (values.max() + values.min()) / 2, max((values.max() - values.min()) / 2, SPAN / 2)
    image = axis.imshow(values, cmap=cmap, vmin=middle - half, vmax=middle + half, interpolation='nearest')
    bar = figure.colorbar(image, ax=axis, fraction=.046, pad=.02)
    bar.ax.tick_params(labelsize=7)
    bar.ax.yaxis.get_major_formatter().set_useOffset(False)


def as_image(tensor):
    """Convert a tensor (c, h, w), gray or RGB, to an ndarray (h, w, 3), clipped to [0, 1]."""
    image = tensor.detach().cpu().float().clamp(0, 1).numpy().transpose(1, 2, 0)
    return np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image
