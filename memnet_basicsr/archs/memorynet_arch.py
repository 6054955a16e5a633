import torch
from functools import partial
from torch import nn as nn
from torch.nn import functional as F

from ..registry import ARCH_REGISTRY
from .memory_util import LEVELS, HierarchicalMemory, MemoryInsertion, check_level, recalling
from .mprnet_util import CAB, SAM, Decoder, Encoder, ORSNet, merge_columns, merge_rows, split_columns, split_rows
from .raw_pixel_memory import RawPixelMemory

QUARTERS = (split_rows, split_columns)
PLACES = tuple(f'{side}{i}' for side in ('encoder', 'decoder') for i in (1, 2, 3))


@ARCH_REGISTRY.register()
class MemoryNet(nn.Module):
    """MemoryNet: three restoration stages that read from a memory of part, instance and semantic prototypes.

    Memory augment is All You Need for image restoration (Zhang et al.).
    Ref: https://arxiv.org/abs/2309.01377. With contrastive learning (MemoryNetModel) the paper calls it CR-MemoryNet.

    The stages are those of MPRNet (https://arxiv.org/abs/2102.02808): encoder 1 processes quarters of the image,
    decoder 1 and encoder 2 halves, and the rest the whole image. With ``memory: feature``, the features of stage s
    query level s of one shared memory. Stage 3 has one resolution: 'encoder' reads after its shallow features, and
    'decoder' before its last convolution.

    Args:
        num_in_ch (int): Channels of the input, 1 or 3. Default: 3.
        num_out_ch (int): Channels of the output, equal to num_in_ch. Default: 3.
        num_feat (int): Channels of level 1 (wide GoPro model: 96, with the next two 48 and 32). Default: 40.
        scale_unetfeats (int): Channels added at each deeper level. Default: 20.
        scale_orsnetfeats (int): Channels added in stage 3. Default: 16.
        num_cab (int): Channel attention blocks in each of the three groups of stage 3. Default: 8.
        kernel_size (int): Kernel size of the blocks. Default: 3.
        reduction (int): Reduction of the channel attention. Default: 4.
        bias (bool): Whether convolutions have a bias. Default: False.
        memory (str): 'none' is the backbone; 'released' is the memory of the released code, whose reads replace the
            image; 'feature' is the memory of the paper, on features. Default: 'feature'.
        memory_opt (dict | None): Arguments of HierarchicalMemory, and ``centred`` of MemoryInsertion. Default: None.
        levels (list[str | None]): Level that stages 1, 2 and 3 read from; None for a stage without memory.
            Default: ('part', 'instance', 'semantic').
        insert (list[str]): Where the stages read: encoder or decoder level 1 to 3. Default: ('encoder3', 'decoder3').
        chained (bool): Whether reads are chained up to the level, as in the released code. Default: False.
        replace (bool): Whether the read replaces the features, as in the paper, or is added. Default: False.
        reconstruction (bool): Whether to have the layers of :meth:`reconstruct`. Default: False.
        patches (bool): Stages 1 and 2 see quarters and halves. False (not in the paper): whole image. Default: True.
        supervise (str): 'all': training returns [stage 3, stage 2, stage 1]; 'final': only stage 3. Default: 'all'.

    Raises:
        ValueError: If an argument is outside its range.
    """

    size_multiple = 8  # halves of the image, downsampled twice

    def __init__(self,
                 num_in_ch=3,
                 num_out_ch=3,
                 num_feat=40,
                 scale_unetfeats=20,
                 scale_orsnetfeats=16,
                 num_cab=8,
                 kernel_size=3,
                 reduction=4,
                 bias=False,
                 memory='feature',
                 memory_opt=None,
                 levels=LEVELS,
                 insert=('encoder3', 'decoder3'),
                 chained=False,
                 replace=False,
                 reconstruction=False,
                 patches=True,
                 supervise='all'):
        super().__init__()
        if num_in_ch != num_out_ch:
            raise ValueError(f'num_out_ch {num_out_ch} must equal num_in_ch {num_in_ch}: the output is a residual.')
        if supervise not in ('all', 'final'):
            raise ValueError(f"supervise must be 'all' or 'final', but received '{supervise}'.")
        if memory not in ('none', 'released', 'feature'):
            raise ValueError(f"memory must be 'none', 'released' or 'feature', but received '{memory}'.")
        self.supervise, self.patches = supervise, patches
        self.register_buffer('whole_image', None if patches else torch.zeros(0))  # for readers of the state dict
        feats = [num_feat + i * scale_unetfeats for i in range(3)]
        num_ors = num_feat + scale_orsnetfeats
        cab = partial(CAB, kernel_size=kernel_size, reduction=reduction, bias=bias, act=nn.PReLU())
        conv = partial(nn.Conv2d, kernel_size=kernel_size, padding=kernel_size // 2, bias=bias)

        for stage in (1, 2, 3):
            self.add_module(f'shallow_feat{stage}', nn.Sequential(conv(num_in_ch, num_feat), cab(num_feat)))
        self.stage1_encoder = Encoder(feats, cab, bias, fuses=False)
        self.stage1_decoder = Decoder(feats, cab)
        self.stage2_encoder = Encoder(feats, cab, bias, fuses=True)
        self.stage2_decoder = Decoder(feats, cab)
        self.stage3_orsnet = ORSNet(feats, num_ors, num_cab, cab, kernel_size, bias)
        self.sam12 = SAM(num_feat, num_out_ch, bias)
        self.sam23 = SAM(num_feat, num_out_ch, bias)
        self.concat12 = conv(num_feat * 2, num_feat)
        self.concat23 = conv(num_feat * 2, num_ors)
        self.tail = conv(num_ors, num_out_ch)

        # The memory is built last, so that a seed gives the backbone the same weights with and without it.
        self.memory = RawPixelMemory(num_in_ch) if memory == 'released' else None
        self.insertions = nn.ModuleDict()
        if memory == 'feature':
            self._add_memory(memory_opt, levels, insert, feats, num_ors, chained, replace, reconstruction)
        if reconstruction:
            if not any(v.startswith('stage1') for v in self.insertions):
                raise ValueError("reconstruction needs 'memory: feature' with a level for stage 1.")
            self.head = conv(num_feat, num_out_ch)

    def _add_memory(self, memory_opt, levels, insert, feats, num_ors, chained, replace, reconstruction):
        used = [check_level(v) for v in levels if v is not None]
        if not used or len(levels) > 3:
            raise ValueError(f"levels must name one to three levels, but received {list(levels)} (or 'memory: none').")
        if not insert or set(insert) - set(PLACES):
            raise ValueError(f'insert must list places out of {", ".join(PLACES)}, but received {list(insert)}.')
        memory_opt = {'top': max(used, key=LEVELS.index), **(memory_opt or {})}
        centred = memory_opt.pop('centred', False)
        self.memory = HierarchicalMemory(**memory_opt)
        for stage, level in enumerate(levels, 1):
            places = {v: feats[int(v[-1]) - 1] for v in insert}
            if stage == 3:
                places = {v[:7]: num_ors if v.startswith('decoder') else feats[0] for v in insert}
            arguments = (self.memory.num_feat, level, chained, replace, reconstruction and stage == 1, centred)
            for place, num_in in places.items() if level is not None else ():
                self.insertions[f'stage{stage}_{place}'] = MemoryInsertion(num_in, *arguments)

    def forward(self, x):
        """Restore an image.

        Args:
            x (Tensor): (N, num_in_ch, H, W), in [0, 1], of any size.

        Returns:
            Tensor | list[Tensor]: Like ``x``; in training with ``supervise: all`` [stage 3, stage 2, stage 1].
        """
        h, w = x.shape[2:]
        x1, x2, x3 = self.stage_inputs(self.pad(x))
        feat, stage1, fused = self.stage1(x1, x2)
        feat, stage2, fused = self.stage2(feat, x2, x3, fused)
        stage3 = self.stage3(feat, x3, fused)
        if not self.training or self.supervise == 'final':
            return stage3[:, :, :h, :w]
        return [v[:, :, :h, :w] for v in (stage3, stage2, stage1)]

    def stage_inputs(self, x):
        """Input of each stage: the image, or the reads of the released memory."""
        return self.memory(x) if isinstance(self.memory, RawPixelMemory) else (x, x, x)

    def stage1(self, x1, x2):
        """Encoder on quarters and decoder on halves -> features and image for stage 2, features to fuse into it."""
        enc = self.stage1_encoder(self.shallow_feat1(self.parts(QUARTERS, x1)), read=partial(self.recall, 1))
        enc = [self.parts([merge_columns], v) for v in enc]
        dec = self.stage1_decoder(enc, read=partial(self.recall, 1))
        feat, img = self.sam12(dec[0], self.parts([split_rows], x2))
        return feat, self.parts([merge_rows], img), self.stage2_encoder.fuse(enc, dec)

    def stage2(self, feat, x2, x3, fused):
        """Encoder on halves and decoder on the whole image -> features and image for stage 3, features to fuse."""
        feat = self.concat12(torch.cat([self.shallow_feat2(self.parts([split_rows], x2)), feat], dim=1))
        enc = [self.parts([merge_rows], v) for v in self.stage2_encoder(feat, fused, read=partial(self.recall, 2))]
        dec = self.stage2_decoder(enc, read=partial(self.recall, 2))
        feat, img = self.sam23(dec[0], x3)
        return feat, img, self.stage3_orsnet.fuse(enc, dec)

    def stage3(self, feat, x3, fused):
        """Whole image at its original resolution -> restored image."""
        feat = self.concat23(torch.cat([self.recall(3, 'encoder', self.shallow_feat3(x3)), feat], dim=1))
        feat = self.stage3_orsnet(feat, fused)
        return self.tail(self.recall(3, 'decoder', feat)) + x3

    def parts(self, functions, x):
        """Split or merge x, unless all stages see the whole image."""
        for function in functions if self.patches else ():
            x = function(x)
        return x

    def recall(self, stage, place, x):
        """Features x of a stage, joined with the memory's read if the memory is inserted at this place."""
        key = f'stage{stage}_{place}'
        return self.insertions[key](x, self.memory) if key in self.insertions else x

    def reconstruct(self, x):
        """Mem(Dec(Enc(x))): the image as stage 1 reconstructs it from the memory alone, like ``x``.

        The reads of stage 1 replace its features, and skip connections that would bypass them are cut. Trained on clean
        images, |reconstruct(x) - x| is large where x differs from them. Which reads and skips is our choice: the paper
        gives the formula only.
        """
        if not hasattr(self, 'head'):
            raise ValueError("Set 'reconstruction: true' in network_g to reconstruct from the memory.")
        read = partial(self.recall, 1)
        with recalling(self):
            enc = self.stage1_encoder(self.shallow_feat1(self.parts(QUARTERS, self.pad(x))), read=read)
            first = min(int(v[-1]) for v in self.insertions if v.startswith('stage1'))
            enc = [self.parts([merge_columns], v) if i >= first or i == 3 else None for i, v in enumerate(enc, 1)]
            dec = self.stage1_decoder(enc, read=read)
        return self.parts([merge_rows], self.head(dec[0]))[:, :, :x.shape[2], :x.shape[3]]

    def features(self, x):
        """Features of stage 3, used as an encoder of any image for the contrastive loss.

        Args:
            x (Tensor): (N, num_in_ch, H, W), in [0, 1], of any size.

        Returns:
            tuple[Tensor]: Global features (N, D), the mean of the local ones, and local features
                (N, D, ceil(H / 8), ceil(W / 8)), with D = num_feat + scale_orsnetfeats.
        """
        shallow = self.recall(3, 'encoder', self.shallow_feat3(self.pad(x)))
        feat = self.concat23(torch.cat([shallow, torch.zeros_like(shallow)], dim=1))
        local = F.avg_pool2d(self.stage3_orsnet(feat), self.size_multiple)
        return local.mean((2, 3)), local

    def pad(self, x):
        """Pad right and bottom to multiples of 8 by reflection, or by replication if the image is too small."""
        h, w = x.shape[2:]
        pad_h, pad_w = -h % self.size_multiple, -w % self.size_multiple
        return F.pad(x, (0, pad_w, 0, pad_h), 'reflect' if pad_h < h and pad_w < w else 'replicate')
