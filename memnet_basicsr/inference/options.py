"""Options of the inference path, as they stand in the ``val:`` block of an option file."""
from typing import Literal

from ..option_block import Block, option


class InferenceOptions(Block):
    """How a network is applied to images of any size; see :class:`memnet_basicsr.inference.inference.Inference`."""
    tile: int | None = option(None, 'Tile size; `~` processes the whole image at once.', unit='pixels of the input',
                              ge=1)  # yapf: disable
    tile_overlap: int | None = option(
        None, 'Overlap of the tiles, at most half of `tile`; `~` is 64, or half of `tile` if that is less.',
        unit='pixels of the input', ge=0)  # yapf: disable
    self_ensemble: bool = option(False, 'Average over the eight flips and rotations (x8); 8 times slower.')
    precision: Literal['fp32', 'bf16', 'fp16'] = option('fp32', 'Precision of the forward pass.')
    pad_multiple: int | None = option(
        None, 'Reflect-pad height and width to a multiple of this; `~` uses the multiple that the network needs.',
        unit='pixels', ge=1)  # yapf: disable
    local_statistics: int | None = option(
        None, 'Training patch size: replaces global average pooling by windows of 1.5 times this size (TLC).',
        unit='pixels of the input', ge=1)  # yapf: disable
    deploy: bool = option(True, 'Use the optimized inference form of networks that have one.')

    def rules(self):
        if self.tile is not None and self.tile_overlap is not None and 2 * self.tile_overlap > self.tile:
            yield 'tile_overlap', (f'{self.tile_overlap} is more than half of tile: {self.tile}; use larger tiles or a '
                                   'smaller overlap')  # yapf: disable
