import torch
from functools import partial
from torch import nn
from torch.nn import functional as F

from basicsr.utils.registry import ARCH_REGISTRY
from ..errors import UsageError
from ..fast.memorynet_deploy import MemoryNetDeploy
from .memory_util import LEVELS, HierarchicalMemory, MemoryInsertion, check_level, recalling
from .mprnet_stages import SAM, Decoder, Encoder, ORSNet
from .mprnet_util import CAB, Blocks, SharedPReLU, channels_last, merge_columns, merge_rows, split_columns, split_rows
from .raw_pixel_memory import RawPixelMemory

PLACES = tuple(f'{side}{i}' for side in ('encoder', 'decoder') for i in (1, 2, 3))


@ARCH_REGISTRY.register()
class MemoryNet(nn.Module):
    """MemoryNet: three restoring stages that read from a memory of part, instance and semantic prototypes.

    Hierarchical memory learning for generic image restoration, https://arxiv.org/abs/2309.01377. The stages are those
    of MPRNet (https://arxiv.org/abs/2102.02808): the encoder of stage 1 sees the quarters of the picture, its decoder
    and the encoder of stage 2 see the halves, all else sees the whole. With ``memory: feature`` stage s reads its own
    features at level s of one bank, then the previous stage's features are added (attention module and fusion), as in
    the backbone. Stage 3 has one resolution: its encoder place is behind its shallow features, its decoder place in
    front of the last convolution.

    Args:
        num_in_ch (int): Channels of the input, 1 or 3. Default: 3.
        num_out_ch (int): Channels of the output, equal to num_in_ch. Default: 3.
        num_feat (int): Channels at level 1 (released name n_feat). Default: 40. The wide setting for GoPro is 96, 48,
            32.
        scale_unetfeats (int): Channels that each deeper level adds. Default: 20.
        scale_orsnetfeats (int): Channels that stage 3 adds. Default: 16.
        num_cab (int): Blocks in each of the three groups of stage 3. Default: 8.
        kernel_size (int): Kernel size of the blocks. Default: 3.
        reduction (int): Reduction of the channel attention. Default: 4.
        bias (bool): Whether convolutions have a bias. Default: False.
        memory (str): 'none' is the backbone; 'released' is the released code's memory on the picture, which replaces
            the picture; 'feature' is the paper's memory on features. Default: 'feature'.
        memory_opt (dict | None): With 'feature': arguments of HierarchicalMemory, which see. Default: None.
        levels (list[str | None]): With 'feature': level that stage 1, 2 and 3 reads; None, or a shorter list, leaves a
            stage without memory. Default: ('part', 'instance', 'semantic').
        insert (list[str]): With 'feature': where stages read, of encoder1 to encoder3 and decoder1 to decoder3.
            Default: ('encoder3', 'decoder3').
        chained (bool): With 'feature': reads are chained up to the stage's level, as the released code does, instead
            of each level being read with the feature itself. Default: False.
        replace (bool): With 'feature': the read replaces the feature, as in the paper, instead of being added. A
            network that starts so is not the backbone. Default: False.
        reconstruction (bool): With 'feature': have the layers that :meth:`reconstruct` needs. They get no gradient
            from the restoration alone. Default: False.
        supervise (str): What training mode returns: 'all' is the list [stage 3, stage 2, stage 1], 'final' is stage 3
            alone. Default: 'all'.
        recompute (bool): Keep less in training and compute it again in the backward pass. Default: False.

    Raises:
        UsageError: An argument out of range.
    """

    size_multiple = 8  # sizes that need no padding: halves of the picture, then two levels

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
                 supervise='all',
                 recompute=False):
        super().__init__()
        if num_in_ch != num_out_ch:
            raise UsageError(f'MemoryNet: num_in_ch {num_in_ch} and num_out_ch {num_out_ch} must be equal, since the '
                             'output corrects the input')
        if supervise not in ('all', 'final'):
            raise UsageError(f"MemoryNet: supervise must be 'all' or 'final', got '{supervise}'")
        if memory not in ('none', 'released', 'feature'):
            raise UsageError(f"MemoryNet: memory must be 'none', 'released' or 'feature', got '{memory}'")
        self.supervise = supervise
        feats = [num_feat + i * scale_unetfeats for i in range(3)]
        num_ors = num_feat + scale_orsnetfeats
        act = SharedPReLU()  # one for the whole network
        cab = partial(CAB, kernel_size=kernel_size, reduction=reduction, bias=bias, act=act, recompute=recompute)
        conv = partial(nn.Conv2d, kernel_size=kernel_size, padding=kernel_size // 2, bias=bias)

        for stage in (1, 2, 3):
            self.add_module(f'shallow_feat{stage}', Blocks(conv(num_in_ch, num_feat), cab(num_feat)))
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

        # the memory is made last, so that a seed gives the backbone the same weights with and without it
        self.memory = None
        self.insertions = nn.ModuleDict()
        if memory == 'released':
            self.memory = RawPixelMemory(num_in_ch)
        elif memory == 'feature':
            self._add_memory(memory_opt or {}, levels, insert, feats, num_ors, chained, replace, reconstruction)
        if reconstruction:
            if 1 not in [int(v[5]) for v in self.insertions]:
                raise UsageError("MemoryNet: reconstruction needs 'memory: feature' with a level for stage 1")
            self.head = conv(num_feat, num_out_ch)

    def _add_memory(self, memory_opt, levels, insert, feats, num_ors, chained, replace, reconstruction):
        used = [check_level(v) for v in levels if v is not None]
        if not used or len(levels) > 3:
            raise UsageError(f"MemoryNet: levels must name one to three levels, got {list(levels)}; to have no memory, "
                             "set 'memory: none'")
        if not insert or set(insert) - set(PLACES):
            raise UsageError(f'MemoryNet: insert must list places out of {", ".join(PLACES)}, got {list(insert)}')
        self.memory = HierarchicalMemory(**{'top': max(used, key=LEVELS.index), **memory_opt})
        for stage, level in enumerate(levels, 1):
            places = {v: feats[int(v[-1]) - 1] for v in insert}
            if stage == 3:  # one resolution: shallow features at its start, num_ors channels at its end
                places = {v[:7]: num_ors if v.startswith('decoder') else feats[0] for v in insert}
            for place, num_in in places.items() if level is not None else ():
                self.insertions[f'stage{stage}_{place}'] = MemoryInsertion(
                    num_in,
                    self.memory.num_feat,
                    level,
                    chained,
                    replace,
                    recall=reconstruction and stage == 1,
                    centred=self.memory.centred)

    def forward(self, x):
        """
        Args:
            x (Tensor): (N, C, H, W), RGB or gray, 0 to 1, of any size: it is padded to multiples of 8.

        Returns:
            Tensor: The restored picture, like ``x``, in evaluation mode or with ``supervise: final``; else the list
            [stage 3, stage 2, stage 1] of such pictures.
        """
        h, w = x.shape[2:]
        x1, x2, x3 = self.stage_inputs(self.pad(x))

        # stage 1: quarters, then halves
        enc = self.stage1_encoder(self.shallow_feat1(split_columns(split_rows(x1))), read=partial(self.recall, 1))
        enc = [merge_columns(v) for v in enc]
        dec = self.stage1_decoder(enc, read=partial(self.recall, 1))
        x2_halves = split_rows(x2)
        feat, stage1 = self.sam12(dec[0], x2_halves)
        fused = self.stage2_encoder.fuse(enc, dec)
        del enc, dec  # a large picture's features must not wait for the end of this function

        # stage 2: halves, then the whole
        feat = self.concat12(torch.cat([self.shallow_feat2(x2_halves), feat], dim=1))
        enc = [merge_rows(v) for v in self.stage2_encoder(feat, fused, read=partial(self.recall, 2))]
        del fused
        dec = self.stage2_decoder(enc, read=partial(self.recall, 2))
        feat, stage2 = self.sam23(dec[0], x3)
        fused = self.stage3_orsnet.fuse(enc, dec)
        del enc, dec

        # stage 3: the whole at its own resolution
        shallow = self.recall(3, 'encoder', self.shallow_feat3(x3))
        feat = torch.cat([shallow, feat], dim=1)
        del shallow
        feat = self.concat23(feat)
        feat = self.recall(3, 'decoder', self.stage3_orsnet(feat, fused))
        stage3 = self.tail(feat) + x3

        if not self.training or self.supervise == 'final':
            return stage3[:, :, :h, :w]
        return [v[:, :, :h, :w] for v in (stage3, stage2, merge_rows(stage1))]

    def stage_inputs(self, x):
        """What the three stages see: the picture, or the released memory's reads of it."""
        if isinstance(self.memory, RawPixelMemory):
            return self.memory(x.to(self.memory.memory.weight.dtype))
        return x, x, x

    def recall(self, stage, place, x):
        """Feature x of a stage, joined with what the memory holds for it if the memory is inserted there."""
        key = f'stage{stage}_{place}'
        return self.insertions[key](x, self.memory) if key in self.insertions else x

    def reconstruct(self, x):
        """Mem(Dec(Enc(x))): the picture that stage 1 finds again from the memory alone.

        The reads of stage 1 replace its features, and skips that would lead around them are cut, so that only what the
        prototypes hold gets through. Trained on clean pictures alone, |reconstruct(x) - x| is large where x is not
        like them. The paper names this term and gives no more than the formula; which reads and skips is our choice.

        Args:
            x (Tensor): As in :meth:`forward`.

        Returns:
            Tensor: Like ``x``.
        """
        if not hasattr(self, 'head'):
            raise UsageError("MemoryNet: set 'reconstruction: true' in network_g to reconstruct from the memory")
        h, w = x.shape[2:]
        read = partial(self.recall, 1)
        with recalling(self):
            enc = self.stage1_encoder(self.shallow_feat1(split_columns(split_rows(self.pad(x)))), read=read)
            enc = [merge_columns(v) for v in enc]
            first = min(int(v[-1]) for v in self.insertions if v.startswith('stage1'))
            dec = self.stage1_decoder([v if i >= first or i == 3 else None for i, v in enumerate(enc, 1)], read=read)
        return merge_rows(self.head(dec[0]))[:, :, :h, :w]

    def features(self, x):
        """Last features of stage 3, run alone as an encoder of any picture, for the contrastive loss.

        Args:
            x (Tensor): (N, C, H, W), 0 to 1, of any size.

        Returns:
            tuple[Tensor]: Global features (N, D) and local ones (N, D, H/8, W/8), D = num_feat + scale_orsnetfeats,
            sizes rounded up; the global feature is the mean of the local ones.
        """
        shallow = self.recall(3, 'encoder', self.shallow_feat3(self.pad(x)))
        feat = self.concat23(torch.cat([shallow, torch.zeros_like(shallow)], dim=1))
        local = F.avg_pool2d(self.stage3_orsnet(feat), self.size_multiple)
        return local.mean((2, 3)), local

    def deploy(self):
        """Return a copy for inference alone, faster and smaller in memory, in evaluation mode; see MemoryNetDeploy."""
        return MemoryNetDeploy(self)

    def pad(self, x):
        """Pad right and bottom to multiples of 8, by reflection where the picture is large enough, else its edge."""
        h, w = x.shape[2:]
        pad_h, pad_w = -h % self.size_multiple, -w % self.size_multiple
        if pad_h or pad_w:
            x = F.pad(x, (0, pad_w, 0, pad_h), 'reflect' if pad_h < h and pad_w < w else 'replicate')
        # convolutions on the CPU are a third faster so; on a GPU that is the caller's choice
        return channels_last(x) if x.device.type == 'cpu' else x
