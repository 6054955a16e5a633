"""Datasets of the images to analyze."""
import numpy as np
from os import path as osp
from torch.utils.data import Dataset, Subset

from basicsr.utils import img2tensor
from basicsr.utils.registry import DATASET_REGISTRY
from ..data.color_util import convert_color
from ..data.image_source import ImageSource
from ..errors import UsageError

# level option -> dataset, and the color that a one-channel network sees
DEGRADATIONS = {
    'sigma': ('NoisyImageDataset', 'gray'),
    'quality': ('JPEGImageDataset', 'y'),
    'downscale': ('BicubicImageDataset', 'y')
}


def degraded_images(folder, level, num_channels, noise_seed=0):
    """Build the validation set of a folder of clean images, degraded as in MemNet's protocol.

    Args:
        folder (str): Clean images: a folder, or an LMDB (name ends with .lmdb).
        level (str): 'sigma=50' (noise), 'quality=10' (JPEG) or 'downscale=3' (super-resolution).
        num_channels (int): Input channels of the network: 1 (gray for noise, else luminance) or 3 (RGB).
        noise_seed (int): Seed of the noise. Default: 0.

    Returns:
        DegradedImageDataset: Items ``lq`` and ``gt``, float32, (C, H, W), [0, 1].

    Raises:
        UsageError: If the level is not valid or the folder holds no images.
    """
    key, _, number = level.partition('=')
    if key not in DEGRADATIONS or not number.isdigit():
        raise UsageError(f'level {level}: use {"=N, ".join(DEGRADATIONS)}=N, for example sigma=50')
    name, color = DEGRADATIONS[key]
    color = color if num_channels == 1 else 'rgb'
    return DATASET_REGISTRY.get(name)({**_options(folder, color), 'noise_seed': noise_seed, key: int(number)})


def _options(gt, color):
    return dict(name=gt, phase='val', dataroot_gt=gt, io_backend=_io_backend(gt), color=color)


def _io_backend(source):
    return {'type': 'lmdb' if source.rstrip('/').endswith('.lmdb') else 'disk'}


class Images(Dataset):
    """Images without ground truth.

    Items: ``lq``, float32, (C, H, W), RGB or gray, [0, 1], and ``name``.

    Args:
        source (str): An image file, a folder, or an LMDB (name ends with .lmdb).
        num_channels (int): Input channels of the network: 1 (gray) or 3 (RGB). Default: 3.

    Raises:
        UsageError: If the source does not exist, holds no images, or an image cannot be read.
    """

    def __init__(self, source, num_channels=3):
        self.color = 'gray' if num_channels == 1 else 'rgb'
        file = osp.basename(source) if osp.isfile(source) else None
        self.source = ImageSource(osp.dirname(source) or '.' if file else source, _io_backend(source))
        self.indices = [i for i, path in enumerate(self.source.paths) if file in (None, osp.basename(path))]
        if not self.indices:
            raise UsageError(f'{source} is not an image file')

    def __len__(self):
        return len(self.indices)

    def select(self, index):
        """Return the image of ``--index``; raise UsageError if there is none."""
        if not 0 <= index < len(self):
            raise UsageError(f'--index {index} must be in 0..{len(self) - 1}')
        return self[index]

    def __getitem__(self, index):
        img = convert_color(self.source.read(self.indices[index]), self.color).astype(np.float32) / 255.
        return {'lq': img2tensor(img, bgr2rgb=True, float32=True), 'name': self.source.keys[self.indices[index]]}


def protocol(level):
    """Settings of PSNR at a level: float for noise and JPEG; uint8, cropped by the scale for super-resolution.

    Args:
        level (str): See :func:`degraded_images`.

    Returns:
        dict: ``shave`` (int, pixels) and ``quantize`` (bool).
    """
    key, _, number = level.partition('=')
    is_sr = key == 'downscale'
    return {'shave': int(number) if is_sr else 0, 'quantize': is_sr}


def first_images(dataset, count=None):
    """Return the first images of a dataset.

    Args:
        dataset (Dataset): The dataset.
        count (int | None): Maximum number of images; None keeps all. Default: None.

    Returns:
        Subset: The images.

    Raises:
        UsageError: If the number is not positive.
    """
    if count is not None and count < 1:
        raise UsageError(f'--max-images {count}: must be positive')
    return Subset(dataset, range(min(len(dataset), count or len(dataset))))
