"""The stages of MPRNet (https://arxiv.org/abs/2102.02808), on which MemoryNet stands.

Written from the paper's figures; parameter names are the published ones, so that published weights load. Outputs are
those of the plain form, with less work: 1x1 convolutions run at the smaller size where they commute with bilinear
up-sampling, consecutive ones are merged into one matrix, and what is added is added before it is up-sampled.
"""
import torch
from torch import nn
from torch.nn import functional as F

from .mprnet_util import Blocks, add, conv1x1, upsample


class Resample(nn.Module):
    """Bilinear resampling by ``scale`` (2 or 0.5) and a 1x1 convolution, the convolution at the smaller size."""

    def __init__(self, num_in, num_out, scale):
        super().__init__()
        self.name = 'up' if scale > 1 else 'down'
        self.add_module(self.name, nn.Sequential(nn.Identity(), nn.Conv2d(num_in, num_out, 1, bias=False)))

    @property
    def conv(self):
        return getattr(self, self.name)[1]

    def forward(self, x):
        if self.name == 'up':
            return upsample(self.conv(x))
        return self.conv(F.avg_pool2d(x, 2))  # bilinear x0.5 of an even size is the mean of 2x2


class Encoder(nn.Module):
    """Three levels of two blocks each; the second stage's adds what the first stage found at the same level (CSFF).

    Args:
        feats (list[int]): Channels of the levels.
        cab (callable): cab(num_feat) builds a block.
        bias (bool): Whether the fusing 1x1 convolutions have a bias.
        fuses (bool): Whether there is a previous stage.
    """

    def __init__(self, feats, cab, bias, fuses):
        super().__init__()
        for i, num_feat in enumerate(feats, 1):
            self.add_module(f'encoder_level{i}', Blocks(cab(num_feat), cab(num_feat)))
        self.down12 = Resample(feats[0], feats[1], 0.5)
        self.down23 = Resample(feats[1], feats[2], 0.5)
        for side in ('enc', 'dec') if fuses else ():
            for i, num_feat in enumerate(feats, 1):
                self.add_module(f'csff_{side}{i}', nn.Conv2d(num_feat, num_feat, 1, bias=bias))

    def fuse(self, enc, dec):
        """What to add at each level, from the lists of the previous stage's encoder and decoder features."""
        return [
            getattr(self, f'csff_enc{i}')(e).add_(getattr(self, f'csff_dec{i}')(d))
            for i, (e, d) in enumerate(zip(enc, dec), 1)
        ]

    def forward(self, x, fused=None, read=None):
        """
        Args:
            x (Tensor): (N, feats[0], H, W), H and W multiples of 4.
            fused (list[Tensor] | None): Result of :meth:`fuse`. Default: None.
            read (callable | None): read('encoder<level>', features) returns the features joined with what the memory
                holds for them. Default: None.

        Returns:
            list[Tensor]: Features of levels 1 to 3, at sizes 1, 1/2 and 1/4.
        """
        out = []
        for i in (1, 2, 3):
            x = getattr(self, f'encoder_level{i}')(x)
            if read is not None:
                x = read(f'encoder{i}', x)
            if fused is not None:
                x = add(x, fused[i - 1])
            out.append(x)
            if i < 3:
                x = getattr(self, f'down{i}{i + 1}')(x)
        return out


class Decoder(nn.Module):
    """Three levels of two blocks each from the smallest up, each joined by its skip block. Args: as in Encoder."""

    def __init__(self, feats, cab):
        super().__init__()
        for i, num_feat in enumerate(feats, 1):
            self.add_module(f'decoder_level{i}', Blocks(cab(num_feat), cab(num_feat)))
        self.skip_attn1 = cab(feats[0])
        self.skip_attn2 = cab(feats[1])
        self.up21 = Resample(feats[1], feats[0], 2)
        self.up32 = Resample(feats[2], feats[1], 2)

    def forward(self, enc, read=None):
        """
        Args:
            enc (list[Tensor | None]): The encoder's features, levels 1 to 3; None at level 1 or 2 cuts that skip.
            read (callable | None): As in Encoder, with 'decoder<level>'. Default: None.

        Returns:
            list[Tensor]: Features of levels 1 to 3.
        """
        out = []
        for i in (3, 2, 1):
            if i == 3:
                x = enc[2]
            else:
                x = getattr(self, f'up{i + 1}{i}')(x)
                if enc[i - 1] is not None:
                    x = add(x, Blocks(getattr(self, f'skip_attn{i}'))(enc[i - 1]))
            x = getattr(self, f'decoder_level{i}')(x)
            if read is not None:
                x = read(f'decoder{i}', x)
            out.insert(0, x)
        return out


