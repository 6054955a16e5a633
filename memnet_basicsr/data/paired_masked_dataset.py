import numpy as np
from torch.utils import data

from basicsr.data.transforms import augment
from basicsr.utils import img2tensor
from basicsr.utils.registry import DATASET_REGISTRY
from ..errors import UsageError
from .color_util import COLORS, convert_color
from .image_source import PictureSource
from .patch_util import random_corner, reflect_pad


@DATASET_REGISTRY.register()
class PairedMaskedDataset(data.Dataset):
    """Degraded and clean pairs, with masks of the degraded region where the data set has them.

    As BasicSR's PairedImageDataset, and: masks; pictures smaller than the patch are reflect-padded; pictures that
    cannot be read or do not match are named; one LMDB may be open in several data sets. Randomness comes from the
    global generator ``random``, which the loader seeds per sample.

    Args:
        opt (dict): Options of the data set:
            name (str): Name in the log and in errors.
            phase (str): 'train', 'val' or 'test' (BasicSR adds it).
            dataroot_lq (str): Degraded pictures: an LMDB, or a folder (subfolders do not count).
            dataroot_gt (str): Clean pictures of the same names and sizes.
            dataroot_mask (str): Masks of the same names and sizes. Default: none.
            io_backend (dict): ``{type: lmdb}`` or ``{type: disk}``, for all of them.
            filename_tmpl (str): Name of a degraded picture and of a mask, without extension, from that of the clean
                one, e.g. '{}x2'. Folders only. Default: '{}'.
            color (str): ``rgb``, ``gray`` or ``y``, see :func:`convert_color`. Default: 'rgb'.
            gt_size (int): Side of a training patch in pixels. Training only.
            use_hflip (bool): Random horizontal flips. Training only. Default: False.
            use_rot (bool): Random vertical flips and transpositions. Training only. Default: False.
            scale (int): The network's scale, which BasicSR copies here; must be 1 where it is given.

    Items: ``{'lq', 'gt', 'lq_path', 'gt_path'}``, pictures float32 (C, H, W), RGB, [0, 1]; with masks also ``mask``,
    float32 (1, H, W), [0, 1], not thresholded (edges may be gray), and ``mask_path``.

    Raises:
        UsageError: Data root missing or empty, names or sizes that do not match, unreadable picture, wrong option.
    """

    def __init__(self, opt):
        super().__init__()
        self.opt = opt
        self.training = opt.get('phase', 'train') == 'train'
        if opt.get('scale', 1) != 1:
            raise self._wrong(f'scale {opt["scale"]} is not supported; use PairedImageDataset for pairs of two sizes')
        if self.training and (not isinstance(opt.get('gt_size'), int) or opt['gt_size'] < 1):
            raise self._wrong(f'gt_size {opt.get("gt_size")!r} must be a positive number of pixels')
        self.color = opt.get('color', 'rgb')
        if self.color not in COLORS:
            raise self._wrong(f'color {self.color!r} is not known; use one of {", ".join(COLORS)}')
        self.gt = self._source('gt')
        self.others = {kind: self._matched(kind) for kind in ('lq', 'mask') if kind == 'lq' or opt.get('dataroot_mask')}

    def __len__(self):
        return len(self.gt)

    def __getitem__(self, index):
        imgs = {'gt': convert_color(self.gt.read(index), self.color)}
        paths = {'gt_path': self.gt.paths[index]}
        for kind, (source, indices) in self.others.items():
            img = source.read(indices[index])
            imgs[kind] = convert_color(img, 'gray' if kind == 'mask' else self.color)
            paths[f'{kind}_path'] = source.paths[indices[index]]
            if img.shape[:2] != imgs['gt'].shape[:2]:
                raise self._wrong(f'{kind} {paths[f"{kind}_path"]} is {img.shape[1]}x{img.shape[0]}, its gt '
                                  f'{imgs["gt"].shape[1]}x{imgs["gt"].shape[0]}; all must have the same size')
        imgs = {kind: img.astype(np.float32) / 255. for kind, img in imgs.items()}
        if self.training:
            imgs = self._patch(imgs)
        return {kind: img2tensor(img, bgr2rgb=True, float32=True) for kind, img in imgs.items()} | paths

    def _patch(self, imgs):
        """The same random patch of all, flipped and rotated the same way."""
        size = self.opt['gt_size']
        padded = [reflect_pad(img, size, size) for img in imgs.values()]
        top, left = random_corner(padded[0], size)
        patches = [img[top:top + size, left:left + size].copy() for img in padded]
        patches = augment(patches, self.opt.get('use_hflip', False), self.opt.get('use_rot', False))
        return {kind: np.ascontiguousarray(patch) for kind, patch in zip(imgs, patches)}

    def _source(self, kind):
        root = self.opt.get(f'dataroot_{kind}')
        if root is None:
            raise self._wrong(f'dataroot_{kind} is missing')
        try:
            return PictureSource(root, self.opt.get('io_backend', {'type': 'disk'}))
        except UsageError as error:
            raise self._wrong(f'dataroot_{kind}: {error}') from None

    def _matched(self, kind):
        """A source, and for every clean picture the index of its partner in it."""
        source = self._source(kind)
        template = '{}' if source.is_lmdb else self.opt.get('filename_tmpl', '{}')
        index = {key: i for i, key in enumerate(source.keys)}
        wanted = [template.format(key) for key in self.gt.keys]
        missing = [key for key in wanted if key not in index]
        surplus = sorted(set(index) - set(wanted))
        if missing or surplus:
            fault = f'lacks {_few(missing)}' if missing else f'has {_few(surplus)} without a gt'
            raise self._wrong(f'dataroot_{kind} {source.root} does not match dataroot_gt {self.gt.root}: it {fault}')
        return source, [index[key] for key in wanted]

    def _wrong(self, message):
        return UsageError(f'data set {self.opt.get("name", "")} ({type(self).__name__}): {message}')


def _few(names):
    return ', '.join(names[:3]) + (f' and {len(names) - 3} more' if len(names) > 3 else '')
