import numpy as np
from os import path as osp
from torch.utils.data import Dataset, Subset

from basicsr.utils import img2tensor
from basicsr.utils.registry import DATASET_REGISTRY
from ..data.color_util import convert_color
from ..data.image_source import PictureSource, make_key, read_picture
from ..data.paired_masked_dataset import PairedMaskedDataset
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
    return DATASET_REGISTRY.get(name)({
        'name': f'of {folder}',
        'phase': 'val',
        'dataroot_gt': folder,
        'io_backend': {
            'type': io_type(folder)
        },
        'color': color if num_channels == 1 else 'rgb',
        'noise_seed': noise_seed,
        key: int(number)
    })


class Pictures(Dataset):
    """Pictures as they are.

    Items: ``{'lq', 'name'}``, the picture float32 (C, H, W), RGB or gray, [0, 1], and what it is called.

    Args:
        source (str): A picture file, a folder, or an LMDB (its name ends with .lmdb).
        num_channels (int): Channels of the network: 1 (gray) or 3 (RGB). Default: 3.

    Raises:
        UsageError: If there is no such file or folder, it holds no pictures, or one cannot be read.
    """

    def __init__(self, source, num_channels=3):
        self.color = 'gray' if num_channels == 1 else 'rgb'
        self.file = source if osp.isfile(source) else None
        self.source = None if self.file else PictureSource(source, {'type': io_type(source)})

    def __len__(self):
        return 1 if self.file else len(self.source)

    def __getitem__(self, index):
        img = read_picture(self.file) if self.file else self.source.read(index)
        img = convert_color(img, self.color).astype(np.float32) / 255.
        name = make_key(osp.basename(self.file)) if self.file else self.source.keys[index]
        return {'lq': img2tensor(img, bgr2rgb=True, float32=True), 'name': name}


def picture_pairs(lq, gt, num_channels=3):
    """Degraded and clean pictures of the same names.

    Args:
        lq (str): Degraded pictures: a folder or an LMDB (its name ends with .lmdb).
        gt (str): Clean pictures, the same.
        num_channels (int): Channels of the network: 1 (gray) or 3 (RGB). Default: 3.

    Returns:
        PairedMaskedDataset: Items ``lq`` and ``gt``.

    Raises:
        UsageError: If there are none or they do not match.
    """
    return PairedMaskedDataset({
        'name': f'of {lq} and {gt}',
        'phase': 'val',
        'dataroot_lq': lq,
        'dataroot_gt': gt,
        'io_backend': {
            'type': io_type(gt)
        },
        'color': 'gray' if num_channels == 1 else 'rgb'
    })


def io_type(source):
    """'lmdb' where a name ends with .lmdb, else 'disk'."""
    return 'lmdb' if source.rstrip('/').endswith('.lmdb') else 'disk'


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
