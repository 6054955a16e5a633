"""Draw the networks of the README into docs/: every box is a module, named as the code names it.

python scripts/draw_networks.py
"""
import argparse
from os import path as osp

from memnet_basicsr.analysis.command import run_command
from memnet_basicsr.analysis.drawing import COLORS, new_figure, write_figure
from memnet_basicsr.archs.memnet_arch import MemNet
from memnet_basicsr.archs.memorynet_arch import MemoryNet

# module -> column, row, note. Names that are no module ('x', 'result', ...) are images.
MEMNET = {
    'x': (0, 0, 'degraded image'),
    'fenet': (1, 0, 'features $B_0$'),
    'memory_blocks.0': (2, 0, '$B_1$: R recursions\nof conv_a, conv_b; gate'),
    'memory_blocks.1': (3, 0, '$B_2$'),
    'memory_blocks.2': (4, 0, '$B_3$'),
    'recon_norms.0': (2, 1, ''),
    'recon_norms.1': (3, 1, ''),
    'recon_norms.2': (4, 1, ''),
    'recon_conv': (3, 2, 'shared; adds x'),
    'ensemble_weight': (4, 2, '$\\sum_m w_m y_m$'),
    'result': (5, 2, 'restored image'),
}
MEMNET_ARROWS = [('x', 'fenet'), ('fenet', 'memory_blocks.0'), ('memory_blocks.0', 'memory_blocks.1'),
                 ('memory_blocks.1', 'memory_blocks.2'), ('memory_blocks.0', 'recon_norms.0'),
                 ('memory_blocks.1', 'recon_norms.1'), ('memory_blocks.2', 'recon_norms.2'),
                 ('recon_norms.0', 'recon_conv'), ('recon_norms.1', 'recon_conv'), ('recon_norms.2', 'recon_conv'),
                 ('recon_conv', 'ensemble_weight'), ('ensemble_weight', 'result')]
MEMNET_LONG_TERM = [('fenet', 'memory_blocks.1'), ('fenet', 'memory_blocks.2'), ('memory_blocks.0', 'memory_blocks.2')]

MEMORYNET = {
    'x (quarters)': (0, 0, ''),
    'shallow_feat1': (1, 0, ''),
    'stage1_encoder': (2, 0, 'quarters'),
    'stage1_decoder': (3, 0, 'halves'),
    'sam12': (4, 0, 'features for stage 2'),
    'stage 1': (5, 0, 'image, supervised'),
    'x (halves)': (0, 1, ''),
    'shallow_feat2': (1, 1, ''),
    'concat12': (2, 1, ''),
    'stage2_encoder': (3, 1, 'halves'),
    'stage2_decoder': (4, 1, 'whole image'),
    'sam23': (5, 1, 'features for stage 3'),
    'stage 2': (6, 1, 'image, supervised'),
    'x': (0, 2, ''),
    'shallow_feat3': (1, 2, ''),
    'concat23': (3, 2, ''),
    'stage3_orsnet': (4, 2, 'full resolution'),
    'tail': (5, 2, 'adds x'),
    'stage 3': (6, 2, 'restored image'),
    'memory': (6.2, 0, 'prototypes: part,\ninstance, semantic'),
}
MEMORYNET_ARROWS = [('x (quarters)', 'shallow_feat1'), ('shallow_feat1', 'stage1_encoder'),
                    ('stage1_encoder', 'stage1_decoder'), ('stage1_decoder', 'sam12'), ('sam12', 'stage 1'),
                    ('x (halves)', 'shallow_feat2'), ('shallow_feat2', 'concat12'), ('sam12', 'concat12'),
                    ('concat12', 'stage2_encoder'), ('stage2_encoder', 'stage2_decoder'), ('stage2_decoder', 'sam23'),
                    ('sam23', 'stage 2'), ('x', 'shallow_feat3'), ('shallow_feat3', 'concat23'), ('sam23', 'concat23'),
                    ('concat23', 'stage3_orsnet'), ('stage3_orsnet', 'tail'), ('tail', 'stage 3')]
MEMORYNET_READS = ('stage1_encoder', 'stage1_decoder', 'stage2_encoder', 'stage2_decoder', 'shallow_feat3', 'tail')

FIGURES = {
    'memnet.png': (lambda: MemNet(num_feat=8, num_block=3, num_recursion=2), MEMNET, MEMNET_ARROWS,
                   dict(curves=MEMNET_LONG_TERM, legend='long-term memory: each gate sees all earlier blocks')),
    'memorynet.png':
    (lambda: MemoryNet(num_feat=8, scale_unetfeats=4, scale_orsnetfeats=4, num_cab=1), MEMORYNET, MEMORYNET_ARROWS,
     dict(marked=('memory', *MEMORYNET_READS), legend='reads from the memory')),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--output', default='docs', help='folder of the figures. Default: docs')
    args = parser.parse_args()
    for name, (build, boxes, arrows, style) in FIGURES.items():
        check_names(build(), boxes)
        write_figure(draw(boxes, arrows, **style), osp.join(args.output, name))


def check_names(net, boxes):
    """Compare the boxes with the network.

    Args:
        net (nn.Module): The network.
        boxes (dict): Its boxes.

    Raises:
        ValueError: If a part of the network has no box. ``insertions`` are drawn as arrows from the memory.
    """
    parts = {name for name, _ in [*net.named_children(), *net.named_parameters(recurse=False)]} - {'insertions'}
    missing = parts - {v.split('.')[0] for v in boxes}
    if missing:
        raise ValueError(f'{type(net).__name__}: no box for {", ".join(sorted(missing))}')


def draw(boxes, arrows, legend, curves=(), marked=()):
    """Draw boxes and arrows.

    Args:
        boxes (dict[str, tuple]): Name -> column, row, note.
        arrows (list[tuple[str]]): Names of the start and the end of each arrow.
        legend (str): Meaning of curved arrows or marked boxes.
        curves (list[tuple[str]]): Start and end of curved arrows. Default: ().
        marked (tuple[str]): Names of boxes with a colored border. Default: ().

    Returns:
        matplotlib.figure.Figure: The figure.
    """
    columns, rows = (1 + max(v[i] for v in boxes.values()) for i in (0, 1))
    figure = new_figure(1.6 * columns, rows + 0.4)
    ax = figure.add_subplot()
    ax.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -1.15 if curves else -0.7))
    ax.axis('off')
    patches = {}
    for name, (x, y, note) in boxes.items():
        is_image = name in ('x', 'result') or not name.replace('.', '_').isidentifier()
        bbox = dict(boxstyle='round,pad=0.45', facecolor='#ffffff' if is_image else '#dcebf7')
        bbox.update(dict(edgecolor=COLORS[5], linewidth=1.8) if name in marked else dict(edgecolor='#444444'))
        label = f'{name}\n{note}' if note else name
        text = ax.text(x, y, label, ha='center', va='center', fontsize=8, bbox=bbox, zorder=3)
        patches[name] = text.get_bbox_patch()
    lines = [(v, dict(color='#444444')) for v in arrows]
    lines += [(v, dict(color=COLORS[5], connectionstyle='arc3,rad=-0.35')) for v in curves]
    for (start, end), style in lines:
        style = dict(arrowstyle='-|>', patchA=patches[start], patchB=patches[end], shrinkA=0, shrinkB=2, **style)
        ax.annotate('', xy=boxes[end][:2], xytext=boxes[start][:2], arrowprops=style)
    ax.plot([], [], color=COLORS[5], linewidth=1.8, label=legend)
    ax.legend(loc='upper right', frameon=False, fontsize=8)
    return figure


if __name__ == '__main__':
    run_command(main)
