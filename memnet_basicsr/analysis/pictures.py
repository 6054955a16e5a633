from torch.utils.data import Subset

from basicsr.utils.registry import DATASET_REGISTRY
from ..errors import UsageError

# option of the level -> data set, and the colour that a network of one channel sees
DEGRADATIONS = {
    'sigma': ('NoisyImageDataset', 'gray'),
    'quality': ('JPEGImageDataset', 'y'),
    'downscale': ('BicubicImageDataset', 'y')
}


def degraded_pictures(folder, level, num_channels, noise_seed=0):
    """Validation set of a folder of clean pictures, degraded as MemNet's protocol has it.

    Args:
        folder (str): Clean pictures: a folder, or an LMDB (its name ends with .lmdb).
        level (str): 'sigma=50' (noise), 'quality=10' (JPEG) or 'downscale=3' (super-resolution).
        num_channels (int): Channels of the network: 1 (gray for noise, else luminance) or 3 (RGB).
        noise_seed (int): Another seed gives other noise. Default: 0.

    Returns:
        Dataset: See :class:`DegradedImageDataset`.

    Raises:
        UsageError: If the level is not such, or the folder holds no pictures.
    """
    key, _, number = level.partition('=')
    if key not in DEGRADATIONS or not number.isdigit():
        raise UsageError(f'level {level}: give {"=N, ".join(DEGRADATIONS)}=N, such as sigma=50')
    name, color = DEGRADATIONS[key]
    kind = 'lmdb' if folder.rstrip('/').endswith('.lmdb') else 'disk'
    return DATASET_REGISTRY.get(name)({
        'name': f'of {folder}',
        'phase': 'val',
        'dataroot_gt': folder,
        'io_backend': {
            'type': kind
        },
        'color': color if num_channels == 1 else 'rgb',
        'noise_seed': noise_seed,
        key: int(number)
    })


def protocol(level):
    """How PSNR is measured at a level: float for noise and JPEG, uint8 and shaved by the scale for super-resolution.

    Args:
        level (str): As of :func:`degraded_pictures`.

    Returns:
        dict: ``shave`` (int, pixels) and ``quantize`` (bool).
    """
    key, _, number = level.partition('=')
    is_sr = key == 'downscale'
    return {'shave': int(number) if is_sr else 0, 'quantize': is_sr}


def first_pictures(dataset, count=None):
    """The first pictures of a data set.

    Args:
        dataset (Dataset): Data set.
        count (int | None): How many; None for all. Default: None.

    Returns:
        Subset: The pictures, all of them where there are fewer.

    Raises:
        UsageError: If the number is not positive.
    """
    if count is not None and count < 1:
        raise UsageError(f'number of pictures {count}: must be positive')
    return Subset(dataset, range(min(len(dataset), count or len(dataset))))
