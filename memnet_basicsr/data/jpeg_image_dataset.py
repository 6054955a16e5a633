import cv2
import numpy as np

from basicsr.utils.registry import DATASET_REGISTRY
from .degraded_image_base import DegradedImageDataset


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
                validation set has one.
    """
    level_key = 'quality'
    default_color = 'y'

    def check_level(self, level):
        fine = isinstance(level, int) and 1 <= level <= 100
        return None if fine else 'is not a JPEG quality: it must be a whole number in 1..100'

    def window(self, level):
        # blocks of 8 pixels; in colour blocks of 16, and the chroma is interpolated across their edges
        return (16, 16) if self.color == 'rgb' else (8, 0)

    def degrade(self, img, level, generator):
        _, code = cv2.imencode('.jpg', img, [cv2.IMWRITE_JPEG_QUALITY, level])
        return cv2.imdecode(code, cv2.IMREAD_ANYCOLOR).reshape(img.shape).astype(np.float32) / 255.
