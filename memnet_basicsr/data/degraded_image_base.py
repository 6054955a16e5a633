import hashlib
import numpy as np
import random
from torch.utils import data

from basicsr.data.transforms import augment
from basicsr.utils import get_root_logger, img2tensor
from ..errors import UsageError
from .color_util import COLORS, convert_color
from .image_source import PictureSource
from .patch_util import random_corner, reflect_pad


class DegradedImageDataset(data.Dataset):
    """Base of data sets that degrade clean pictures themselves; a subclass says how.

    In training every sample draws its level, patch, flips and noise from the global generators ``random`` and
    ``np.random``, which the loader seeds per sample. A patch is exactly what one would cut from the degraded whole
    picture: the degradation sees a window around it. In validation a picture is degraded whole, at one level, and
    randomness depends on the picture's key, the level and ``noise_seed`` alone: the same on every machine, and for an
    LMDB as for the folder it was made from.

    Args:
        opt (dict): Options of the data set:
            name (str): Name in the log and in errors.
            phase (str): 'train', 'val' or 'test' (BasicSR adds it).
            dataroot_gt (str): Clean pictures: an LMDB, or a folder (subfolders do not count).
            io_backend (dict): ``{type: lmdb}`` or ``{type: disk}``.
            color (str): ``gray`` (0.2989 R + 0.5870 G + 0.1140 B), ``y`` (MATLAB's Y of YCbCr, 16..235) or ``rgb``.
                Colour pictures are converted, one-channel pictures are taken as they are. Default: the subclass's.
            gt_size (int): Side of a training patch in pixels; smaller pictures are reflect-padded. Training only.
            use_hflip (bool): Random horizontal flips. Training only. Default: False.
            use_rot (bool): Random vertical flips and transpositions. Training only. Default: False.
            gray_prob (float): With ``color: rgb``, share of training samples that are degraded as luminance and then
                repeated to three channels, so that the network also restores gray images. Default: 0.
            noise_seed (int): Another seed gives other validation noise. Default: 0.
            scale (int): The network's scale, which BasicSR copies here; must be 1 where it is given.
            <level option> (number | list): Level of the degradation. Training draws one of a list for each sample;
                a validation set has one level (write val_1, val_2, ... for several).
            <level option>_range (list): Instead of the level option, [lowest, highest]: training draws from it
                uniformly (whole numbers where the level is one, both ends included).
            clean_prob (float): Share of training samples that are not degraded, lq = gt, which teaches a network to
                leave good images alone. Default: 0.

    Items: ``{'lq', 'gt', 'lq_path', 'gt_path'}``; pictures are float32 (C, H, W), RGB, [0, 1].

    Raises:
        UsageError: Data root missing or empty, LMDB not complete, unreadable picture (at reading), wrong option.
    """
    level_key = None  # the option that holds the level or levels
    range_key = None  # the option that holds their range
    default_color = 'gray'
    whole_levels = False  # whether levels are whole numbers

    def __init__(self, opt):
        super().__init__()
        self.opt = opt
        self.training = opt.get('phase', 'train') == 'train'
        self.range = self._parse_range()
        self.levels = self._parse_levels() if self.range is None else self.range
        self.clean_prob, self.gray_prob = self.probability('clean_prob'), self.probability('gray_prob')
        if opt.get('scale', 1) != 1:
            raise self._wrong(f'scale {opt["scale"]} is the network\'s scale and must be 1: '
                              'the degraded picture has the size of the clean one')
        if opt.get('dataroot_gt') is None:
            raise self._wrong('dataroot_gt is missing')
        if self.training and (not isinstance(opt.get('gt_size'), int) or opt['gt_size'] < 1):
            raise self._wrong(f'gt_size {opt.get("gt_size")!r} must be a positive number of pixels')
        self.color = opt.get('color', self.default_color)
        if self.gray_prob and self.color != 'rgb':
            raise self._wrong(f'gray_prob needs color: rgb, but color is {self.color}')
        if self.color not in COLORS:
            raise self._wrong(f'color {self.color!r} is not known; use one of {", ".join(COLORS)}')
        try:
            self.source = PictureSource(opt['dataroot_gt'], opt.get('io_backend', {'type': 'disk'}))
        except UsageError as error:
            raise self._wrong(f'dataroot_gt: {error}') from None
        if self.color != 'rgb' and self.source.any_colour():
            get_root_logger().info(f'Data set {opt.get("name", type(self).__name__)}: colour pictures of '
                                   f'{opt["dataroot_gt"]} are converted ({self.color}).')

    def probability(self, key):
        """Read an option that is a share of the samples.

        Args:
            key (str): Name of the option.

        Returns:
            float: Its value in [0, 1]; 0 where it is not given.
        """
        value = self.opt.get(key, 0)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
            raise self._wrong(f'{key} {value!r} is not a probability; use a number in [0, 1]')
        return value

    def check_level(self, level):
        """Say what is wrong with one number of the level option, or None."""
        raise NotImplementedError

    def window(self, level):
        """Grid and margin in pixels of the window that decides a patch's degradation."""
        return 1, 0

    def trim(self, img, level):
        """Cut a clean picture to a size that the degradation can take."""
        return img

    def degrade(self, img, level, generator):
        """Degrade a clean picture.

        Args:
            img (ndarray): uint8, (H, W, 1), or (H, W, 3) BGR.
            level (int | float): Level of the degradation.
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
        size = self.opt['gt_size']
        grid, margin = self.window(level)
        least = -(-size // grid) * grid  # a padded picture still fills the grid
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
        img_lq, img_gt = augment([img_lq, img_gt], self.opt.get('use_hflip', False), self.opt.get('use_rot', False))
        return np.ascontiguousarray(img_lq), np.ascontiguousarray(img_gt)

    @staticmethod
    def _span(start, size, grid, margin, end):
        """First and last + 1 pixel of the window along one axis, on the grid and inside the picture."""
        return max(0, (start - margin) // grid * grid), min(end, -(-(start + size + margin) // grid) * grid)

    def _generator(self, key, level):
        """A generator of its own for a validation picture; the stream of RandomState is frozen by NumPy."""
        text = f'{key}|{float(level)}|{self.opt.get("noise_seed", 0)}'
        return np.random.RandomState(np.frombuffer(hashlib.sha256(text.encode()).digest(), '<u4'))

    def _draw_level(self):
        if self.range is None:
            return random.choice(self.levels)
        low, high = self.range
        return random.randint(low, high) if self.whole_levels else random.uniform(low, high)

    def _parse_range(self):
        key = self.range_key
        given = self.opt.get(key) if key else None
        if given is None:
            return None
        if self.level_key in self.opt:
            raise self._wrong(f'{self.level_key} and {key} exclude each other; leave one of them out')
        if not self.training:
            raise self._wrong(f'{key} is for training; a validation set has one {self.level_key}')
        if not isinstance(given, (list, tuple)) or len(given) != 2:
            raise self._wrong(f'{key} {given!r} is not a range; write [lowest, highest]')
        for level in given:
            fault = self._level_fault(level)
            if fault:
                raise self._wrong(f'{key}: {level!r} {fault}')
        if given[0] > given[1]:
            raise self._wrong(f'{key} {list(given)}: the lowest level stands first')
        return tuple(given)

    def _level_fault(self, level):
        if isinstance(level, bool) or not isinstance(level, (int, float)):
            return 'is not a number'
        return self.check_level(level)

    def _parse_levels(self):
        given = self.opt.get(self.level_key)
        levels = list(given) if isinstance(given, (list, tuple)) else [given]
        if given is None or not levels:
            raise self._wrong(f'{self.level_key} is missing or empty; give a number or a list of numbers')
        for level in levels:
            fault = self._level_fault(level)
            if fault:
                raise self._wrong(f'{self.level_key} {level!r} {fault}')
        if not self.training and len(levels) > 1:
            raise self._wrong(f'{self.level_key} {levels}: a validation set has one level; '
                              'write one data set per level (val_1, val_2, ...)')
        return levels

    def _wrong(self, message):
        return UsageError(f'data set {self.opt.get("name", "")} ({type(self).__name__}): {message}')
