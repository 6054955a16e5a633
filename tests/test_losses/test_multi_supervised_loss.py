import numpy as np
import pytest
import torch

from memnet_basicsr.archs.memnet_arch import MemNet
from memnet_basicsr.losses.multi_supervised_loss import MultiSupervisedLoss


def closed_form(outputs, gt, alpha):
    """The released loss, written out in numpy."""
    final, *others = [np.sum((gt - y)**2) for y in outputs]
    n, m = len(gt), len(others)
    return alpha / (2 * n) * final + (1 - alpha) / (2 * m * n) * sum(others)


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    gt = rng.random((5, 3, 4, 6))
    return [rng.random(gt.shape) for _ in range(4)], gt


def tensors(outputs, gt):
    return [torch.from_numpy(y) for y in outputs], torch.from_numpy(gt)


@pytest.mark.parametrize('alpha', [None, 0, 0.3, 1])
def test_closed_form(data, alpha):
    expected = closed_form(*data, 1 / 4 if alpha is None else alpha)
    outputs, gt = tensors(*data)
    released = MultiSupervisedLoss(loss_weight=2., alpha=alpha, reduction='sum')(outputs, gt)
    assert released.item() == pytest.approx(2 * expected, rel=1e-12)
    mean = MultiSupervisedLoss(alpha=alpha)(outputs, gt)
    assert mean.item() == pytest.approx(expected / (3 * 4 * 6), rel=1e-12)


def test_default_alpha_makes_all_terms_equal(data):
    outputs, gt = tensors(*data)
    losses = {MultiSupervisedLoss()(order, gt).item() for order in (outputs, outputs[::-1])}
    assert max(losses) == pytest.approx(min(losses), rel=1e-12)


@pytest.mark.parametrize('reduction, count', [('sum', 1), ('mean', 3 * 4 * 6)])
def test_single_output(data, reduction, count):
    outputs, gt = tensors(*data)
    expected = np.sum((data[1] - data[0][0])**2) / (2 * 5 * count)
    criterion = MultiSupervisedLoss(reduction=reduction)
    assert criterion(outputs[0], gt).item() == pytest.approx(expected, rel=1e-12)
    assert criterion(outputs[:1], gt).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize('multi_supervised', [True, False])
def test_trains_memnet(multi_supervised):
    """As BasicSR's SRModel uses it: pixel_opt, called with what the network returns in training mode."""
    torch.manual_seed(0)
    net = MemNet(num_feat=8, num_block=2, num_recursion=1, multi_supervised=multi_supervised)
    criterion = MultiSupervisedLoss()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    gt = torch.rand(4, 1, 8, 8)
    lq = gt + 0.2 * torch.randn_like(gt)
    losses = []
    for _ in range(15):
        loss = criterion(net(lq), gt)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize('kwargs, word', [
    ({
        'alpha': 1.5
    }, 'alpha'),
    ({
        'alpha': -0.1
    }, 'alpha'),
    ({
        'alpha': '1/7'
    }, 'alpha'),
    ({
        'reduction': 'none'
    }, 'reduction'),
])
def test_bad_arguments(kwargs, word):
    with pytest.raises(ValueError, match=word):
        MultiSupervisedLoss(**kwargs)
