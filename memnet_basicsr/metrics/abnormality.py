import numpy as np

from basicsr.utils.registry import METRIC_REGISTRY
from ..errors import UsageError
from .regions import crop, select_region


@METRIC_REGISTRY.register()
def calculate_abnormality_auroc(img, img2, crop_border, mask=None, abnormality=None, **kwargs):
    """AUROC of an abnormality map as a detector of the degraded region, which the mask marks.

    The probability that a pixel inside the region has a higher value than one outside, ties counting half: (sum of the
    region's ranks - n (n + 1) / 2) / (n m), n pixels inside and m outside. 0.5 is chance, 1 is perfect.

    Args:
        img (ndarray): Restored image; only its size is used.
        img2 (ndarray): Not used.
        crop_border (int): Pixels left out at each side.
        mask (ndarray): (H, W), [0, 255].
        abnormality (ndarray): (H, W) or (H, W, 1), any range; ``val: abnormality: true`` of MemoryNetModel makes it.

    Returns:
        float: AUROC, [0, 1]; NaN if the mask is empty or full.

    Raises:
        UsageError: No mask or no map.
    """
    if abnormality is None:
        raise UsageError('calculate_abnormality_auroc needs `val: abnormality: true` and model_type: MemoryNetModel')
    region = select_region(img.shape, 'shadow', mask)
    values = np.asarray(abnormality, np.float64).reshape(img.shape[:2])
    inside, values = (v.ravel() for v in crop(crop_border, region, values))
    n, m = int(inside.sum()), int((~inside).sum())
    if not n or not m:
        return float('nan')
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return float((ranks[inside].sum() - n * (n + 1) / 2) / (n * m))
