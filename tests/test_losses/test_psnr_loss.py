import pytest
import torch

from basicsr.losses import build_loss
from basicsr.metrics import calculate_psnr


@pytest.mark.parametrize('to_y', [False, True])
def test_is_minus_the_metric(to_y):
    torch.manual_seed(0)
    x, y = torch.randint(0, 256, (2, 3, 3, 16, 17)).double()
    loss = build_loss(dict(type='PSNRLoss', loss_weight=0.5, toY=to_y))(x / 255, y / 255)
    images = [[v.permute(1, 2, 0).flip(2).numpy().astype('float32') for v in batch] for batch in (x, y)]  # to BGR
    psnr = sum(calculate_psnr(a, b, crop_border=0, test_y_channel=to_y) for a, b in zip(*images)) / 3
    assert loss.item() == pytest.approx(-0.5 * psnr, abs=1e-4)


def test_equal_images_are_finite():
    x = torch.rand(1, 1, 4, 4, requires_grad=True)
    loss = build_loss(dict(type='PSNRLoss', reduction='mean'))(x, x.detach())
    loss.backward()
    assert loss.item() == pytest.approx(-80, abs=1e-3) and torch.isfinite(x.grad).all()


def test_refuses():
    with pytest.raises(ValueError, match='sum'):
        build_loss(dict(type='PSNRLoss', reduction='sum'))
    with pytest.raises(ValueError, match='1 channels'):
        build_loss(dict(type='PSNRLoss', toY=True))(torch.rand(1, 1, 4, 4), torch.rand(1, 1, 4, 4))
