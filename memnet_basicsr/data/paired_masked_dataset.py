import numpy as np
import random
from torch.utils import data

from basicsr.data.transforms import augment
from basicsr.utils import img2tensor
from basicsr.utils.registry import DATASET_REGISTRY
from ..errors import UsageError
from .color_util import convert_color
from .image_source import ImageSource
from .options import PairedMaskedOptions
from .patch_util import random_corner, reflect_pad


@DATASET_REGISTRY.register()
class PairedMaskedDataset(data.Dataset):
    """Degraded and clean pairs, with masks of the degraded region where the dataset has them.

    Extends BasicSR's PairedImageDataset: masks; clean samples; gains that both images share; reflect-padding of images
    smaller than the patch; errors that name unreadable or mismatched images; one LMDB can be open in several datasets.
    Randomness comes from the global generator ``random``, which the loader seeds per sample.

    Args:
        opt (dict): See :class:`PairedMaskedOptions`.

    Items: ``{'lq', 'gt', 'lq_path', 'gt_path'}``, images float32 (C, H, W), RGB, [0, 1]; with masks also ``mask``,
    float32 (1, H, W), [0, 1], not thresholded (edges may be gray), and ``mask_path``.

    Raises:
        UsageError: Data root missing or empty, names or sizes that do not match, unreadable image, wrong option.
    """
    Options = PairedMaskedOptions

    def __init__(self, opt):
        super().__init__()
        self.opt = opt
        self.options = self.Options.read(opt, f'dataset {opt.get("name", "")} ({type(self).__name__})')
        self.training, self.color = self.options.training, self.options.color
        self.gt = self._source('gt')
        self.others = {
            kind: self._matched(kind)
            for kind in ('lq', 'mask') if kind == 'lq' or self.options.dataroot_mask
        }

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
        size = self.options.gt_size
        padded = [reflect_pad(img, size, size) for img in imgs.values()]
        top, left = random_corner(padded[0], size)
        patches = [img[top:top + size, left:left + size].copy() for img in padded]
        patches = augment(patches, self.options.use_hflip, self.options.use_rot)
        patches = {kind: np.ascontiguousarray(patch) for kind, patch in zip(imgs, patches)}
        if self.options.exposure_jitter or self.options.color_jitter:
            gain = self._gain(patches['gt'].shape[2])
            patches.update((kind, np.clip(patches[kind] * gain, 0, 1)) for kind in ('lq', 'gt'))
        if self.options.clean_prob and random.random() < self.options.clean_prob:
            patches['lq'] = patches['gt'].copy()
        return patches

    def _gain(self, num_channels):
        """Gain of each channel, float32, drawn from ``random``."""
        exposure, color = self.options.exposure_jitter, self.options.color_jitter
        common = random.uniform(1 - exposure, 1 + exposure)
        return np.float32([common * random.uniform(1 - color, 1 + color) for _ in range(num_channels)])

    def _source(self, kind):
        listed = self.options.meta_info_file if kind == 'gt' else None
        try:
            return ImageSource(
                getattr(self.options, f'dataroot_{kind}'), {'type': self.options.io_backend.type}, listed)
        except UsageError as error:
            raise self._wrong(f'dataroot_{kind}: {error}') from None

    def _matched(self, kind):
        """A source, and for every clean image the index of its partner in it."""
        source = self._source(kind)
        template = '{}' if source.is_lmdb else self.options.filename_tmpl
        index = {key: i for i, key in enumerate(source.keys)}
        wanted = [template.format(key) for key in self.gt.keys]
        missing = [key for key in wanted if key not in index]
        surplus = [] if self.options.meta_info_file else sorted(set(index) - set(wanted))
        if missing or surplus:
            fault = f'lacks {_few(missing)}' if missing else f'has {_few(surplus)} without a gt'
            raise self._wrong(f'dataroot_{kind} {source.root} does not match dataroot_gt {self.gt.root}: it {fault}')
        return source, [index[key] for key in wanted]

    def _wrong(self, message):
        return UsageError(f'dataset {self.opt.get("name", "")} ({type(self).__name__}): {message}')


def _few(names):
    return ', '.join(names[:3]) + (f' and {len(names) - 3} more' if len(names) > 3 else '')
