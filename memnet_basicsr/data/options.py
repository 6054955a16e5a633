"""Options of datasets: one class per dataset, which the dataset names in its attribute ``Options``."""
from pydantic import Field
from typing import Annotated, ClassVar, Literal

from ..option_block import Block, option

Level = Annotated[float, Field(ge=0)]
Quality = Annotated[int, Field(ge=1, le=100)]
Scale = Annotated[int, Field(ge=2, le=4)]
Color = Literal['gray', 'y', 'rgb']
Mixture = Literal['noise', 'jpeg', 'blur', 'blur+noise', 'blur+jpeg', 'noise+jpeg', 'blur+noise+jpeg']


class IOBackendOptions(Block):
    """How images are stored."""
    type: Literal['lmdb', 'disk'] = option('disk', '`lmdb` for an LMDB, `disk` for a folder.')


class LoaderOptions(Block):
    """Options that BasicSR's loader reads for every dataset."""
    batch_size_per_gpu: int = option(1, 'Batch size per GPU.', on_resume='free', phase='train', needed='train', ge=1)
    num_worker_per_gpu: int = option(
        0, 'DataLoader workers per GPU.', on_resume='free', phase='train', needed='train', ge=0)
    dataset_enlarge_ratio: float = option(1, 'Passes over the dataset per epoch.', phase='train', gt=0)
    persistent_workers: bool | None = option(
        None,
        'Keep workers alive between epochs. Default: true with our models and datasets.',
        on_resume='free',
        phase='train')
    prefetch_mode: Literal['cpu', 'cuda'] | None = option(
        None, '`cpu`: prefetch in a thread; `cuda`: to the GPU.', on_resume='free')
    num_prefetch_queue: int = option(1, 'Number of batches prefetched by `prefetch_mode: cpu`.', on_resume='free', ge=1)
    pin_memory: bool = option(False, 'Copy batches to page-locked memory.', on_resume='free')

    def rules(self):
        if self.prefetch_mode == 'cuda' and not self.pin_memory:
            yield 'prefetch_mode', 'cuda needs pin_memory: true'
        if self.persistent_workers and not self.num_worker_per_gpu:
            yield 'persistent_workers', 'needs num_worker_per_gpu of at least 1'


class DatasetOptions(Block):
    """Options of every dataset."""
    name: str | int = option('', 'Name in the log and in messages.', needed='always', on_resume='free')
    type: str = option('', 'Registered dataset, such as `NoisyImageDataset`.')
    phase: Literal['train', 'val', 'test'] = option(
        'train', 'Set by BasicSR from the name of the block.', injected=True)
    scale: int = option(1, "Set by BasicSR: the run's scale.", injected=True)


class ImageDatasetOptions(DatasetOptions):
    """Options of our datasets of images."""
    dataroot_gt: str = option(..., 'Clean images: an LMDB or a folder (subfolders are ignored).')
    io_backend: IOBackendOptions = option(IOBackendOptions(), 'Storage of the images.')
    meta_info_file: str | None = option(None, 'Text file with one image name per line; `~` uses all images.')
    gt_size: int | None = option(None, 'Training patch size; smaller images are reflect-padded.', unit='pixels',
                                 phase='train', needed='train', ge=1)  # yapf: disable
    use_hflip: bool = option(False, 'Random horizontal flips.', phase='train')
    use_rot: bool = option(False, 'Random vertical flips and transpositions.', phase='train')
    clean_prob: float = option(0, 'Probability that a training sample is not degraded.', phase='train', ge=0, le=1)
    color: Color = option('rgb', '`gray` (0.2989 R + 0.5870 G + 0.1140 B), `y` (luminance in [16, 235]) or `rgb`.')

    @property
    def training(self):
        """Whether it is a training set."""
        return self.phase == 'train'

    def rules(self):
        if self.training and self.gt_size is None:
            yield 'gt_size', 'is missing; give the training patch size in pixels'
        if self.scale != 1:
            yield 'scale', (f'{self.scale} is not supported, since lq and gt have the same size; set scale: 1, or use '
                            'PairedImageDataset for images of different sizes')  # yapf: disable


