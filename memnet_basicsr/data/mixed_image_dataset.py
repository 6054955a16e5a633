import cv2
import numpy as np

from basicsr.utils.registry import DATASET_REGISTRY
from .degraded_image_base import DegradedImageDataset
from .jpeg_util import compress_jpeg
from .noisy_image_dataset import to_uint8
from .options import MixedImageOptions


@DATASET_REGISTRY.register()
class MixedImageDataset(DegradedImageDataset):
    """Pairs for blind restoration of a mixture: images with blur, noise or JPEG compression, alone or together.

    Degradations are applied in this order: Gaussian blur, white Gaussian noise, JPEG; the result has 8 bits. Their
    strengths are uniform in a range, for each sample; in validation they depend on image, kind and ``noise_seed``.

    Args:
        opt (dict): See :class:`MixedImageOptions`.
    """
    Options = MixedImageOptions

    def window(self, level):
        grid, radius = (16 if 'jpeg' in level else 1), (self._radius() if 'blur' in level else 0)
        return grid, radius and radius + grid - 1  # the whole first block is blurred as in the whole image

    def degrade(self, img, level, generator):
        options, img = self.options, img.astype(np.float32) / 255.
        # Draw all strengths, so that the same generator state gives the same strengths for every kind.
        blur, sigma = generator.uniform(*options.blur_range), generator.uniform(*options.sigma_range)
        quality = generator.randint(options.quality_range[0], options.quality_range[1] + 1)
        if 'blur' in level:
            side = 2 * self._radius() + 1
            img = cv2.GaussianBlur(img, (side, side), blur, borderType=cv2.BORDER_REFLECT_101).reshape(img.shape)
        if 'noise' in level:
            img = img + np.float32(sigma / 255.) * generator.standard_normal(img.shape).astype(np.float32)
        img = to_uint8(img)
        return (compress_jpeg(img, quality) if 'jpeg' in level else img).astype(np.float32) / 255.

    def _radius(self):
        return int(np.ceil(3 * self.options.blur_range[1]))
