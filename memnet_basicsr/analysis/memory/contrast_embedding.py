"""Clean, degraded and restored patches in the embedding space of the contrastive loss."""
import numpy as np
import torch
from torch.nn import functional as F

from ...errors import UsageError
from ..drawing import COLORS, new_figure, set_title
from ..networks import inference_of

CLASSES = ('clean', 'degraded', 'restored')
COLOR_OF = dict(zip(CLASSES, (COLORS[2], COLORS[5], COLORS[0])))


@torch.no_grad()
def embed(net, encoder, pairs, patch=64, per_image=16):
    """Embed patches of clean, degraded and restored images.

    Images are restored as a whole and then cut, so the three patches show the same place.

    Args:
        net (nn.Module): Restoration network.
        encoder (callable): Images (n, c, h, w), [0, 1] -> (global features (n, D), ...), such as ContrastEncoder or
            ``MemoryNet.features``.
        pairs (iterable[dict]): Items ``lq`` and ``gt``, (c, h, w), [0, 1], of equal size.
        patch (int): Side of the patches in pixels. Default: 64.
        per_image (int): Maximum number of patches per image, evenly spread. Default: 16.

    Returns:
        dict[str, Tensor]: Class -> embeddings (n, D); row i of each class shows the same place.

    Raises:
        UsageError: If an image is smaller than a patch, or the network changes its size.
    """
    found = {name: [] for name in CLASSES}
    device = next(net.parameters()).device
    for pair in pairs:
        lq, gt = (pair[key][None].to(device) for key in ('lq', 'gt'))
        restored = inference_of(net)(net, lq)
        if restored.shape != gt.shape:
            raise UsageError(
                f'the network turns {tuple(lq.shape[2:])} into {tuple(restored.shape[2:])} pixels, but input '
                'and output must have the same size')
        if min(lq.shape[2:]) < patch:
            raise UsageError(f'image of {lq.shape[3]}x{lq.shape[2]} pixels: smaller than a patch of {patch}')
        for name, image in zip(CLASSES, (gt, lq, restored.clamp(0, 1))):
            patches = image.unfold(2, patch, patch).unfold(3, patch, patch)[0].flatten(1, 2).transpose(0, 1)
            chosen = torch.linspace(0, len(patches) - 1, min(per_image, len(patches))).round().long().to(device)
            found[name].append(encoder(patches[chosen])[0].float().cpu())
    return {name: torch.cat(v) for name, v in found.items()}


def mean_cosines(embeddings):
    """Mean cosine of two different embeddings, within each class and between classes.

    Args:
        embeddings (dict[str, Tensor]): See :func:`embed`.

    Returns:
        tuple: Matrix (3, 3) in the order of ``CLASSES`` (ndarray), and the mean cosine of patches of the same place
            (dict): ``restored-clean``, ``restored-degraded`` and ``clean-degraded``.
    """
    unit = {name: F.normalize(v.double(), dim=1) for name, v in embeddings.items()}
    matrix = np.empty((3, 3))
    for i, a in enumerate(CLASSES):
        for j, b in enumerate(CLASSES):
            products = unit[a] @ unit[b].t()
            num = len(products)
            # Exclude pairs of the same place.
            matrix[i, j] = (products.sum() - products.trace()) / max(num * (num - 1), 1)
    pairs = (('restored', 'clean'), ('restored', 'degraded'), ('clean', 'degraded'))
    return matrix, {f'{a}-{b}': float((unit[a] * unit[b]).sum(1).mean()) for a, b in pairs}


def project(embeddings, perplexity=30., seed=0):
    """Project the normalized embeddings with t-SNE.

    Args:
        embeddings (dict[str, Tensor]): See :func:`embed`.
        perplexity (float): Perplexity of t-SNE; limited to a third of the embeddings. Default: 30.
        seed (int): Random seed. Default: 0.

    Returns:
        dict[str, ndarray]: Class -> (n, 2); only the neighborhoods are meaningful.

    Raises:
        UsageError: If scikit-learn is not installed, or there are fewer than 4 patches.
    """
    try:
        from sklearn.manifold import TSNE
    except ImportError:
        raise UsageError("t-SNE needs scikit-learn; run pip install 'memnet-basicsr[analysis]'") from None
    rows = F.normalize(torch.cat([embeddings[v] for v in CLASSES]), dim=1).numpy()
    num = len(rows) // 3
    if num < 4:
        raise UsageError(f'{num} patches: t-SNE needs 4 or more; use more images or smaller patches')
    # The squared distance of unit vectors is 2 - 2 cos.
    tsne = TSNE(perplexity=min(perplexity, (len(rows) - 1) / 3), init='pca', random_state=seed)
    places = tsne.fit_transform(rows)
    return {name: places[k * num:(k + 1) * num] for k, name in enumerate(CLASSES)}


def draw_embedding(places, matrix, same, title):
    """Draw the t-SNE of the three classes and their mean cosines.

    Args:
        places (dict[str, ndarray]): See :func:`project`.
        matrix (ndarray): See :func:`mean_cosines`.
        same (dict): See :func:`mean_cosines`.
        title (str): Name of the network and of the dataset.

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
    left.set_title(f't-SNE of {len(places["clean"])} patches of each class (lines: same place)', fontsize=10)
    left.legend(fontsize=9, loc='upper center', bbox_to_anchor=(.5, 0), ncols=3, frameon=False)
    image = right.imshow(matrix, cmap='RdBu_r', vmin=-1, vmax=1)
    figure.colorbar(image, ax=right, shrink=.6, label='cosine')
    for (i, j), value in np.ndenumerate(matrix):
        right.text(j, i, f'{value:.3f}', ha='center', va='center', color='white' if abs(value) > .6 else 'black')
    right.set_xticks(range(3), CLASSES)
    right.set_yticks(range(3), CLASSES, rotation=90, va='center')
    right.set_title('mean cosine of different patches', fontsize=10)
    right.set_xlabel('mean cosine at the same place:\n' + '\n'.join(f'{k} {v:.3f}' for k, v in same.items()))
    set_title(figure, title)
    return figure
