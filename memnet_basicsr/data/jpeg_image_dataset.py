import numpy as np

from basicsr.utils.registry import DATASET_REGISTRY
from .degraded_image_base import DegradedImageDataset
from .jpeg_util import compress_jpeg


@DATASET_REGISTRY.register()
class JPEGImageDataset(DegradedImageDataset):
    """Compressed and clean pairs made from clean pictures by JPEG at a quality.

    The protocol of MemNet (`A Persistent Memory Network for Image Restoration <https://arxiv.org/abs/1708.02209>`_):
    the luminance (Y of YCbCr) is compressed as a picture of one channel. With ``color: rgb`` the colour picture is
    compressed as JPEG does it (chroma at half the resolution). A training patch is bit for bit a part of the
    compressed whole picture (unless that is smaller than the patch): its window starts on the grid of JPEG's blocks.

    Args:
        opt (dict): Options of :class:`DegradedImageDataset` (dataroot_gt, io_backend, gt_size, use_hflip, use_rot,
            color with default ``y``) and:
            quality (int | list[int]): JPEG quality, 1..100. Training draws one of a list for each sample; a
                validation set has one. Or ``quality_range``, see there.
            double_prob (float): Share of the samples that were compressed twice, the first time at another quality
                and with other blocks (shifted by up to 7 pixels), as images of the web are. The first quality is
                uniform in 20..95. Default: 0.
            full_chroma_prob (float): Share of the colour samples whose chroma keeps the whole resolution (4:4:4)
                instead of half of it (4:2:0). Default: 0.
    """
    level_key = 'quality'
    range_key = 'quality_range'
    default_color = 'y'
    whole_levels = True

    def __init__(self, opt):
        super().__init__(opt)
        self.double_prob, self.full_chroma_prob = map(self.probability, ('double_prob', 'full_chroma_prob'))

    def check_level(self, level):
        fine = isinstance(level, int) and 1 <= level <= 100
        return None if fine else 'is not a JPEG quality: it must be a whole number in 1..100'

    def window(self, level):
        # blocks of 8 pixels; in colour blocks of 16, and the chroma is interpolated across their edges
        return (16, 16) if self.color == 'rgb' else (8, 0)

    def degrade(self, img, level, generator):
        # no draws without these options
        if self.double_prob and generator.uniform() < self.double_prob:
            top, left = generator.randint(8, size=2)
            padded = np.pad(img, ((top, 0), (left, 0), (0, 0)), mode='edge')
            img = np.ascontiguousarray(compress_jpeg(padded, generator.randint(20, 96))[top:, left:])
        full = self.full_chroma_prob and generator.uniform() < self.full_chroma_prob
        return compress_jpeg(img, level, '444' if full else '420').astype(np.float32) / 255.
