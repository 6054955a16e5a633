"""Blocks and stages of MPRNet (https://arxiv.org/abs/2102.02808), from its figures, with its parameter names."""
import torch
from torch import nn as nn
from torch.nn import functional as F


def split_rows(x):
    """(N, C, H, W) -> (2N, C, H/2, W): all top halves, then all bottom halves."""
    return torch.cat(x.chunk(2, dim=2), dim=0)


def merge_rows(x):
    """Inverse of :func:`split_rows`."""
    return torch.cat(x.chunk(2, dim=0), dim=2)


def split_columns(x):
    """(N, C, H, W) -> (2N, C, H, W/2): all left halves, then all right halves."""
    return torch.cat(x.chunk(2, dim=3), dim=0)


def merge_columns(x):
    """Inverse of :func:`split_columns`."""
    return torch.cat(x.chunk(2, dim=0), dim=3)


class ChannelAttention(nn.Module):
    """Scale each channel by a gate computed from the spatial means of all channels. Args: see CAB."""

    def __init__(self, num_feat, reduction, bias):
        super().__init__()
        hidden = num_feat // reduction
        self.conv_du = nn.Sequential(
            nn.Conv2d(num_feat, hidden, 1, bias=bias), nn.ReLU(), nn.Conv2d(hidden, num_feat, 1, bias=bias),
            nn.Sigmoid())

    def forward(self, x):
        return x * self.conv_du(F.adaptive_avg_pool2d(x, 1))


