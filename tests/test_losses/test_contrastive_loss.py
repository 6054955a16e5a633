import math
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from basicsr.archs import build_network
from basicsr.losses import build_loss
from memnet_basicsr.archs.contrast_arch import ContrastEncoder
from memnet_basicsr.losses.contrastive_loss import class_loss, global_local_loss, pull_push_loss


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def feats(num=3, dim=5):
    rng = np.random.default_rng(0)
    return [rng.standard_normal((num, dim)) for _ in range(3)]


def test_pull_push_by_loops():
    values = feats()
    r, c, d = (unit(v) for v in values)
    terms = []
    for i in range(3):
        positive = math.exp(r[i] @ c[i] / .2)
        terms.append(-math.log(positive / (positive + sum(math.exp(r[i] @ v / .2) for v in d))))
    assert pull_push_loss(*map(torch.from_numpy, values), .2).item() == pytest.approx(np.mean(terms))


def test_class_loss_by_loops():
    values = feats()
    z = unit(np.concatenate(values))
    terms = []
    for i in range(9):
        total = sum(math.exp(z[i] @ z[k] / .2) for k in range(9) if k != i)
        terms += [-math.log(math.exp(z[i] @ z[k] / .2) / total) for k in range(9) if k != i and k // 3 == i // 3]
    assert class_loss(*map(torch.from_numpy, values), .2).item() == pytest.approx(np.mean(terms))


def test_global_local_by_loops():
    rng = np.random.default_rng(1)
    g, local = rng.standard_normal((3, 4)), rng.standard_normal((3, 4, 2, 3))
    terms = []
    for j in range(3):
        for y, x in np.ndindex(2, 3):
            scores = unit(g) @ unit(local[j, :, y, x]) / .2
            terms.append(-math.log(math.exp(scores[j]) / np.exp(scores).sum()))
    assert global_local_loss(torch.from_numpy(g), torch.from_numpy(local), .2).item() == pytest.approx(np.mean(terms))


def test_closed_forms():
    e = torch.eye(4)
    # restored as clean, degraded opposite: log(1 + n exp(-2 / t)); all alike: log(1 + n)
    assert pull_push_loss(e[:1], e[:1], -e[:1], 1.).item() == pytest.approx(math.log(1 + math.exp(-2)))
    assert pull_push_loss(*[torch.ones(3, 4)] * 3).item() == pytest.approx(math.log(4))
    assert class_loss(*[torch.ones(3, 4)] * 3).item() == pytest.approx(math.log(8))


def test_restorer_moves_to_clean_and_from_degraded():
    torch.manual_seed(0)
    restored, clean, degraded = torch.randn(3, 2, 8)
    restored.requires_grad_()
    before = [F.cosine_similarity(restored, v).mean().item() for v in (clean, degraded)]
    for _ in range(50):
        grad, = torch.autograd.grad(pull_push_loss(restored, clean, degraded, 1.), restored)
        restored = (restored - grad).detach().requires_grad_()
    after = [F.cosine_similarity(restored, v).mean().item() for v in (clean, degraded)]
    assert after[0] > before[0] + 0.3 and after[1] < before[1]


def test_gradient_reaches_restored_only():
    restored, clean, degraded = (torch.randn(2, 8, requires_grad=True) for _ in range(3))
    build_loss(dict(type='ThreeClassContrastiveLoss'))((restored, None), (clean, None),
                                                       (degraded, None))['contrast'].backward()
    assert restored.grad.any() and clean.grad is None and degraded.grad is None


def test_terms_and_switches():
    encoder = build_network(dict(type='ContrastEncoder', num_feat=4, num_down=2, num_embed=6))
    values = [encoder(torch.rand(2, 3, 9, 13)) for _ in range(3)]
    loss = build_loss(dict(type='ThreeClassContrastiveLoss', local_weight=0.5, encoder_weight=2.))
    terms = loss(*values, role='encoder')
    assert list(terms) == ['contrast_encoder', 'contrast_local'] and list(loss(*values)) == ['contrast']
    torch.testing.assert_close(terms['contrast_encoder'], 2 * class_loss(*[v[0] for v in values]))
    torch.testing.assert_close(terms['contrast_local'], 0.5 * sum(global_local_loss(*v) for v in values) / 3)
    off = build_loss(dict(type='ThreeClassContrastiveLoss', restorer_weight=0, encoder_weight=0))
    assert off(*values) == {} and off(*values, role='encoder') == {}
    with pytest.raises(ValueError, match='temperature'):
        build_loss(dict(type='ThreeClassContrastiveLoss', temperature=0))


def test_a_batch_of_one():
    one = (torch.randn(1, 8), torch.randn(1, 8, 2, 2))
    loss = build_loss(dict(type='ThreeClassContrastiveLoss', local_weight=1.))
    assert torch.isfinite(loss(one, one, one)['contrast'])
    with pytest.raises(ValueError, match='batch_size_per_gpu'):
        loss(one, one, one, role='encoder')


def test_encoder_learns_the_three_classes():
    torch.manual_seed(0)
    encoder = ContrastEncoder(num_feat=8, num_down=2, num_embed=16)
    optimizer = torch.optim.Adam(encoder.parameters(), lr=3e-3)

    def batch():
        clean = torch.rand(4, 3, 12, 12)
        return 0.5 * clean + 0.25, clean, F.avg_pool2d(clean, 3, stride=1, padding=1)

    for _ in range(60):
        loss = class_loss(*[encoder(v)[0] for v in batch()])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert all(v.grad.any() for v in encoder.parameters())
    centres = [F.normalize(encoder(v)[0], dim=1).mean(0) for v in batch()]
    for i, v in enumerate(batch()):
        scores = torch.stack([F.normalize(encoder(v)[0], dim=1) @ c for c in centres], 1)
        assert (scores.argmax(1) == i).all()


@pytest.mark.parametrize('size', [(1, 1), (17, 30)])
def test_encoder_takes_any_size(size):
    feat, local = ContrastEncoder(num_in_ch=1, num_feat=4, num_embed=6)(torch.rand(2, 1, *size))
    assert feat.shape == (2, 6) and local.shape == (2, 6, -(-size[0] // 16), -(-size[1] // 16))
    torch.testing.assert_close(feat, local.mean((2, 3)))