class PairedMaskedOptions(ImageDatasetOptions):
    """Options of PairedMaskedDataset."""
    dataroot_lq: str = option(..., 'Degraded images with the same names and sizes as the clean ones.')
    dataroot_mask: str | None = option(None, 'Masks with the same names and sizes as the clean images.')
    filename_tmpl: str = option('{}', "Template for names of degraded images, such as '{}x2'; ignored for LMDBs.",
                                pattern=r'^[^{}]*\{\}[^{}]*$')  # yapf: disable
    exposure_jitter: float = option(0, 'Random gain of both images of a training sample, 1 - value to 1 + value.',
                                    phase='train', ge=0, lt=1)  # yapf: disable
    color_jitter: float = option(0, 'Random gain of each channel of both images, 1 - value to 1 + value.',
                                 phase='train', ge=0, lt=1)  # yapf: disable


class DegradedImageOptions(ImageDatasetOptions):
    """Options of datasets that degrade clean images.

    A subclass declares the option that holds the level, and names it in ``level_key``; ``range_key`` names the option
    that holds a range of levels, if there is one.
    """
    level_key: ClassVar[str | None] = None
    range_key: ClassVar[str | None] = None

    color: Color = option('gray', '`gray` (0.2989 R + 0.5870 G + 0.1140 B), `y` (luminance in [16, 235]) or `rgb`.')
    gray_prob: float = option(0, 'Probability of a gray training sample, repeated to 3 channels; needs `color: rgb`.',
                              phase='train', ge=0, le=1)  # yapf: disable
    noise_seed: int = option(0, 'Seed of the validation noise.', phase='val')

    @property
    def levels(self):
        """Levels, as a list; of a range its two ends."""
        levels = self.range if self.range is not None else getattr(self, self.level_key)
        return list(levels) if isinstance(levels, list) else [levels]

    @property
    def range(self):
        """The range of levels, if one is given."""
        return getattr(self, self.range_key) if self.range_key else None

    def rules(self):
        yield from super().rules()
        if self.gray_prob and self.color != 'rgb':
            yield 'gray_prob', f'needs color: rgb, but color is {self.color}'
        level, key = getattr(self, self.level_key), self.range_key
        if self.range is not None and level is not None:
            yield key, f'cannot be combined with {self.level_key}; remove one of them'
        elif self.range is not None:
            if not self.training:
                yield key, f'is supported in training sets only; use {self.level_key} with one level'
            if self.range[0] > self.range[1]:
                yield key, f'{self.range} is not in ascending order; write [lowest, highest]'
        elif level is None or level == []:
            yield self.level_key, 'is missing; give a number or a list of numbers'
        elif isinstance(level, list) and len(level) > 1 and not self.training:
            given = ', '.join(v if isinstance(v, str) else f'{v:g}' for v in level)
            yield self.level_key, (f'[{given}]: a validation set has one level; write one dataset per level (val_1, '
                                   'val_2, ...)')  # yapf: disable


class NoisyImageOptions(DegradedImageOptions):
    """Options of NoisyImageDataset."""
    level_key: ClassVar[str] = 'sigma'
    range_key: ClassVar[str] = 'sigma_range'

    sigma: Level | list[Level] | None = option(
        None, 'Standard deviation of the noise; a list is sampled uniformly in training.', unit='8-bit levels')
    sigma_range: list[Level] | None = option(
        None, 'Range [lowest, highest] to draw from uniformly, replaces `sigma`.', unit='8-bit levels', phase='train',
        min_length=2, max_length=2)  # yapf: disable
    camera_prob: float = option(0, 'Probability of signal-dependent noise, as from a camera sensor.', ge=0, le=1)
    jpeg_prob: float = option(0, 'Probability of JPEG compression after the noise.', ge=0, le=1)
    jpeg_range: list[Quality] = option([60, 95], 'JPEG quality for `jpeg_prob`: lowest and highest.', min_length=2,
                                       max_length=2)  # yapf: disable

    def rules(self):
        yield from super().rules()
        if self.jpeg_range[0] > self.jpeg_range[1]:
            yield 'jpeg_range', f'{self.jpeg_range} is not in ascending order; write [lowest, highest]'


