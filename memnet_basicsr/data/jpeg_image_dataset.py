import numpy as np

from basicsr.utils.registry import DATASET_REGISTRY
from .degraded_image_base import DegradedImageDataset
from .jpeg_util import compress_jpeg
from .options import JPEGImageOptions


@DATASET_REGISTRY.register()
class JPEGImageDataset(DegradedImageDataset):
    """Compressed and clean pairs made from clean images by JPEG at a quality.

    The protocol of MemNet (`A Persistent Memory Network for Image Restoration <https://arxiv.org/abs/1708.02209>`_):
    the luminance (Y of YCbCr) is compressed as an image of one channel. With ``color: rgb`` the color image is
    compressed as JPEG does it (chroma at half the resolution). A training patch is bit for bit a part of the
    compressed whole image (unless that is smaller than the patch): its window starts on the grid of JPEG's blocks.

    Args:
        opt (dict): See :class:`JPEGImageOptions`. Samples that are compressed twice, as images of the web are, have a
            first quality uniform in 20..95 and blocks shifted by up to 7 pixels.
    """
    Options = JPEGImageOptions
    whole_levels = True

    def window(self, level):
        # blocks of 8 pixels; in color blocks of 16, and the chroma is interpolated across their edges
        return (16, 16) if self.color == 'rgb' else (8, 0)

    def degrade(self, img, level, generator):
        # no draws without these options
        if self.options.double_prob and generator.uniform() < self.options.double_prob:
            top, left = generator.randint(8, size=2)
            padded = np.pad(img, ((top, 0), (left, 0), (0, 0)), mode='edge')
            img = np.ascontiguousarray(compress_jpeg(padded, generator.randint(20, 96))[top:, left:])
        full = self.options.full_chroma_prob and generator.uniform() < self.options.full_chroma_prob
        return compress_jpeg(img, level, '444' if full else '420').astype(np.float32) / 255.
