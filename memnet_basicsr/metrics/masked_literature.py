from basicsr.metrics.psnr_ssim import calculate_psnr, calculate_ssim
from basicsr.utils.registry import METRIC_REGISTRY
from .regions import crop, select_region
from .ssim_map import as_float


@METRIC_REGISTRY.register()
def calculate_masked_psnr(img, img2, crop_border, mask=None, region='shadow', **kwargs):
    """PSNR of a region as reported in shadow removal papers: both images are black outside the region.

    10 log10(255^2 / MSE), MSE over **all** pixels. Black pixels have no error, so a region that covers a share s of the
    image gains -10 log10(s) dB over :func:`calculate_region_psnr`.

    Args:
        img (ndarray): (H, W, C) or (H, W), [0, 255].
        img2 (ndarray): As ``img``.
        crop_border (int): Pixels left out at each side.
        mask (ndarray): (H, W), [0, 255].
        region (str): ``shadow``, ``nonshadow`` or ``all``, see :func:`select_region`. Default: 'shadow'.

    Returns:
        float: PSNR in dB.

    Raises:
        UsageError: Unknown region, missing mask.
    """
    return float(calculate_psnr(*_blackened(img, img2, crop_border, mask, region), 0))


@METRIC_REGISTRY.register()
def calculate_masked_ssim(img, img2, crop_border, mask=None, region='shadow', **kwargs):
    """SSIM of a region as the tables of shadow removal have it: of two images that are black outside the region.

    BasicSR's ``calculate_ssim`` over all pixels, of which the black ones count as 1.

    Args:
        img (ndarray): (H, W, C) or (H, W), [0, 255].
        img2 (ndarray): As ``img``.
        crop_border (int): Pixels left out at each side.
        mask (ndarray): (H, W), [0, 255].
        region (str): ``shadow``, ``nonshadow`` or ``all``, see :func:`select_region`. Default: 'shadow'.

    Returns:
        float: SSIM, at most 1.

    Raises:
        UsageError: Unknown region, missing mask.
    """
    return float(calculate_ssim(*_blackened(img, img2, crop_border, mask, region), 0))


def _blackened(img, img2, crop_border, mask, region):
    assert img.shape == img2.shape, f'Image shapes are different: {img.shape}, {img2.shape}.'
    img, img2, mask = crop(crop_border, img, img2, mask)
    chosen = select_region(img.shape, region, mask)[..., None]
    return as_float(img) * chosen, as_float(img2) * chosen
