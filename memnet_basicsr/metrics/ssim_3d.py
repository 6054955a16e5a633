import cv2
import numpy as np

from basicsr.utils import crop_border as crop
from basicsr.utils.registry import METRIC_REGISTRY
from .ssim_map import as_float, gaussian, ssim_map


@METRIC_REGISTRY.register()
def calculate_ssim_3d(img, img2, crop_border, **kwargs):
    """SSIM of a color image with a window of three dimensions: 11x11x11, sigma 1.5, the border replicated.

    What MATLAB's ``ssim`` computes for an (H, W, 3) array, and so the SSIM of the GoPro tables; mostly higher than the
    mean of the channels' SSIM. The mean of :func:`ssim_map` over all pixels and channels.

    Args:
        img (ndarray): (H, W, C) or (H, W), [0, 255].
        img2 (ndarray): As ``img``.
        crop_border (int): Pixels left out at each side.

    Returns:
        float: SSIM, at most 1.
    """
    assert img.shape == img2.shape, f'Image shapes are different: {img.shape}, {img2.shape}.'
    img, img2 = (as_float(v) for v in crop([img, img2], crop_border))
    mixing = _channel_window(img.shape[2])
    return float(ssim_map(img, img2, lambda v: gaussian(v, cv2.BORDER_REPLICATE) @ mixing).mean())


def _channel_window(channels):
    """The window's third dimension as a matrix: channels beyond the first and last repeat them."""
    kernel = cv2.getGaussianKernel(11, 1.5)[:, 0]
    matrix = np.zeros((channels, channels))
    for out in range(channels):
        for tap, weight in enumerate(kernel):
            matrix[min(max(out + tap - 5, 0), channels - 1), out] += weight
    return matrix
