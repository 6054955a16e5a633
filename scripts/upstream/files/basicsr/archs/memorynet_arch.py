from functools import partial
from torch import nn as nn

from basicsr.utils.registry import ARCH_REGISTRY
from .memory_util import LEVELS, HierarchicalMemory, MemoryInsertion, check_level, recalling
from .mprnet_arch import MPRNet
from .mprnet_util import merge_columns, merge_rows, split_columns, split_rows

PLACES = tuple(f'{side}{i}' for side in ('encoder', 'decoder') for i in (1, 2, 3))


@ARCH_REGISTRY.register()
class MemoryNet(MPRNet):
    """MemoryNet: MPRNet whose stages read from a memory of part, instance and semantic prototypes.

    Memory augment is All You Need for image restoration (Zhang et al.).
    Ref: https://arxiv.org/abs/2309.01377. Stage s reads level s with its own features. Stage 3 has one resolution: its
    encoder place is behind its shallow features, its decoder place in front of the last convolution.

    Args:
        memory_opt (dict | None): Arguments of HierarchicalMemory (``top``: by default the highest of ``levels``), and
            ``centred`` of MemoryInsertion. Default: None.
        levels (list[str | None]): Level that stages 1, 2 and 3 read from; None for a stage without memory.
            Default: ('part', 'instance', 'semantic').
        insert (list[str]): Where the stages read: encoder1 to encoder3, decoder1 to decoder3 (the number is the
            resolution level). Default: ('encoder3', 'decoder3').
        chained (bool): Whether reads are chained up to the level, as in the released code. Default: False.
        replace (bool): Whether the read replaces the features, as in the paper, or is added. Default: False.
        reconstruction (bool): Whether to have the layers of :meth:`reconstruct`, unused in forward. Default: False.
        kwargs: Arguments of MPRNet.
    """

    def __init__(self,
                 memory_opt=None,
                 levels=LEVELS,
                 insert=('encoder3', 'decoder3'),
                 chained=False,
                 replace=False,
                 reconstruction=False,
                 **kwargs):
        super(MemoryNet, self).__init__(**kwargs)
        used = [check_level(v) for v in levels if v is not None]
        if not used or len(levels) > 3:
            raise ValueError(f'levels must name one to three levels, but received {list(levels)}.')
        if not insert or set(insert) - set(PLACES):
            raise ValueError(f'insert must list places out of {", ".join(PLACES)}, but received {list(insert)}.')
        if reconstruction and levels[0] is None:
            raise ValueError('reconstruction needs a level for stage 1.')
        memory_opt = {'top': max(used, key=LEVELS.index), **(memory_opt or {})}
        centred = memory_opt.pop('centred', False)
        self.memory = HierarchicalMemory(**memory_opt)
        self.insertions = nn.ModuleDict()
        for stage, level in enumerate(levels, 1):
            places = {v: self.feats[int(v[-1]) - 1] for v in insert}
            if stage == 3:
                places = {v[:7]: self.num_ors if v.startswith('decoder') else self.feats[0] for v in insert}
            recall = reconstruction and stage == 1
            for place, num_in in places.items() if level is not None else ():
                insertion = MemoryInsertion(num_in, self.memory.num_feat, level, chained, replace, recall, centred)
                self.insertions[f'stage{stage}_{place}'] = insertion
        if reconstruction:
            kernel_size, bias = self.tail.kernel_size, self.tail.bias is not None
            self.head = nn.Conv2d(self.feats[0], self.tail.out_channels, kernel_size, 1, self.tail.padding, bias=bias)

    def read(self, stage, place, feat):
        """Features joined with the read of the memory, if the memory is inserted at this place."""
        key = f'stage{stage}_{place}'
        return self.insertions[key](feat, self.memory) if key in self.insertions else feat

    def reconstruct(self, x):
        """Mem(Dec(Enc(x))): the image as stage 1 reconstructs it from the memory alone, like ``x``.

        The reads of stage 1 replace its features, and skip connections that would bypass them are cut. The paper gives
        the formula only.
        """
        h, w = x.shape[2:]
        read = partial(self.read, 1)
        with recalling(self):
            enc = self.stage1_encoder(self.shallow_feat1(split_columns(split_rows(self.pad(x)))), read=read)
            first = min(int(v[-1]) for v in self.insertions if v.startswith('stage1'))
            enc = [merge_columns(v) if i >= first or i == 3 else None for i, v in enumerate(enc, 1)]
            dec = self.stage1_decoder(enc, read=read)
        return merge_rows(self.head(dec[0]))[:, :, :h, :w]
