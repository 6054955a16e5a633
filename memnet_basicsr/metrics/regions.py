import cv2
import numpy as np

from ..errors import UsageError

REGIONS = ('all', 'shadow', 'nonshadow', 'penumbra')


def select_region(shape, region, mask, mask_threshold=0, band=5):
    """The pixels of a region.

    Args:
        shape (tuple[int]): Height and width of the image.
        region (str): ``all``; ``shadow``: mask > threshold; ``nonshadow``: the rest; ``penumbra``: pixels within
            ``band`` pixels of the mask's edge, on both sides.
        mask (ndarray | None): (H, W), [0, 255]. Not needed for ``all``.
        mask_threshold (float): The protocols' 0 counts the gray pixels along the edge as shadow. Default: 0.
        band (int): Half of the penumbra's width in pixels. Default: 5.

    Returns:
        ndarray: bool, (H, W).

    Raises:
        UsageError: Another region, no mask, a mask of another size.
    """
    if region not in REGIONS:
        raise UsageError(f'region {region!r} is not known; use one of {", ".join(REGIONS)}')
    if region == 'all':
        return np.ones(shape[:2], bool)
    if mask is None:
        raise UsageError(f'region {region} needs a mask; set dataroot_mask in the dataset (PairedMaskedDataset)')
    mask = np.squeeze(mask)
    if mask.shape != tuple(shape[:2]):
        raise UsageError(f'the mask is {mask.shape}, the image {tuple(shape[:2])}; they must have the same size')
    inside = mask > mask_threshold
    if region == 'shadow':
        return inside
    if region == 'nonshadow':
        return ~inside
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * band + 1, 2 * band + 1))
    inside = inside.astype(np.uint8)
    return cv2.dilate(inside, disc) > cv2.erode(inside, disc)


def crop(crop_border, *arrays):
    """Leave out pixels at each side of images and masks.

    Args:
        crop_border (int): Number of pixels.
        arrays (ndarray | None): (H, W) or (H, W, C).

    Returns:
        list[ndarray | None]: The cropped arrays.
    """
    inner = np.s_[crop_border:-crop_border, crop_border:-crop_border] if crop_border else np.s_[:, :]
    return [v if v is None else v[inner] for v in arrays]
