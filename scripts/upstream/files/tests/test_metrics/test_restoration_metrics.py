import cv2
import numpy as np
import pytest
from scipy.ndimage import correlate

from basicsr.metrics import calculate_metric, calculate_psnr, calculate_ssim


@pytest.fixture
def images():
    img, noise = [np.random.RandomState(i).randint(0, 256, (33, 46, 3)) for i in (0, 1)]
    img = cv2.GaussianBlur(img.astype(np.uint8), (0, 0), 3)
    return dict(img=img, img2=np.clip(img + noise / 10 - 12, 0, 255).astype(np.uint8))


def metric(images, metric_type, crop_border=0, **kwargs):
    return calculate_metric(images, dict(type=metric_type, crop_border=crop_border, **kwargs))


def test_luma(images):
    """Test metrics: calculate_psnr_luma and calculate_ssim_luma against OpenCV's gray images."""

    gray = [cv2.cvtColor(v, cv2.COLOR_BGR2GRAY) for v in images.values()]
    assert abs(metric(images, 'calculate_psnr_luma') - calculate_psnr(*gray, crop_border=0)) < 0.02
    gray = [v[:32, :44] for v in gray]
    assert abs(metric(images, 'calculate_ssim_luma', 2, multiple=4) - calculate_ssim(*gray, crop_border=2)) < 1e-3
    floats = {k: v.astype(np.float64) for k, v in images.items()}
    expected = calculate_psnr(images['img'], images['img2'], crop_border=0, test_y_channel=True)
    assert abs(metric(floats, 'calculate_psnr_luma', y_range='limited') - expected) < 1e-3
    with pytest.raises(ValueError):
        metric(images, 'calculate_psnr_luma', y_range='video')
    with pytest.raises(ValueError):
        metric({k: v.transpose(2, 0, 1) for k, v in images.items()}, 'calculate_psnr_luma')  # HWC only


def test_ssim_3d(images):
    """Test metric: calculate_ssim_3d against a three-dimensional window."""

    x, y = [v[2:-2, 2:-2].astype(np.float64) for v in images.values()]
    kernel = np.exp(-np.arange(-5, 6)**2 / (2 * 1.5**2))
    kernel = kernel[:, None, None] * kernel[:, None] * kernel
    mx, my, xx, yy, xy = [correlate(v, kernel / kernel.sum(), mode='nearest') for v in (x, y, x * x, y * y, x * y)]
    c1, c2 = 2.55**2, 7.65**2
    ssim = (2 * mx * my + c1) * (2 * (xy - mx * my) + c2) / (mx**2 + my**2 + c1) / (xx - mx**2 + yy - my**2 + c2)
    assert abs(metric(images, 'calculate_ssim_3d', crop_border=2) - ssim.mean()) < 1e-9

    # a gray image that is repeated over the channels
    gray = {k: np.repeat(v[..., :1], 3, axis=2) for k, v in images.items()}
    one = {k: v[..., 0] for k, v in gray.items()}
    assert abs(metric(gray, 'calculate_ssim_3d') - metric(one, 'calculate_ssim_3d')) < 1e-9
    assert metric(dict(img=images['img'], img2=images['img']), 'calculate_ssim_3d') == pytest.approx(1)
    assert metric(images, 'calculate_ssim_3d') < 1


def test_lab_error(images):
    """Test metric: calculate_lab_error against OpenCV's LAB."""

    lab = [cv2.cvtColor(v.astype(np.float32) / 255, cv2.COLOR_BGR2LAB) for v in images.values()]
    diff = np.abs(lab[0] - lab[1])
    assert abs(metric(images, 'calculate_lab_error', white='D65') / diff.sum(-1).mean() - 1) < 0.03
    rmse = np.sqrt((diff**2).sum(-1).mean())
    assert abs(metric(images, 'calculate_lab_error', white='D65', power=2) / rmse - 1) < 0.03
    for kwargs in (dict(white='D75'), dict(power=0)):
        with pytest.raises(ValueError):
            metric(images, 'calculate_lab_error', **kwargs)
    with pytest.raises(ValueError):
        metric({k: v[..., 0] for k, v in images.items()}, 'calculate_lab_error')
