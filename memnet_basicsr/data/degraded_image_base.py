import hashlib
import numpy as np
import random
from torch.utils import data

from basicsr.data.transforms import augment
from basicsr.utils import get_root_logger, img2tensor
from ..errors import UsageError
from .color_util import convert_color
from .image_source import ImageSource
from .options import DegradedImageOptions
from .patch_util import random_corner, reflect_pad


class DegradedImageDataset(data.Dataset):
    """Base of datasets that degrade clean images on the fly; subclasses implement :meth:`degrade`.

    In training, every sample draws its level, patch, flips and noise from the global generators ``random`` and
    ``np.random``, which the loader seeds per sample. A patch equals a crop of the degraded whole image, since a window
    around it is degraded. In validation, whole images are degraded at one level. Their randomness depends only on the
    image's key, the level and ``noise_seed``: it is the same on every machine, and for an LMDB as for the folder that
    it was made from.

    Args:
        opt (dict): Options of the dataset, see :class:`DegradedImageOptions`. A subclass declares the option that
            holds the level in its attribute ``Options``. Training draws a level from a list, or uniformly from a range
            (integers where the level is an integer, both ends included); a validation set has one level. ``clean_prob``
            trains the network to preserve clean images, and ``gray_prob`` a color network to restore gray images.
            One-channel images are used as they are, whatever ``color``.

    Items: ``{'lq', 'gt', 'lq_path', 'gt_path'}``; images are float32 (C, H, W), RGB, [0, 1].

    Raises:
        UsageError: Data root missing or empty, LMDB not complete, unreadable image (at reading), wrong option.
    """
    Options = DegradedImageOptions
    whole_levels = False  # whether levels are whole numbers

    def __init__(self, opt):
        super().__init__()
        self.opt = opt
        self.options = self.Options.read(opt, f'dataset {opt.get("name", "")} ({type(self).__name__})')
        self.training, self.color = self.options.training, self.options.color
        self.range, self.levels = self.options.range, self.options.levels
        self.clean_prob, self.gray_prob = self.options.clean_prob, self.options.gray_prob
        try:
            self.source = ImageSource(self.options.dataroot_gt, {'type': self.options.io_backend.type},
                                        self.options.meta_info_file)  # yapf: disable
        except UsageError as error:
            raise self._wrong(f'dataroot_gt: {error}') from None
        if self.color != 'rgb' and self.source.any_color():
            get_root_logger().info(f'Dataset {opt.get("name", type(self).__name__)}: color images of '
                                   f'{self.options.dataroot_gt} are converted ({self.color}).')

    def window(self, level):
        """Grid and margin in pixels of the window that decides a patch's degradation."""
        return 1, 0

    def trim(self, img, level):
        """Cut a clean image to a size that the degradation can take."""
        return img

    def degrade(self, img, level, generator):
        """Degrade a clean image.

        Args:
            img (ndarray): uint8, (H, W, 1), or (H, W, 3) BGR.
            level (int | float | str): Level, or kind such as 'blur+noise' (MixedImageDataset).
            generator (RandomState | module): Where randomness comes from.

        Returns:
            ndarray: float32, of the same shape, [0, 1] (not clipped).
        """
        raise NotImplementedError

    def __len__(self):
        return len(self.source)

    def __getitem__(self, index):
        path = self.source.paths[index]
        img = self.source.read(index)
        if self.training:
            level = self._draw_level()
            img_lq, img_gt = self._training_pair(self.trim(img, level), level)
        else:
            level = self.levels[0]
            img = convert_color(self.trim(img, level), self.color)
            img_lq = self.degrade(img, level, self._generator(self.source.keys[index], level))
            img_gt = img.astype(np.float32) / 255.
        img_lq, img_gt = img2tensor([img_lq, img_gt], bgr2rgb=True, float32=True)
        return {'lq': img_lq, 'gt': img_gt, 'lq_path': path, 'gt_path': path}

    def _training_pair(self, img, level):
        size = self.options.gt_size
        grid, margin = self.window(level)
        least = -(-size // grid) * grid  # a padded image still fills the grid
        img = reflect_pad(img, least, least)
        top, left = random_corner(img, size)
        y0, y1 = self._span(top, size, grid, margin, img.shape[0])
        x0, x1 = self._span(left, size, grid, margin, img.shape[1])
        is_gray = self.gray_prob and random.random() < self.gray_prob
        img = convert_color(np.ascontiguousarray(img[y0:y1, x0:x1]), 'y' if is_gray else self.color)
        patch = np.s_[top - y0:top - y0 + size, left - x0:left - x0 + size]
        img_gt = img[patch].astype(np.float32) / 255.
        is_clean = self.clean_prob and random.random() < self.clean_prob
        img_lq = img_gt if is_clean else self.degrade(img, level, np.random)[patch].copy()
        if is_gray:
            img_lq, img_gt = np.repeat(img_lq, 3, axis=2), np.repeat(img_gt, 3, axis=2)
        img_lq, img_gt = augment([img_lq, img_gt], self.options.use_hflip, self.options.use_rot)
        return np.ascontiguousarray(img_lq), np.ascontiguousarray(img_gt)

    @staticmethod
    def _span(start, size, grid, margin, end):
        """First and last + 1 pixel of the window along one axis, on the grid and inside the image."""
        return max(0, (start - margin) // grid * grid), min(end, -(-(start + size + margin) // grid) * grid)

    def _generator(self, key, level):
        """Generator for a validation image. NumPy guarantees that the stream of RandomState does not change."""
        text = f'{key}|{level if isinstance(level, str) else float(level)}|{self.options.noise_seed}'
        return np.random.RandomState(np.frombuffer(hashlib.sha256(text.encode()).digest(), '<u4'))

    def _draw_level(self):
        if self.range is None:
            return random.choice(self.levels)
        low, high = self.range
        return random.randint(low, high) if self.whole_levels else random.uniform(low, high)

    def _wrong(self, message):
        return UsageError(f'dataset {self.opt.get("name", "")} ({type(self).__name__}): {message}')
