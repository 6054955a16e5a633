import numpy as np

from basicsr.metrics.lab import bgr2lab
from basicsr.utils import crop_border as crop
from basicsr.utils.registry import METRIC_REGISTRY


@METRIC_REGISTRY.register()
def calculate_lab_error(img, img2, crop_border, power=1, white='D50', **kwargs):
    """Calculate the error in LAB space, as used for shadow removal.

    (sum over pixels and channels of |d|^power / number of pixels)^(1 / power), d the difference in LAB. Most papers
    call the error with power 1 "RMSE", which is the mean absolute error, summed over the channels.

    Args:
        img (ndarray): Color images with range [0, 255], order 'HWC', BGR.
        img2 (ndarray): Color images with range [0, 255], order 'HWC', BGR.
        crop_border (int): Cropped pixels in each edge of an image. These pixels are not involved in the calculation.
        power (int): 1 or 2. Default: 1.
        white (str): White point 'D50' (MATLAB's makecform) or 'D65' (scikit-image, OpenCV). Default: 'D50'.

    Returns:
        float: Error. The lower, the better.
    """

    assert img.shape == img2.shape, (f'Image shapes are different: {img.shape}, {img2.shape}.')
    if img.ndim != 3 or img.shape[2] != 3:
        raise ValueError(f'calculate_lab_error needs color images, but received shape {img.shape}.')
    if power not in (1, 2):
        raise ValueError(f'power must be 1 or 2, but received {power}.')
    if white not in ('D50', 'D65'):
        raise ValueError(f"white must be 'D50' or 'D65', but received {white}.")
    img, img2 = crop([img, img2], crop_border)
    diff = np.abs(bgr2lab(img, white) - bgr2lab(img2, white))
    return float(((diff**power).sum() / (diff.size / 3))**(1 / power))
