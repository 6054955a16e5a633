from torch import nn as nn

from ..registry import ARCH_REGISTRY


@ARCH_REGISTRY.register()
class ContrastEncoder(nn.Module):
    """Small image encoder for ThreeClassContrastiveLoss: strided convolutions and a linear embedding.

    MemoryNet (https://arxiv.org/abs/2309.01377) does not specify its embedding network; this design is our own.

    Args:
        num_in_ch (int): Channels of the image. Default: 3.
        num_feat (int): Channels after the first convolution; doubled twice. Default: 32.
        num_down (int): Number of 3x3 convolutions with stride 2, at least 1. Default: 4.
        num_embed (int): Dimension of the embedding. Default: 128.
    """

    def __init__(self, num_in_ch=3, num_feat=32, num_down=4, num_embed=128):
        super().__init__()
        widths = [num_in_ch] + [num_feat * min(2**i, 4) for i in range(num_down)]
        layers = []
        for i in range(num_down):
            layers += [nn.Conv2d(widths[i], widths[i + 1], 3, 2, 1), nn.LeakyReLU(0.1, inplace=True)]
        self.body = nn.Sequential(*layers, nn.Conv2d(widths[-1], num_embed, 1))

    def forward(self, x):
        """Images (N, C, H, W), 0 to 1, of any size -> global (N, num_embed) and local (N, num_embed, h, w) features.

        The size of the local ones is H and W over 2^num_down, rounded up; the global feature is their mean.
        """
        local = self.body(x)
        return local.mean((2, 3)), local
