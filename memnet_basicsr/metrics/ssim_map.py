import cv2
import numpy as np


def gaussian(img, border):
    """Gaussian window of SSIM: 11x11, sigma 1.5, each channel by itself.

    Args:
        img (ndarray): float64, (H, W, C).
        border (int): OpenCV's border type.

    Returns:
        ndarray: (H, W, C).
    """
    kernel = cv2.getGaussianKernel(11, 1.5)
    return cv2.sepFilter2D(img, -1, kernel, kernel, borderType=border).reshape(img.shape)


def ssim_map(img, img2, mean):
    """SSIM at every pixel: (2 m m' + c1)(2 s + c2) / ((m^2 + m'^2 + c1)(v + v' + c2)), c1 = 2.55^2, c2 = 7.65^2.

    Args:
        img (ndarray): float64, (H, W, C), [0, 255].
        img2 (ndarray): As ``img``.
        mean (callable): The window: maps an array to its local means.

    Returns:
        ndarray: float64, (H, W, C).
    """
    c1, c2 = (.01 * 255)**2, (.03 * 255)**2
    m, m2 = mean(img), mean(img2)
    variances = mean(img * img) - m * m + mean(img2 * img2) - m2 * m2
    covariance = mean(img * img2) - m * m2
    return (2 * m * m2 + c1) * (2 * covariance + c2) / ((m * m + m2 * m2 + c1) * (variances + c2))


def as_float(img):
    """An image as contiguous float64 with a channel axis."""
    img = np.ascontiguousarray(img, dtype=np.float64)
    return img[..., None] if img.ndim == 2 else img
