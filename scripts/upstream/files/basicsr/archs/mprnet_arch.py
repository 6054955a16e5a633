import torch
from functools import partial
from torch import nn as nn
from torch.nn import functional as F

from basicsr.utils.registry import ARCH_REGISTRY
from .mprnet_util import CAB, SAM, Decoder, Encoder, ORSNet, merge_columns, merge_rows, split_columns, split_rows


@ARCH_REGISTRY.register()
class MPRNet(nn.Module):
    """MPRNet: Multi-Stage Progressive Image Restoration.

    Ref: https://arxiv.org/abs/2102.02808 (CVPR 2021). Encoder 1 sees quarters of the image, decoder 1 and encoder 2 see
    halves, and the rest sees the whole image. The default is the network for deraining; that for deblurring is wider.

    Args:
        num_in_ch (int): Channels of the input. Default: 3.
        num_out_ch (int): Channels of the output, equal to num_in_ch. Default: 3.
        num_feat (int): Channels of level 1. Default: 40.
        scale_unetfeats (int): Channels added at each deeper level. Default: 20.
        scale_orsnetfeats (int): Channels added in stage 3. Default: 16.
        num_cab (int): Channel attention blocks in each of the three groups of stage 3. Default: 8.
        kernel_size (int): Kernel size of the blocks. Default: 3.
        reduction (int): Reduction of the channel attention. Default: 4.
        bias (bool): Whether convolutions have a bias. Default: False.
        supervise (str): Training returns the list [stage 3, stage 2, stage 1] ('all') or 'final'. Default: 'all'.
    """

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
                 supervise='all'):
        super(MPRNet, self).__init__()
        assert num_in_ch == num_out_ch, f'num_in_ch {num_in_ch} and num_out_ch {num_out_ch} must be equal.'
        assert supervise in ('all', 'final'), f"supervise must be 'all' or 'final', but received {supervise}."
        self.supervise = supervise
        self.feats = feats = [num_feat + i * scale_unetfeats for i in range(3)]
        self.num_ors = num_ors = num_feat + scale_orsnetfeats
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

    def forward(self, x):
        """Restore an image x, (n, num_in_ch, h, w), in [0, 1], of any size. Outputs have the same shape."""
        h, w = x.shape[2:]
        x = self.pad(x)
        # stage 1: encoder on quarters, decoder on halves
        enc = self.stage1_encoder(self.shallow_feat1(split_columns(split_rows(x))), read=partial(self.read, 1))
        enc = [merge_columns(v) for v in enc]
        dec = self.stage1_decoder(enc, read=partial(self.read, 1))
        feat, stage1 = self.sam12(dec[0], split_rows(x))
        # stage 2: encoder on halves, decoder on the whole image
        feat = self.concat12(torch.cat([self.shallow_feat2(split_rows(x)), feat], dim=1))
        enc = self.stage2_encoder(feat, self.stage2_encoder.fuse(enc, dec), read=partial(self.read, 2))
        enc = [merge_rows(v) for v in enc]
        dec = self.stage2_decoder(enc, read=partial(self.read, 2))
        feat, stage2 = self.sam23(dec[0], x)
        # stage 3: original resolution
        feat = self.concat23(torch.cat([self.read(3, 'encoder', self.shallow_feat3(x)), feat], dim=1))
        feat = self.stage3_orsnet(feat, self.stage3_orsnet.fuse(enc, dec))
        outputs = [self.tail(self.read(3, 'decoder', feat)) + x, stage2, merge_rows(stage1)]
        outputs = [v[:, :, :h, :w] for v in outputs]
        return outputs if self.training and self.supervise == 'all' else outputs[0]

    def read(self, stage, place, feat):
        """Hook for subclasses at each level of a stage: features to use instead of ``feat``."""
        return feat

    def pad(self, x):
        """Pad right and bottom to multiples of 8 by reflection, or by replication if the image is too small."""
        h, w = x.shape[2:]
        return F.pad(x, (0, -w % 8, 0, -h % 8), 'reflect' if -h % 8 < h and -w % 8 < w else 'replicate')