class JPEGImageOptions(DegradedImageOptions):
    """Options of JPEGImageDataset."""
    level_key: ClassVar[str] = 'quality'
    range_key: ClassVar[str] = 'quality_range'

    color: Color = option('y', '`gray` (0.2989 R + 0.5870 G + 0.1140 B), `y` (luminance in [16, 235]) or `rgb`.')
    quality: Quality | list[Quality] | None = option(None, 'JPEG quality; a list is sampled uniformly in training.')
    quality_range: list[Quality] | None = option(
        None, 'Range [lowest, highest] to draw from uniformly, replaces `quality`.', phase='train',
        min_length=2, max_length=2)  # yapf: disable
    double_prob: float = option(0, 'Probability of a first JPEG compression, of quality 20 to 95.', ge=0, le=1)
    full_chroma_prob: float = option(0, 'Probability of 4:4:4 instead of 4:2:0 chroma (color images).', ge=0, le=1)


class MixedImageOptions(DegradedImageOptions):
    """Options of MixedImageDataset."""
    level_key: ClassVar[str] = 'kinds'

    color: Color = option('rgb', '`gray` (0.2989 R + 0.5870 G + 0.1140 B), `y` (luminance in [16, 235]) or `rgb`.')
    kinds: Mixture | list[Mixture] | None = option(
        None, 'Degradations, such as `noise` or `blur+noise+jpeg`; training draws one of a list for each sample.')
    sigma_range: list[Level] = option([0, 50], 'Lowest and highest standard deviation of the noise.', unit='0..255',
                                      min_length=2, max_length=2)  # yapf: disable
    quality_range: list[Quality] = option([10, 90], 'Lowest and highest JPEG quality.', min_length=2, max_length=2)
    blur_range: list[Level] = option([0.5, 2], 'Lowest and highest standard deviation of the Gaussian blur.',
                                     unit='pixels', min_length=2, max_length=2)  # yapf: disable

    def rules(self):
        yield from super().rules()
        for key in ('sigma_range', 'quality_range', 'blur_range'):
            low, high = getattr(self, key)
            if low > high:
                yield key, f'[{low}, {high}] is not in ascending order; write [lowest, highest]'
        if self.blur_range[0] <= 0:
            yield 'blur_range', f'{self.blur_range}: must be above 0; to disable blur, remove it from `kinds`'


class BicubicImageOptions(DegradedImageOptions):
    """Options of BicubicImageDataset."""
    level_key: ClassVar[str] = 'downscale'

    color: Color = option('y', '`gray` (0.2989 R + 0.5870 G + 0.1140 B), `y` (luminance in [16, 235]) or `rgb`.')
    downscale: Scale | list[Scale] | None = option(None, 'Scale factor; a list is sampled uniformly in training.')
    noise_prob: float = option(0, 'Probability of noise on the small image.', phase='train', ge=0, le=1)
    noise_sigma: Level = option(10, 'Highest standard deviation of that noise; the lowest is 0.', unit='8-bit levels',
                                phase='train')  # yapf: disable
    jpeg_prob: float = option(0, 'Probability of JPEG compression of the small image.', phase='train', ge=0, le=1)
    jpeg_range: list[Quality] = option([60, 95], 'JPEG quality for `jpeg_prob`: lowest and highest.', phase='train',
                                       min_length=2, max_length=2)  # yapf: disable
    with_chroma: bool = option(False, 'Return the chroma too, so that color images can be saved; needs `color: y`.',
                               phase='val')  # yapf: disable

    def rules(self):
        yield from super().rules()
        if self.jpeg_range[0] > self.jpeg_range[1]:
            yield 'jpeg_range', f'{self.jpeg_range} is not in ascending order; write [lowest, highest]'
        if self.with_chroma and self.color != 'y':
            yield 'with_chroma', 'needs color: y'
