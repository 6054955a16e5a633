import math
import numpy as np

from basicsr.utils.registry import DATASET_REGISTRY
from .degraded_image_base import DegradedImageDataset
from .jpeg_util import compress_jpeg


@DATASET_REGISTRY.register()
class NoisyImageDataset(DegradedImageDataset):
    """Noisy and clean pairs from clean pictures: lq = gt + sigma / 255 * n, n ~ N(0, 1), neither clipped nor rounded.

    The protocol of MemNet (`A Persistent Memory Network for Image Restoration <https://arxiv.org/abs/1708.02209>`_):
    gray by luminance weights, not Y of YCbCr. Validation noise is fixed: same picture, same level, same noise.

    Args:
        opt (dict): Options of :class:`DegradedImageDataset` (dataroot_gt, io_backend, gt_size, use_hflip, use_rot,
            noise_seed, color with default ``gray``) and:
            sigma (float | list[float]): Standard deviation of the noise on the scale 0..255, not negative.
                Training draws one of a list for each sample; a validation set has one. Or ``sigma_range``, see there.
            camera_prob (float): Share of the samples whose noise is that of a camera instead: the standard deviation
                grows with the signal, sigma * sqrt(1 - t + 2 t gt) with t uniform in [0, 1], and the result is clipped
                and rounded to 8 bits. Default: 0.
            jpeg_prob (float): Share of the samples that are rounded to 8 bits and compressed after the noise, as a
                telephone stores them. Default: 0.
            jpeg_range (list[int]): Lowest and highest quality of this compression. Default: [60, 95].
    """
    level_key = 'sigma'
    range_key = 'sigma_range'

    def __init__(self, opt):
        super().__init__(opt)
        self.camera_prob, self.jpeg_prob = self.probability('camera_prob'), self.probability('jpeg_prob')
        self.jpeg_range = opt.get('jpeg_range', [60, 95])
        if not is_range(self.jpeg_range, 1, 100):
            raise self._wrong(f'jpeg_range {self.jpeg_range!r} is not two qualities, [lowest, highest], in 1..100')

    def window(self, level):
        return (16, 16) if self.jpeg_prob else (1, 0)  # JPEG's blocks of colour

    def check_level(self, level):
        return None if level >= 0 and math.isfinite(level) else 'is not a noise level: it must not be negative'

    def degrade(self, img, level, generator):
        clean = img.astype(np.float32) / 255.
        noise = np.float32(level / 255.) * generator.standard_normal(img.shape).astype(np.float32)
        # no draws without these options: validation noise stays what it was
        camera = self.camera_prob and generator.uniform() < self.camera_prob
        jpeg = self.jpeg_prob and generator.uniform() < self.jpeg_prob
        if camera:
            share = np.float32(generator.uniform())
            noise *= np.sqrt(1 - share + 2 * share * clean)
        noisy = clean + noise
        if not camera and not jpeg:
            return noisy
        noisy = to_uint8(noisy)
        if jpeg:
            noisy = compress_jpeg(noisy, generator.randint(self.jpeg_range[0], self.jpeg_range[1] + 1))
        return noisy.astype(np.float32) / 255.


def is_range(value, lowest, highest):
    """Whether a value is two whole numbers [a, b] with lowest <= a <= b <= highest."""
    numbers = isinstance(value, (list, tuple)) and len(value) == 2 and all(type(v) is int for v in value)
    return numbers and lowest <= value[0] <= value[1] <= highest


def to_uint8(img):
    return np.clip(img * 255, 0, 255).round().astype(np.uint8)
