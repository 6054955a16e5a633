import torch
from torch import nn as nn
from torch.nn import functional as F

from ..registry import ARCH_REGISTRY


class PreActConv(nn.Module):
    """BatchNorm, ReLU and a convolution that keeps the size, in this order."""

    def __init__(self, num_in_ch, num_out_ch, kernel_size):
        super().__init__()
        self.norm = nn.BatchNorm2d(num_in_ch)
        self.conv = nn.Conv2d(num_in_ch, num_out_ch, kernel_size, padding=kernel_size // 2)

    def forward(self, x):
        return self.conv(F.relu(self.norm(x)))


class MemoryBlock(nn.Module):
    """Memory block: a recursive unit (short-term memory) and a gate unit over short-term and long-term memory.

    Args:
        num_feat (int): Channels of the features.
        num_recursion (int): Recursions R of the residual block.
        num_long (int): Outputs B_0, ..., B_{m-1} of earlier blocks that reach the gate; 0 for none.
        short_term (bool): Whether H_1, ..., H_{R-1} reach the gate. H_R always does.
        shared_recursion (bool): Whether the recursions share their convolutions. They never share their BatchNorms.
    """

    def __init__(self, num_feat, num_recursion, num_long, short_term, shared_recursion):
        super().__init__()
        self.num_recursion, self.num_long, self.short_term = num_recursion, num_long, short_term
        num_conv = 1 if shared_recursion else num_recursion
        self.conv_a = nn.ModuleList([nn.Conv2d(num_feat, num_feat, 3, padding=1) for _ in range(num_conv)])
        self.conv_b = nn.ModuleList([nn.Conv2d(num_feat, num_feat, 3, padding=1) for _ in range(num_conv)])
        self.norm_a = nn.ModuleList([nn.BatchNorm2d(num_feat) for _ in range(num_recursion)])
        self.norm_b = nn.ModuleList([nn.BatchNorm2d(num_feat) for _ in range(num_recursion)])
        num_sources = num_long + (num_recursion if short_term else 1)
        self.gate = PreActConv(num_sources * num_feat, num_feat, 1)

    def forward(self, memories):
        """Return B_m for the list [B_0, ..., B_{m-1}], each (n, num_feat, h, w)."""
        h, short = memories[-1], []
        for r in range(self.num_recursion):
            conv_a, conv_b = self.conv_a[r % len(self.conv_a)], self.conv_b[r % len(self.conv_b)]
            residual = conv_a(F.relu(self.norm_a[r](h)))
            h = h + conv_b(F.relu(self.norm_b[r](residual)))
            short.append(h)
        short = short if self.short_term else short[-1:]
        # Order of the released definition. The paper's equation has the short-term memory first.
        return self.gate(torch.cat(memories[:self.num_long] + short, dim=1))


@ARCH_REGISTRY.register()
class MemNet(nn.Module):
    """MemNet: A Persistent Memory Network for Image Restoration.

    Ref: https://arxiv.org/abs/1708.02209 (ICCV 2017). Where the paper is silent (order of the gate's sources, shared
    weights), this follows the published Caffe definition. There, biases learn at 0.1 times the learning rate. Two
    departures: the bias of the first BatchNorm starts at 3, and w_m at 1 / M (Caffe: 1).

    Args:
        num_in_ch (int): Channels of the input and the output: 1 (gray or Y) or 3 (RGB). Default: 1.
        num_feat (int): Channels of the features. Default: 64.
        num_block (int): Memory blocks M. Default: 6.
        num_recursion (int): Recursions R in each block. Default: 6.
        multi_supervised (bool): Whether every block gives an output y_m, and the result is sum_m w_m y_m with
            learnable w_m. If False, the result is y_M. Default: True.
        supervise (str): 'all': training returns [result, y_1, ..., y_M]; 'final': only the result. Default: 'all'.
        long_term (bool): Whether B_0, ..., B_{m-1} reach the gates. False is the paper's MemNet_NL. Default: True.
        short_term (bool): Whether H_1, ..., H_{R-1} reach the gates. False is the paper's MemNet_NS. Default: True.
        shared_recursion (bool): Whether the recursions of a block share their convolutions. Default: True.
        unshuffle (int): Factor r of a pixel-unshuffle in front of the network and a pixel-shuffle behind it: features
            have 1 / r of the image's height and width, as in FFDNet (https://arxiv.org/abs/1710.04026). 1 is the
            paper's network. Default: 1.

    Raises:
        ValueError: If an argument is outside its range.
    """

    def __init__(self,
                 num_in_ch=1,
                 num_feat=64,
                 num_block=6,
                 num_recursion=6,
                 multi_supervised=True,
                 supervise='all',
                 long_term=True,
                 short_term=True,
                 shared_recursion=True,
                 unshuffle=1):
        super().__init__()
        if supervise not in ('all', 'final'):
            raise ValueError(f"supervise must be 'all' or 'final', but received {supervise!r}.")
        sizes = dict(num_in_ch=num_in_ch, num_feat=num_feat, num_block=num_block, num_recursion=num_recursion)
        for name, value in dict(sizes, unshuffle=unshuffle).items():
            if not isinstance(value, int) or value < 1:
                raise ValueError(f'{name} must be a positive integer, but received {value!r}.')
        self.multi_supervised, self.supervise, self.unshuffle = multi_supervised, supervise, unshuffle
        num_ch = num_in_ch * unshuffle**2

        self.fenet = PreActConv(num_ch, num_feat, 3)
        self.memory_blocks = nn.ModuleList([
            MemoryBlock(num_feat, num_recursion, m if long_term else 0, short_term, shared_recursion)
            for m in range(1, num_block + 1)
        ])
        # The blocks share the reconstruction convolution, but not its BatchNorm.
        num_out = num_block if multi_supervised else 1
        self.recon_norms = nn.ModuleList([nn.BatchNorm2d(num_feat) for _ in range(num_out)])
        self.recon_conv = nn.Conv2d(num_feat, num_ch, 3, padding=1)
        if multi_supervised:
            self.ensemble_weight = nn.Parameter(torch.full((num_block, ), 1 / num_block))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
                nn.init.zeros_(module.bias)
        # Departure: with a bias of 0, the first ReLU hides pixels darker than the mean, and training hardly moves it
        # where residuals are small (JPEG, SR). 3 standard deviations pass the whole image.
        nn.init.constant_(self.fenet.norm.bias, 3)

    def forward(self, x):
        """Restore an image x, (n, num_in_ch, h, w), in [0, 1], of any size. Outputs have the same shape."""
        h, w = x.shape[2:]
        if self.unshuffle > 1:
            x = F.pad(x, (0, -w % self.unshuffle, 0, -h % self.unshuffle), mode='replicate')
            x = F.pixel_unshuffle(x, self.unshuffle)
        memories = [self.fenet(x)]
        for block in self.memory_blocks:
            memories.append(block(memories))
        memories = memories[-len(self.recon_norms):]
        outputs = [x + self.reconstruct(memory, norm) for memory, norm in zip(memories, self.recon_norms)]
        if self.unshuffle > 1:
            outputs = [F.pixel_shuffle(v, self.unshuffle)[:, :, :h, :w] for v in outputs]
        if not self.multi_supervised:
            return outputs[0]
        result = sum(weight * v for weight, v in zip(self.ensemble_weight, outputs))
        return [result] + outputs if self.training and self.supervise == 'all' else result

    def reconstruct(self, memory, norm):
        """Residual image of one memory block."""
        return self.recon_conv(F.relu(norm(memory)))
