import numpy as np

from basicsr.metrics.psnr_ssim import calculate_psnr, calculate_ssim
from basicsr.utils.registry import METRIC_REGISTRY


def to_luma(img, y_range='full'):
    """Luminance (Y of ITU-R BT.601) of an image, in float64.

    Args:
        img (ndarray): (H, W, 3) BGR, [0, 255]; an image of one channel is taken as its luminance.
        y_range (str): ``full``: 0.299 R + 0.587 G + 0.114 B, 0..255, as in OpenCV; ``limited``:
            16 + (65.481 R + 128.553 G + 24.966 B) / 255, 16..235, as in MATLAB's ``rgb2ycbcr``. Default: 'full'.

    Returns:
        ndarray: float64, (H, W, 1); rounded when ``img`` is uint8, as OpenCV and MATLAB do then.

    Raises:
        ValueError: Another range, or another number of channels.
    """
    if y_range not in ('full', 'limited'):
        raise ValueError(f'y_range {y_range!r} is not known; use full or limited')
    if img.ndim == 2 or img.shape[2] == 1:
        return img.astype(np.float64).reshape(*img.shape[:2], 1)
    if img.shape[2] != 3:
        raise ValueError(f'Luminance needs an (H, W, 3) or (H, W, 1) image, but received shape {img.shape}.')
    if y_range == 'full':
        y = img.astype(np.float64) @ [.114, .587, .299]
    else:
        y = 16 + img.astype(np.float64) @ [24.966, 128.553, 65.481] / 255
    return (np.round(y) if img.dtype == np.uint8 else y)[..., None]


@METRIC_REGISTRY.register()
def calculate_psnr_luma(img, img2, crop_border, y_range='full', multiple=1, **kwargs):
    """PSNR of the luminance: 10 log10(255^2 / MSE).

    The published scripts for RainDrop use either range of Y and cut images to multiples of 4. The same images score
    1.3 dB higher in ``limited``, whose values lie closer together.

    Args:
        img (ndarray): (H, W, 3) BGR or (H, W, 1), [0, 255].
        img2 (ndarray): As ``img``.
        crop_border (int): Pixels cropped at each border.
        y_range (str): ``full`` (OpenCV) or ``limited`` (MATLAB, 16..235), see :func:`to_luma`. Default: 'full'.
        multiple (int): Height and width are cropped to a multiple of this, at the bottom and right. Default: 1.

    Returns:
        float: PSNR in dB.

    Raises:
        ValueError: Another range.
    """
    return float(calculate_psnr(*_lumas(img, img2, y_range, multiple), crop_border))


@METRIC_REGISTRY.register()
def calculate_ssim_luma(img, img2, crop_border, y_range='full', multiple=1, **kwargs):
    """SSIM of the luminance (BasicSR's ``calculate_ssim``), as :func:`calculate_psnr_luma`.

    The window is Gaussian, 11x11. The published Python scripts for RainDrop use scikit-image's uniform 7x7 window, so
    that their values are not comparable.

    Args:
        img (ndarray): (H, W, 3) BGR or (H, W, 1), [0, 255].
        img2 (ndarray): As ``img``.
        crop_border (int): Pixels left out at each side.
        y_range (str): ``full`` (OpenCV) or ``limited`` (MATLAB, 16..235), see :func:`to_luma`. Default: 'full'.
        multiple (int): Height and width are cropped to a multiple of this, at the bottom and right. Default: 1.

    Returns:
        float: SSIM, at most 1.

    Raises:
        ValueError: Another range.
    """
    return float(calculate_ssim(*_lumas(img, img2, y_range, multiple), crop_border))


def _lumas(img, img2, y_range, multiple):
    assert img.shape == img2.shape, f'Image shapes are different: {img.shape}, {img2.shape}.'
    h, w = (v // multiple * multiple for v in img.shape[:2])
    return [to_luma(v[:h, :w], y_range) for v in (img, img2)]