class ORSNet(nn.Module):
    """Original-resolution network: three groups of blocks, each followed by the second stage's features of one level.

    Args:
        feats (list[int]): Channels of the second stage's levels.
        num_ors (int): Channels at the original resolution.
        num_cab (int): Blocks per group.
        cab, bias, kernel_size: As in CAB.
    """

    def __init__(self, feats, num_ors, num_cab, cab, kernel_size, bias):
        super().__init__()
        for i in (1, 2, 3):
            tail = nn.Conv2d(num_ors, num_ors, kernel_size, padding=kernel_size // 2, bias=bias)
            self.add_module(f'orb{i}', nn.Module())
            getattr(self, f'orb{i}').body = Blocks(*[cab(num_ors) for _ in range(num_cab)], tail)
        for side in ('enc', 'dec'):
            up32, up21 = Resample(feats[2], feats[1], 2), Resample(feats[1], feats[0], 2)
            self.add_module(f'up_{side}1', Resample(feats[1], feats[0], 2))
            self.add_module(f'up_{side}2', nn.Sequential(up32, up21))
            for i in (1, 2, 3):
                self.add_module(f'conv_{side}{i}', nn.Conv2d(feats[0], num_ors, 1, bias=bias))

    def fuse(self, enc, dec):
        """What to add behind each group, still at the size of its level.

        All that follows the sum is linear per pixel or bilinear, so the 1x1 convolutions are merged and the two sides
        are added at the small size.
        """
        out = []
        for i in (1, 2, 3):
            maps = []
            for side, feat in (('enc', enc[i - 1]), ('dec', dec[i - 1])):
                ups = {1: [], 2: [getattr(self, f'up_{side}1')], 3: getattr(self, f'up_{side}2')}[i]
                last = getattr(self, f'conv_{side}{i}')
                feat = conv1x1(feat, *[v.conv for v in ups], last)
                maps.append(feat if last.bias is None else feat + last.bias.view(-1, 1, 1))
            out.append(maps[0].add_(maps[1]))
        return out

    def forward(self, x, fused=None):
        """
        Args:
            x (Tensor): (N, num_ors, H, W), overwritten where no gradient is asked for.
            fused (list[Tensor] | None): Result of :meth:`fuse`, used up; None runs the groups alone. Default: None.

        Returns:
            Tensor: (N, num_ors, H, W).
        """
        for i in (1, 2, 3):
            skip, body = x, getattr(self, f'orb{i}').body
            x = body[:2](x)
            if fused is not None:
                extra = fused.pop(0)  # so that it is freed: that counts on large pictures
                for _ in range(i - 1):
                    extra = upsample(extra)
                skip = add(skip, extra)
                del extra
            x = add(body[2:](x), skip)
        return x


class SAM(nn.Module):
    """Supervised attention module: the stage's picture, and features that are gated by that picture.

    Args:
        num_feat (int): Channels of the features.
        num_out_ch (int): Channels of the picture.
        bias (bool): Whether the three 1x1 convolutions have a bias.
    """

    def __init__(self, num_feat, num_out_ch, bias):
        super().__init__()
        self.conv1 = nn.Conv2d(num_feat, num_feat, 1, bias=bias)
        self.conv2 = nn.Conv2d(num_feat, num_out_ch, 1, bias=bias)
        self.conv3 = nn.Conv2d(num_out_ch, num_feat, 1, bias=bias)

    def forward(self, x, base):
        """Features (N, num_feat, H, W) and the picture that they correct -> (features, picture)."""
        img = self.conv2(x) + base
        return torch.addcmul(x, self.conv1(x), torch.sigmoid(self.conv3(img))), img
