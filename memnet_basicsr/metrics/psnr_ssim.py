"""PSNR and SSIM as BasicSR computes them, without BasicSR."""
import cv2
import numpy as np

from .ssim_map import as_float, gaussian, ssim_map


def psnr(img, img2):
    """Peak signal-to-noise ratio: 10 log10(255^2 / MSE).

    Args:
        img (ndarray): (H, W) or (H, W, C), [0, 255].
        img2 (ndarray): As ``img``.

    Returns:
        float: PSNR in dB; infinite for equal images.
    """
    mse = np.mean((np.asarray(img, np.float64) - img2)**2)
    return float(10 * np.log10(255**2 / mse)) if mse else float('inf')


def ssim(img, img2):
    """Structural similarity with a Gaussian window of 11x11 pixels, mean over the pixels whose window is in the image.

    Args:
        img (ndarray): (H, W) or (H, W, C), [0, 255], at least 11x11 pixels.
        img2 (ndarray): As ``img``.

    Returns:
        float: SSIM, at most 1.
    """
    found = ssim_map(as_float(img), as_float(img2), lambda v: gaussian(v, cv2.BORDER_REFLECT_101))
    return float(found[5:-5, 5:-5].mean())
