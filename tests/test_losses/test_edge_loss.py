import numpy as np
import pytest
import torch
from scipy import ndimage

from basicsr.losses import build_loss
from memnet_basicsr.losses.edge_loss import EdgeLoss, laplacian


def laplacian_scipy(img):
    """The definition with scipy: blur, keep every second pixel, put zeros between, blur, times 4, subtract."""
    kernel = np.array([.05, .25, .4, .25, .05])

    def blur(x):
        for axis in (-2, -1):
            x = ndimage.correlate1d(x, kernel, axis=axis, mode='nearest')
        return x

    small = blur(img)[..., ::2, ::2]
    sparse = np.zeros_like(img)
    sparse[..., ::2, ::2] = small
    return img - 4 * blur(sparse)


@pytest.mark.parametrize('shape', [(2, 3, 16, 18), (1, 1, 9, 7), (1, 3, 1, 1)])
def test_laplacian_against_scipy(shape):
    img = np.random.default_rng(0).random(shape)
    np.testing.assert_allclose(laplacian(torch.from_numpy(img)).numpy(), laplacian_scipy(img), atol=1e-12)


@pytest.mark.parametrize('reduction', ['none', 'mean', 'sum'])
def test_loss_against_scipy(reduction):
    rng = np.random.default_rng(1)
    x, y = rng.random((2, 2, 3, 12, 11))
    expected = 0.05 * np.sqrt((laplacian_scipy(x) - laplacian_scipy(y))**2 + 1e-6)
    expected = {'none': expected, 'mean': expected.mean(), 'sum': expected.sum()}[reduction]
    loss = EdgeLoss(loss_weight=0.05, reduction=reduction)(torch.from_numpy(x), torch.from_numpy(y))
    np.testing.assert_allclose(loss.numpy(), expected, rtol=1e-10)


def test_a_shift_of_brightness_is_no_edge():
    x = torch.rand(1, 3, 32, 32, dtype=torch.float64)
    loss = EdgeLoss(reduction='none')(x, x + 0.5)[:, :, 4:-4, 4:-4]
    torch.testing.assert_close(loss, torch.full_like(loss, 1e-3))


def test_weight_and_gradient():
    x = torch.rand(1, 2, 6, 8, dtype=torch.float64, requires_grad=True)
    y, weight = torch.rand_like(x), torch.zeros(1, 1, 6, 8, dtype=torch.float64)
    weight[..., 2:4, 3:5] = 1
    loss = EdgeLoss()(x, y, weight)
    expected = EdgeLoss(reduction='none')(x, y)[..., 2:4, 3:5].mean()
    torch.testing.assert_close(loss, expected)
    assert torch.autograd.gradcheck(EdgeLoss(), (x, y))


def test_registered_and_refuses():
    assert isinstance(build_loss(dict(type='EdgeLoss')), EdgeLoss)
    with pytest.raises(ValueError, match='median'):
        EdgeLoss(reduction='median')
