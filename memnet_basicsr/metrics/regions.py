import numpy as np

from ..errors import UsageError

REGIONS = ('all', 'shadow', 'nonshadow')


def select_region(shape, region, mask):
    """The pixels of a region.

    Args:
        shape (tuple[int]): Height and width of the image.
        region (str): ``all``; ``shadow``: mask > 0, which includes the gray pixels along the edge; ``nonshadow``: the
            rest.
        mask (ndarray | None): (H, W), [0, 255]. Not needed for ``all``.

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
    return mask > 0 if region == 'shadow' else mask <= 0


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
