import cv2
import numpy as np

from basicsr.utils.registry import METRIC_REGISTRY
from .regions import crop, select_region
from .ssim_map import as_float, gaussian, ssim_map


@METRIC_REGISTRY.register()
def calculate_region_psnr(img, img2, crop_border, mask=None, region='all', **kwargs):
    """PSNR of a region's pixels alone: 10 log10(255^2 / MSE), MSE over the region's pixels and the channels.

    The tables of shadow removal print another, higher figure: :func:`calculate_masked_psnr`.

    Args:
        img (ndarray): (H, W, C) or (H, W), [0, 255].
        img2 (ndarray): As ``img``.
        crop_border (int): Pixels left out at each side.
        mask (ndarray | None): (H, W), [0, 255]; needed for every region but ``all``. Default: None.
        region (str): ``all``, ``shadow`` or ``nonshadow``, see :func:`select_region`. Default: 'all'.

    Returns:
        float: PSNR in dB; NaN if the region is empty, infinite if the images agree there.

    Raises:
        UsageError: Unknown region, missing mask.
    """
    assert img.shape == img2.shape, f'Image shapes are different: {img.shape}, {img2.shape}.'
    img, img2, mask = crop(crop_border, img, img2, mask)
    chosen = select_region(img.shape, region, mask)
    difference = (as_float(img) - as_float(img2))[chosen]
    if not len(difference):
        return np.nan
    mse = np.mean(difference**2)
    return float(10 * np.log10(255**2 / mse)) if mse else np.inf


@METRIC_REGISTRY.register()
def calculate_region_ssim(img, img2, crop_border, mask=None, region='all', **kwargs):
    """Mean of the SSIM map over a region's pixels and the channels.

    The map is that of BasicSR's ``calculate_ssim`` (11x11 Gaussian window, 5 pixels lost at each side); a window along
    the region's edge sees pixels of both sides. The tables of shadow removal print another, higher figure:
    :func:`calculate_masked_ssim`.

    Args:
        img (ndarray): (H, W, C) or (H, W), [0, 255], at least 11x11.
        img2 (ndarray): As ``img``.
        crop_border (int): Pixels left out at each side.
        mask (ndarray | None): (H, W), [0, 255]; needed for every region but ``all``. Default: None.
        region (str): ``all``, ``shadow`` or ``nonshadow``, see :func:`select_region`. Default: 'all'.

    Returns:
        float: SSIM, at most 1; NaN if the region is empty.

    Raises:
        UsageError: Unknown region, missing mask.
    """
    assert img.shape == img2.shape, f'Image shapes are different: {img.shape}, {img2.shape}.'
    img, img2, mask = crop(crop_border, img, img2, mask)
    chosen = select_region(img.shape, region, mask)
    similarity = ssim_map(as_float(img), as_float(img2), lambda v: gaussian(v, cv2.BORDER_REFLECT_101))
    values = similarity[5:-5, 5:-5][chosen[5:-5, 5:-5]]
    return float(values.mean()) if len(values) else np.nan
