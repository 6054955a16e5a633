import numpy as np
import pytest
import sys
import torch
from torch import nn

from memnet_basicsr.analysis.memory.contrast_embedding import CLASSES, draw_embedding, embed, mean_cosines, project
from memnet_basicsr.errors import UsageError


class Brighter(nn.Module):

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(2.))

    def forward(self, x):
        return x * self.gain


def mean_color(images):
    return images.mean((2, 3)), None


def test_rows_show_the_same_place():
    torch.manual_seed(0)
    lq = torch.rand(3, 8, 12) / 2
    found = embed(Brighter(), mean_color, [{'lq': lq, 'gt': lq + .25}] * 2, patch=4)
    expected = torch.stack([lq[:, i:i + 4, j:j + 4].mean((1, 2)) for i in (0, 4) for j in (0, 4, 8)] * 2)
    for name, values in zip(CLASSES, (expected + .25, expected, 2 * expected)):
        assert torch.allclose(found[name], values, atol=1e-6)
    few = embed(Brighter(), mean_color, [{'lq': lq, 'gt': lq}], patch=4, per_image=2)
    assert torch.allclose(few['clean'], expected[[0, 5]], atol=1e-6)  # evenly spread: the first and the last


def test_mean_cosines_of_known_vectors():
    c, s = np.cos(np.pi / 3), np.sin(np.pi / 3)
    embeddings = {
        'clean': torch.tensor([[1., 0.], [2 * c, 2 * s]]),
        'degraded': torch.tensor([[0., 1.], [0., 5.]]),
        'restored': torch.tensor([[3., 0.], [0., 1.]])
    }
    matrix, same = mean_cosines(embeddings)
    # clean and degraded: (1, 0) with the second (0, 5), and 60 degrees with the first (0, 1)
    assert matrix == pytest.approx(np.array([[c, s / 2, (0 + c) / 2], [s / 2, 1, .5], [c / 2, .5, 0]]))
    assert same == pytest.approx({'restored-clean': (1 + s) / 2, 'restored-degraded': .5, 'clean-degraded': s / 2})


def test_t_sne_separates_separate_classes():
    torch.manual_seed(0)
    embeddings = {name: torch.eye(3)[k] * 5 + .1 * torch.randn(12, 3) for k, name in enumerate(CLASSES)}
    places = project(embeddings, perplexity=5)
    points = np.concatenate([places[name] for name in CLASSES])
    distance = np.linalg.norm(points[:, None] - points, axis=2) + np.diag([np.inf] * 36)
    assert (distance.argmin(1) // 12 == np.arange(36) // 12).all()
    again = project(embeddings, perplexity=5)
    assert all(np.array_equal(places[name], again[name]) for name in CLASSES)
    figure = draw_embedding(places, *mean_cosines(embeddings), 'title')
    assert np.allclose(figure.axes[0].collections[1].get_offsets(), places['degraded'])


def test_errors(monkeypatch):
    lq = torch.rand(3, 8, 8)
    with pytest.raises(UsageError, match='smaller than a patch of 16'):
        embed(Brighter(), mean_color, [{'lq': lq, 'gt': lq}], patch=16)
    with pytest.raises(UsageError, match='must have the same size'):
        embed(Brighter(), mean_color, [{'lq': lq, 'gt': torch.rand(3, 16, 16)}])
    few = {name: torch.rand(3, 2) for name in CLASSES}
    with pytest.raises(UsageError, match='t-SNE needs 4'):
        project(few)
    monkeypatch.setitem(sys.modules, 'sklearn.manifold', None)
    with pytest.raises(UsageError, match='needs scikit-learn'):
        project(few)
