import numpy as np

from basicsr.utils.registry import METRIC_REGISTRY
from ..data.bicubic_util import resize_bicubic
from ..errors import UsageError
from .lab import bgr2lab
from .regions import crop, select_region

# preset -> side to which images are resized (None: native size), exponent p of the error
PRESETS = {'sid': (None, 1), 'shadowformer': (256, 1), 'memorynet': (None, 2)}


@METRIC_REGISTRY.register()
def calculate_lab_error(img, img2, crop_border, mask=None, region='all', preset='sid', white='D50', **kwargs):
    """Error in LAB over a region, by one of the protocols of shadow removal.

    ``(sum over the region's pixels and the three channels of |d|^p / number of its pixels)^(1/p)``, d the difference in
    LAB. Most tables call p = 1 "RMSE"; it is the mean absolute error summed over the channels.

    - ``sid``: p = 1, at native size.
    - ``shadowformer``: p = 1, both images and the mask resized to 256x256 as uint8 with MATLAB's bicubic first.
    - ``memorynet``: p = 2, a true RMSE, at native size.

    Published scripts also differ in the white point (``white``).

    Args:
        img (ndarray): (H, W, 3), BGR, [0, 255].
        img2 (ndarray): As ``img``.
        crop_border (int): Pixels left out at each side (before resizing).
        mask (ndarray | None): (H, W), [0, 255]; needed for every region but ``all``. Default: None.
        region (str): ``all``, ``shadow`` or ``nonshadow``, see :func:`select_region`. Default: 'all'.
        preset (str): ``sid``, ``shadowformer`` or ``memorynet``. Default: 'sid'.
        white (str): ``D50`` (MATLAB) or ``D65`` (scikit-image, OpenCV). Default: 'D50'.

    Returns:
        float: The error, in LAB units; NaN if the region is empty.

    Raises:
        UsageError: Gray images, unknown preset, white point or region, missing mask.
    """
    if preset not in PRESETS:
        raise UsageError(f'preset {preset!r} is not known; use one of {", ".join(PRESETS)}')
    if white not in ('D50', 'D65'):
        raise UsageError(f'white {white!r} is not known; use D50 or D65')
    if img.ndim != 3 or img.shape[2] != 3:
        raise UsageError(f'calculate_lab_error needs color images, not {img.shape}')
    assert img.shape == img2.shape, f'Image shapes are different: {img.shape}, {img2.shape}.'
    side, power = PRESETS[preset]
    img, img2, mask = crop(crop_border, img, img2, mask)
    if side is not None:
        img, img2, mask = (v if v is None else _resize(v, side) for v in (img, img2, mask))
    chosen = select_region(img.shape, region, mask)
    difference = np.abs(bgr2lab(img, white) - bgr2lab(img2, white))[chosen]
    return float((np.sum(difference**power) / len(difference))**(1 / power)) if len(difference) else np.nan


def _resize(img, side):
    """MATLAB's imresize of a uint8 image: bicubic with antialiasing, rounded."""
    img = np.clip(np.round(img), 0, 255)
    img = img[..., None] if img.ndim == 2 else img
    return np.clip(np.round(resize_bicubic(img, side, side)), 0, 255).astype(np.uint8)
