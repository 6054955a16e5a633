"""Clean, degraded and restored pictures in the space of the contrastive loss."""
import numpy as np
import torch
from torch.nn import functional as F

from ...errors import UsageError
from ..drawing import COLORS, new_figure, set_title
from ..networks import inference_of

CLASSES = ('clean', 'degraded', 'restored')
COLOR_OF = dict(zip(CLASSES, (COLORS[2], COLORS[5], COLORS[0])))


@torch.no_grad()
def embed(net, encoder, pairs, patch=64, per_picture=16):
    """Embed patches of clean, degraded and restored pictures.

    A picture is restored whole and then cut, so that the three patches show the same place.

    Args:
        net (nn.Module): Restoring network.
        encoder (callable): Pictures (n, c, h, w), [0, 1] -> (global features (n, D), ...), as ContrastEncoder and
            ``MemoryNet.features`` are.
        pairs (iterable[dict]): Items with ``lq`` and ``gt``, (c, h, w), [0, 1], of one size.
        patch (int): Side of the patches in pixels. Default: 64.
        per_picture (int): At most so many of each picture, evenly spread. Default: 16.

    Returns:
        dict[str, Tensor]: Class -> embeddings (n, D), row i of each class being the same place.

    Raises:
        UsageError: If the pictures are smaller than a patch, or the network enlarges them.
    """
    found = {name: [] for name in CLASSES}
    device = next(net.parameters()).device
    for pair in pairs:
        lq, gt = (pair[key][None].to(device) for key in ('lq', 'gt'))
        restored = inference_of(net)(net, lq)
        if restored.shape != gt.shape:
            raise UsageError(f'the network turns {tuple(lq.shape[2:])} into {tuple(restored.shape[2:])} pixels: only '
                             'pictures of one size can be embedded together')
        if min(lq.shape[2:]) < patch:
            raise UsageError(f'picture of {lq.shape[3]} x {lq.shape[2]} pixels: smaller than a patch of {patch}')
        for name, picture in zip(CLASSES, (gt, lq, restored.clamp(0, 1))):
            patches = picture.unfold(2, patch, patch).unfold(3, patch, patch)[0].flatten(1, 2).transpose(0, 1)
            chosen = torch.linspace(0, len(patches) - 1, min(per_picture, len(patches))).round().long().to(device)
            found[name].append(encoder(patches[chosen])[0].float().cpu())
    return {name: torch.cat(v) for name, v in found.items()}


def mean_cosines(embeddings):
    """Mean cosine between two different embeddings, within each class and between the classes.

    Args:
        embeddings (dict[str, Tensor]): See :func:`embed`.

    Returns:
        tuple: (3, 3) ndarray in the order of ``CLASSES``; and a dict of the mean cosine between patches of the same
        place, ``restored-clean``, ``restored-degraded`` and ``clean-degraded``.
    """
    unit = {name: F.normalize(v.double(), dim=1) for name, v in embeddings.items()}
    matrix = np.empty((3, 3))
    for i, a in enumerate(CLASSES):
        for j, b in enumerate(CLASSES):
            products = unit[a] @ unit[b].t()
            num = len(products)
            # a patch and itself, within a class, and the same place, between classes, do not count
            matrix[i, j] = (products.sum() - products.trace()) / max(num * (num - 1), 1)
    pairs = (('restored', 'clean'), ('restored', 'degraded'), ('clean', 'degraded'))
    return matrix, {f'{a}-{b}': float((unit[a] * unit[b]).sum(1).mean()) for a, b in pairs}


def project(embeddings, perplexity=30., seed=0):
    """t-SNE of the embeddings by their cosines.

    Args:
        embeddings (dict[str, Tensor]): See :func:`embed`.
        perplexity (float): Number of neighbours that count, at most a third of the embeddings. Default: 30.
        seed (int): Of t-SNE's start. Default: 0.

    Returns:
        dict[str, ndarray]: Class -> (n, 2); distances far apart and axes mean nothing.

    Raises:
        UsageError: If scikit-learn is not installed, or there are fewer than 4 patches.
    """
    try:
        from sklearn.manifold import TSNE
    except ImportError:
        raise UsageError("t-SNE needs scikit-learn: pip install 'memnet-basicsr[analysis]', or pip install "
                         'scikit-learn') from None
    rows = F.normalize(torch.cat([embeddings[v] for v in CLASSES]), dim=1).numpy()
    num = len(rows) // 3
    if num < 4:
        raise UsageError(f'{num} patches: t-SNE needs 4 or more; give more pictures or smaller patches')
    # of unit vectors, the squared distance is 2 - 2 cos
    tsne = TSNE(perplexity=min(perplexity, (len(rows) - 1) / 3), init='pca', random_state=seed)
    places = tsne.fit_transform(rows)
    return {name: places[k * num:(k + 1) * num] for k, name in enumerate(CLASSES)}


def draw_embedding(places, matrix, same, title):
    """t-SNE of the three classes, and their mean cosines.

    Args:
        places (dict[str, ndarray]): See :func:`project`.
        matrix (ndarray): See :func:`mean_cosines`.
        same (dict): The same.
        title (str): Name of the network and of the pictures.

    Returns:
        matplotlib.figure.Figure: The figure.
    """
    figure = new_figure(10, 5.6)
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    for ends in zip(places['restored'], places['clean']):
        left.plot(*zip(*ends), color='gray', linewidth=.4, alpha=.4, zorder=0)
    for name, marker in zip(CLASSES, 'osD'):
        left.scatter(*places[name].T, s=16, marker=marker, color=COLOR_OF[name], alpha=.75, linewidths=0, label=name)
    left.set(xticks=[], yticks=[])
    left.set_title(f't-SNE of {len(places["clean"])} patches of each class (line: the same place)', fontsize=10)
    left.legend(fontsize=9, loc='upper center', bbox_to_anchor=(.5, 0), ncols=3, frameon=False)
    image = right.imshow(matrix, cmap='RdBu_r', vmin=-1, vmax=1)
    figure.colorbar(image, ax=right, shrink=.6, label='cosine')
    for (i, j), value in np.ndenumerate(matrix):
        right.text(j, i, f'{value:.3f}', ha='center', va='center', color='white' if abs(value) > .6 else 'black')
    right.set_xticks(range(3), CLASSES)
    right.set_yticks(range(3), CLASSES, rotation=90, va='center')
    right.set_title('mean cosine of two different patches', fontsize=10)
    right.set_xlabel('mean cosine at the same place:\n' + '\n'.join(f'{k} {v:.3f}' for k, v in same.items()))
    set_title(figure, title)
    return figure
