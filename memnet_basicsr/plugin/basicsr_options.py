"""Options that BasicSR's own datasets read, so that option files which mix them with ours are checked too."""
from pydantic import ConfigDict
from typing import Any

from ..data.options import DatasetOptions
from ..option_block import option


class StockDatasetOptions(DatasetOptions):
    """Options that most of BasicSR's datasets read."""
    io_backend: dict[str, Any] = option(..., '`{type: lmdb}` or `{type: disk}`.')
    dataroot_gt: str | None = option(None, 'Clean images.')
    dataroot_lq: str | None = option(None, 'Degraded images.')
    meta_info_file: str | None = option(None, 'List of the images; else all of the folder.')
    gt_size: int | None = option(None, 'Side of a training patch.', unit='pixels', phase='train', ge=1)
    use_hflip: bool = option(False, 'Random horizontal flips.', phase='train')
    use_rot: bool = option(False, 'Random vertical flips and transpositions.', phase='train')
    mean: list[float] | None = option(None, 'Subtracted from every channel.')
    std: list[float] | None = option(None, 'Every channel is divided by it.')
    color: str | None = option(None, '`y` converts to luminance, after cropping.')


class PairedImageOptions(StockDatasetOptions):
    """Options of PairedImageDataset."""
    dataroot_gt: str = option(..., 'Clean images: an LMDB or a folder.')
    dataroot_lq: str = option(..., 'Degraded images: an LMDB or a folder.')
    filename_tmpl: str = option('{}', "Name of a degraded image from that of the clean one, such as '{}x4'.")

    def rules(self):
        yield from super().rules()
        if self.phase == 'train':
            for key in ('gt_size', 'use_hflip', 'use_rot'):
                if key not in self.model_fields_set:
                    yield key, 'is missing'


class SingleImageOptions(StockDatasetOptions):
    """Options of SingleImageDataset."""
    dataroot_lq: str = option(..., 'Degraded images: an LMDB or a folder.')


class OtherStockOptions(StockDatasetOptions):
    """Options of BasicSR's remaining datasets (video, faces, Real-ESRGAN), whose own options are not checked."""
    model_config = ConfigDict(extra='allow')


BY_NAME = {'PairedImageDataset': PairedImageOptions, 'SingleImageDataset': SingleImageOptions}
