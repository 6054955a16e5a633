import math
import pytest
import torch

from basicsr.losses import build_loss
from basicsr.losses.edge_loss import laplacian


def test_edge_loss():
    """Test loss: EdgeLoss. It ignores the brightness, and sees an edge."""

    img = torch.rand((1, 3, 20, 21))
    loss = build_loss(dict(type='EdgeLoss', reduction='none'))(img, img + 0.5)
    assert torch.allclose(loss[..., 4:-4, 4:-4], torch.full((), 1e-3), atol=1e-5)
    edge = torch.zeros_like(img)
    edge[..., 10:] = 1
    assert build_loss(dict(type='EdgeLoss', loss_weight=2.))(img, img + edge) > 0.01
    weight = torch.ones((1, 1, 20, 21))
    loss = build_loss(dict(type='EdgeLoss'))
    assert torch.allclose(loss(img, edge, weight), loss(img, edge))
    with pytest.raises(ValueError):
        build_loss(dict(type='EdgeLoss', reduction='unknown'))


def test_laplacian():
    """Test laplacian of an impulse, at a pixel that reduce keeps and at another one."""

    for i, value in ((10, 1 - 0.33**2), (11, 1 - 0.25**2)):
        impulse = torch.zeros((1, 1, 20, 21))
        impulse[..., i, i] = 1
        assert abs(laplacian(impulse)[0, 0, i, i] - value) < 1e-5


def test_multi_output_loss():
    """Test loss: MultiOutputLoss is the sum over losses and outputs."""

    outputs, target = [torch.rand((2, 3, 8, 8)) for _ in range(3)], torch.rand((2, 3, 8, 8))
    losses = [dict(type='L1Loss', loss_weight=2.), dict(type='MSELoss')]
    values = [2 * (v - target).abs().mean() + ((v - target)**2).mean() for v in outputs]
    loss = build_loss(dict(type='MultiOutputLoss', losses=losses))
    assert torch.allclose(loss(outputs, target), sum(values))
    assert torch.allclose(loss(outputs[0], target), values[0])
    assert list(loss.terms(outputs, target)) == ['l1', 'mse']
    loss = build_loss(dict(type='MultiOutputLoss', losses=losses, output_weights=[1, 0, 0.5], average=True))
    assert torch.allclose(loss(outputs, target), (values[0] + 0.5 * values[2]) / 3)
    with pytest.raises(ValueError):
        loss(outputs[:2], target)
    with pytest.raises(ValueError):
        build_loss(dict(type='MultiOutputLoss', losses=[]))


def test_psnr_loss():
    """Test loss: PSNRLoss is the negative PSNR, averaged over the images."""

    pred, target = torch.rand((2, 3, 8, 8)), torch.rand((2, 3, 8, 8))
    expected = [10 * math.log10(((pred[i] - target[i])**2).mean()) for i in (0, 1)]
    assert math.isclose(build_loss(dict(type='PSNRLoss'))(pred, target), sum(expected) / 2, rel_tol=1e-4)
    diff = (pred - target)[:, 0] * 65.481 + (pred - target)[:, 1] * 128.553 + (pred - target)[:, 2] * 24.966
    expected = [10 * math.log10(((diff[i] / 255)**2).mean()) for i in (0, 1)]
    assert math.isclose(build_loss(dict(type='PSNRLoss', toY=True))(pred, target), sum(expected) / 2, rel_tol=1e-4)
    with pytest.raises(ValueError):
        build_loss(dict(type='PSNRLoss', toY=True))(pred[:, :1], target[:, :1])