class CAB(nn.Module):
    """Channel attention block: x + channel_attention(conv(PReLU(conv(x)))).

    Args:
        num_feat (int): Channels of the features.
        kernel_size (int): Odd kernel size of the two convolutions.
        reduction (int): The hidden layer of the attention has num_feat // reduction channels.
        bias (bool): Whether the convolutions have a bias.
        act (nn.Module): Activation. The whole network shares one PReLU.
    """

    def __init__(self, num_feat, kernel_size, reduction, bias, act):
        super().__init__()
        self.CA = ChannelAttention(num_feat, reduction, bias)
        convs = [nn.Conv2d(num_feat, num_feat, kernel_size, padding=kernel_size // 2, bias=bias) for _ in range(2)]
        self.body = nn.Sequential(convs[0], act, convs[1])

    def forward(self, x):
        return x + self.CA(self.body(x))


class SAM(nn.Module):
    """Supervised attention module: the image of a stage, and features gated by that image."""

    def __init__(self, num_feat, num_out_ch, bias):
        super().__init__()
        self.conv1 = nn.Conv2d(num_feat, num_feat, 1, bias=bias)
        self.conv2 = nn.Conv2d(num_feat, num_out_ch, 1, bias=bias)
        self.conv3 = nn.Conv2d(num_out_ch, num_feat, 1, bias=bias)

    def forward(self, x, base):
        """Features (N, num_feat, H, W) and the image that they correct -> (features, image)."""
        img = self.conv2(x) + base
        return x + self.conv1(x) * torch.sigmoid(self.conv3(img)), img


class Resample(nn.Module):
    """Bilinear resampling by ``scale`` (2 or 0.5), then a 1x1 convolution."""

    def __init__(self, num_in, num_out, scale):
        super().__init__()
        self.name = 'up' if scale > 1 else 'down'
        upsample = nn.Upsample(scale_factor=scale, mode='bilinear', align_corners=False)
        self.add_module(self.name, nn.Sequential(upsample, nn.Conv2d(num_in, num_out, 1, bias=False)))

    def forward(self, x):
        return getattr(self, self.name)(x)


class Encoder(nn.Module):
    """Encoder of three levels with two CABs each.

    With ``fuses``, adds the features of the previous stage at each level (cross-stage feature fusion, CSFF).

    Args:
        feats (list[int]): Channels of the levels.
        cab (callable): ``cab(num_feat)`` builds a block.
        bias (bool): Whether the 1x1 convolutions of the fusion have a bias.
        fuses (bool): Whether there is a previous stage to fuse.
    """

    def __init__(self, feats, cab, bias, fuses):
        super().__init__()
        for i, num_feat in enumerate(feats, 1):
            self.add_module(f'encoder_level{i}', nn.Sequential(cab(num_feat), cab(num_feat)))
        self.down12 = Resample(feats[0], feats[1], 0.5)
        self.down23 = Resample(feats[1], feats[2], 0.5)
        for side in ('enc', 'dec') if fuses else ():
            for i, num_feat in enumerate(feats, 1):
                self.add_module(f'csff_{side}{i}', nn.Conv2d(num_feat, num_feat, 1, bias=bias))

    def fuse(self, enc, dec):
        """Features to add at levels 1 to 3, from the encoder and decoder features of the previous stage."""
        return [
            getattr(self, f'csff_enc{i}')(e) + getattr(self, f'csff_dec{i}')(d)
            for i, (e, d) in enumerate(zip(enc, dec), 1)
        ]

    def forward(self, x, fused=None, read=None):
        """Encode x.

        Args:
            x (Tensor): (N, feats[0], H, W), H and W multiples of 4.
            fused (list[Tensor] | None): Result of :meth:`fuse`. Default: None.
            read (callable | None): Applied to the features of each level as ``read('encoder<level>', features)``.
                Default: None.

        Returns:
            list[Tensor]: Features of levels 1 to 3, at 1, 1/2 and 1/4 of the size.
        """
        out = []
        for i in (1, 2, 3):
            x = getattr(self, f'encoder_level{i}')(x)
            x = x if read is None else read(f'encoder{i}', x)
            x = x if fused is None else x + fused[i - 1]
            out.append(x)
            if i < 3:
                x = getattr(self, f'down{i}{i + 1}')(x)
        return out


class Decoder(nn.Module):
    """Three levels of two blocks each, from the smallest up, with a block on each skip. Args: see Encoder."""

    def __init__(self, feats, cab):
        super().__init__()
        for i, num_feat in enumerate(feats, 1):
            self.add_module(f'decoder_level{i}', nn.Sequential(cab(num_feat), cab(num_feat)))
        self.skip_attn1 = cab(feats[0])
        self.skip_attn2 = cab(feats[1])
        self.up21 = Resample(feats[1], feats[0], 2)
        self.up32 = Resample(feats[2], feats[1], 2)

    def forward(self, enc, read=None):
        """Decode the list of the encoder's features to such a list. None at level 1 or 2 cuts that skip connection.

        ``read`` is applied as in Encoder, with 'decoder<level>'.
        """
        x, out = enc[2], []
        for i in (3, 2, 1):
            if i < 3:
                x = getattr(self, f'up{i + 1}{i}')(x)
                if enc[i - 1] is not None:
                    x = x + getattr(self, f'skip_attn{i}')(enc[i - 1])
            x = getattr(self, f'decoder_level{i}')(x)
            x = x if read is None else read(f'decoder{i}', x)
            out.insert(0, x)
        return out


class ORB(nn.Module):
    """Original-resolution block: x + conv(blocks(x))."""

    def __init__(self, num_feat, num_cab, cab, kernel_size, bias):
        super().__init__()
        tail = nn.Conv2d(num_feat, num_feat, kernel_size, padding=kernel_size // 2, bias=bias)
        self.body = nn.Sequential(*[cab(num_feat) for _ in range(num_cab)], tail)

    def forward(self, x):
        return x + self.body(x)


class ORSNet(nn.Module):
    """Original-resolution subnetwork: three ORBs, each followed by the features of one level of stage 2 (CSFF).

    Args: channels ``feats`` of the levels of stage 2, ``num_ors`` of this stage, and ``num_cab`` blocks in each ORB.
    """

    def __init__(self, feats, num_ors, num_cab, cab, kernel_size, bias):
        super().__init__()
        for i in (1, 2, 3):
            self.add_module(f'orb{i}', ORB(num_ors, num_cab, cab, kernel_size, bias))
        for side in ('enc', 'dec'):
            up32, up21 = Resample(feats[2], feats[1], 2), Resample(feats[1], feats[0], 2)
            self.add_module(f'up_{side}1', Resample(feats[1], feats[0], 2))
            self.add_module(f'up_{side}2', nn.Sequential(up32, up21))
            for i in (1, 2, 3):
                self.add_module(f'conv_{side}{i}', nn.Conv2d(feats[0], num_ors, 1, bias=bias))

    def fuse(self, enc, dec):
        """Features to add after ORB 1 to 3, (N, num_ors, H, W) each, from levels 1 to 3 of stage 2."""
        out = []
        for i, (e, d) in enumerate(zip(enc, dec), 1):
            if i > 1:
                e, d = getattr(self, f'up_enc{i - 1}')(e), getattr(self, f'up_dec{i - 1}')(d)
            out.append(getattr(self, f'conv_enc{i}')(e) + getattr(self, f'conv_dec{i}')(d))
        return out

    def forward(self, x, fused=None):
        """(N, num_ors, H, W) and the result of :meth:`fuse`, or None for the ORBs alone -> (N, num_ors, H, W)."""
        for i in (1, 2, 3):
            x = getattr(self, f'orb{i}')(x)
            x = x if fused is None else x + fused[i - 1]
        return x
