import numpy as np
import torch

from basicsr.data.transforms import mod_crop
from basicsr.utils import bgr2ycbcr
from basicsr.utils.registry import DATASET_REGISTRY
from .bicubic_util import resize_bicubic
from .degraded_image_base import DegradedImageDataset
from .jpeg_util import compress_jpeg
from .noisy_image_dataset import to_uint8
from .options import BicubicImageOptions


@DATASET_REGISTRY.register()
class BicubicImageDataset(DegradedImageDataset):
    """Pairs for super-resolution of an up-scaled input: the clean image, down- and up-scaled bicubically.

    The protocol of MemNet (`A Persistent Memory Network for Image Restoration <https://arxiv.org/abs/1708.02209>`_):
    luminance rounded to uint8, cut to a multiple of the scale, MATLAB's bicubic with antialiasing down and up; the
    down-scaled and the up-scaled image are neither rounded nor clipped (this gives the published figures of Set5,
    33.66/.9299, 30.39/.8682, 28.42/.8104; rounding the small image costs .01 dB). lq has the size of gt. In training,
    the small image of some samples can be noisy or JPEG-compressed (``noise_prob``, ``jpeg_prob``).

    Args:
        opt (dict): See :class:`BicubicImageOptions` (``scale`` is the network's, 1). With ``with_chroma`` items of
            validation hold ``chroma``, float32 (2, H, W), Cb and Cr in [0, 1] of the down- and up-scaled color image
            (MATLAB's ``rgb2ycbcr``), for color images to be saved; gray images give 128 / 255.
    """
    Options = BicubicImageOptions

    def window(self, level):
        # margin in small pixels: 2 for upscaling, 2 for downscaling, and the grid for alignment
        grid = 16 if self.options.jpeg_prob else 1  # small pixels; the first block is whole, as in the whole image
        return grid * level, (4 + grid) * level

    def trim(self, img, level):
        return mod_crop(img, level)

    def degrade(self, img, level, generator):
        h, w = img.shape[:2]
        small = resize_bicubic(img.astype(np.float32) / 255., h // level, w // level)
        if self.options.noise_prob and generator.uniform() < self.options.noise_prob:
            sigma = np.float32(generator.uniform(0, self.options.noise_sigma) / 255.)
            small = small + sigma * generator.standard_normal(small.shape).astype(np.float32)
        if self.options.jpeg_prob and generator.uniform() < self.options.jpeg_prob:
            quality = generator.randint(self.options.jpeg_range[0], self.options.jpeg_range[1] + 1)
            small = compress_jpeg(to_uint8(small), quality).astype(np.float32) / 255.
        return resize_bicubic(small, h, w)

    def __getitem__(self, index):
        item = super().__getitem__(index)
        if self.options.with_chroma and not self.training:
            item['chroma'] = self._chroma(index)
        return item

    def _chroma(self, index):
        img = mod_crop(self.source.read(index), self.levels[0])
        if img.shape[2] == 1:
            return torch.full((2, *img.shape[:2]), 128 / 255)
        chroma = self.degrade(bgr2ycbcr(img)[..., 1:], self.levels[0], None)
        return torch.from_numpy(np.ascontiguousarray(chroma.transpose(2, 0, 1)))
