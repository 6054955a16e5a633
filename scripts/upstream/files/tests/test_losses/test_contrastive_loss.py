import math
import pytest
import torch

from basicsr.archs.contrast_arch import ContrastEncoder
from basicsr.losses import build_loss


def cross_entropy(scores, index):
    """-log(softmax) by the formula, of a list of scores."""
    return -math.log(math.exp(scores[index]) / sum(math.exp(v) for v in scores))


def cos(x, y):
    return float(torch.cosine_similarity(x, y, dim=0))


@pytest.mark.parametrize('temperature', [0.2, 1.])
def test_contrastive_loss(temperature):
    """Test loss: the terms of ThreeClassContrastiveLoss against loops over images and pixels."""

    torch.manual_seed(0)
    feats = [(torch.randn(2, 5), torch.randn(2, 5, 2, 3)) for _ in range(3)]
    (restored, _), (clean, _), (degraded, _) = feats
    expected = {}
    values = [cross_entropy([cos(restored[i], v) / temperature for v in (clean[i], *degraded)], 0) for i in range(2)]
    expected['contrast'] = 3 * sum(values) / len(values)

    flat, values = [*restored, *clean, *degraded], []  # the class of i is i // 2, its other member is i ^ 1
    for i in range(6):
        others = [k for k in range(6) if k != i]
        values.append(cross_entropy([cos(flat[i], flat[k]) / temperature for k in others], others.index(i ^ 1)))
    expected['contrast_encoder'] = 2 * sum(values) / len(values)

    values = []
    for vectors, local in feats:
        for j in range(2):
            for pixel in local[j].flatten(1).t():
                values.append(cross_entropy([cos(v, pixel) / temperature for v in vectors], j))
    expected['contrast_local'] = 0.5 * sum(values) / len(values)

    opt = dict(type='ThreeClassContrastiveLoss', restorer_weight=3, encoder_weight=2, local_weight=0.5)
    loss = build_loss(dict(opt, temperature=temperature))
    terms = dict(loss(*feats), **loss(*feats, role='encoder'))
    assert {k: float(v) for k, v in terms.items()} == pytest.approx(expected, rel=1e-4)

    with pytest.raises(ValueError):
        loss(*[(v[:1], w[:1]) for v, w in feats], role='encoder')
    with pytest.raises(ValueError):
        build_loss(dict(opt, temperature=0))


def test_gradient():
    """Test loss: the term of the restorer reaches the restored images only."""

    net = ContrastEncoder(num_feat=4, num_down=2, num_embed=6)
    imgs = [torch.rand((2, 3, 9, 14)).requires_grad_() for _ in range(3)]
    feats = [net(v) for v in imgs]
    assert feats[0][0].shape == (2, 6) and feats[0][1].shape == (2, 6, 3, 4)
    build_loss(dict(type='ThreeClassContrastiveLoss'))(*feats)['contrast'].backward()
    assert imgs[0].grad.abs().sum() > 0 and imgs[1].grad is None and imgs[2].grad is None
