import numpy as np

from basicsr.utils.registry import DATASET_REGISTRY
from .degraded_image_base import DegradedImageDataset
from .jpeg_util import compress_jpeg
from .options import NoisyImageOptions


@DATASET_REGISTRY.register()
class NoisyImageDataset(DegradedImageDataset):
    """Noisy and clean pairs from clean images: lq = gt + sigma / 255 * n, n ~ N(0, 1), neither clipped nor rounded.

    The protocol of MemNet (`A Persistent Memory Network for Image Restoration <https://arxiv.org/abs/1708.02209>`_):
    gray by luminance weights, not Y of YCbCr. Validation noise is fixed: same image, same level, same noise.

    Args:
        opt (dict): See :class:`NoisyImageOptions`. Noise of a camera has the standard deviation
            sigma * sqrt(1 - t + 2 t gt) with t uniform in [0, 1], and is clipped and rounded to 8 bits. Samples that
            are compressed after the noise, as a phone stores them, are rounded to 8 bits first.
    """
    Options = NoisyImageOptions

    def window(self, level):
        return (16, 16) if self.options.jpeg_prob else (1, 0)  # JPEG's blocks of color

    def degrade(self, img, level, generator):
        clean = img.astype(np.float32) / 255.
        noise = np.float32(level / 255.) * generator.standard_normal(img.shape).astype(np.float32)
        # no draws without these options: validation noise stays what it was
        camera = self.options.camera_prob and generator.uniform() < self.options.camera_prob
        jpeg = self.options.jpeg_prob and generator.uniform() < self.options.jpeg_prob
        if camera:
            share = np.float32(generator.uniform())
            noise *= np.sqrt(1 - share + 2 * share * clean)
        noisy = clean + noise
        if not camera and not jpeg:
            return noisy
        noisy = to_uint8(noisy)
        if jpeg:
            noisy = compress_jpeg(noisy, generator.randint(self.options.jpeg_range[0], self.options.jpeg_range[1] + 1))
        return noisy.astype(np.float32) / 255.


def to_uint8(img):
    return np.clip(img * 255, 0, 255).round().astype(np.uint8)
