import math
import numpy as np

from basicsr.utils.registry import DATASET_REGISTRY
from .degraded_image_base import DegradedImageDataset


@DATASET_REGISTRY.register()
class NoisyImageDataset(DegradedImageDataset):
    """Noisy and clean pairs from clean pictures: lq = gt + sigma / 255 * n, n ~ N(0, 1), neither clipped nor rounded.

    The protocol of MemNet (`A Persistent Memory Network for Image Restoration <https://arxiv.org/abs/1708.02209>`_):
    gray by luminance weights, not Y of YCbCr. Validation noise is fixed: same picture, same level, same noise.

    Args:
        opt (dict): Options of :class:`DegradedImageDataset` (dataroot_gt, io_backend, gt_size, use_hflip, use_rot,
            noise_seed, color with default ``gray``) and:
            sigma (float | list[float]): Standard deviation of the noise on the scale 0..255, not negative.
                Training draws one of a list for each sample; a validation set has one.
    """
    level_key = 'sigma'

    def check_level(self, level):
        return None if level >= 0 and math.isfinite(level) else 'is not a noise level: it must not be negative'

    def degrade(self, img, level, generator):
        noise = generator.standard_normal(img.shape).astype(np.float32)
        return img.astype(np.float32) / 255. + np.float32(level / 255.) * noise
