import torch
from torch import nn as nn

from basicsr.utils.registry import LOSS_REGISTRY


@LOSS_REGISTRY.register()
class PSNRLoss(nn.Module):
    """Negative PSNR of images in [0, 1]: mean over the images of 10 log10(MSE + eps).

    Ref: HINet, https://arxiv.org/abs/2105.06086. Arguments as in the option files of HINet and NAFNet.

    Args:
        loss_weight (float): Loss weight. Default: 1.0.
        reduction (str): Only 'mean'. Default: 'mean'.
        toY (bool): Whether to compare the luminance (BT.601, [16, 235] / 255) of RGB images. Default: False.
        eps (float): Bounds the loss and its gradient where the MSE is small: 1e-4 keeps almost clean images (40 dB
            and above) from outweighing the others. Default: 1e-8.

    Raises:
        ValueError: For another reduction, and for ``toY`` without 3 channels.
    """

    def __init__(self, loss_weight=1.0, reduction='mean', toY=False, eps=1e-8):
        super().__init__()
        if reduction != 'mean':
            raise ValueError(f"PSNRLoss: reduction must be 'mean', but received {reduction!r}.")
        self.loss_weight, self.toY, self.eps = loss_weight, toY, eps

    def forward(self, pred, target):
        """Loss of (N, C, H, W) tensors, RGB or gray."""
        diff = pred - target
        if self.toY:
            if diff.shape[1] != 3:
                raise ValueError(f'PSNRLoss: toY needs RGB images, but received {diff.shape[1]} channels.')
            diff = torch.einsum('nchw,c->nhw', diff, diff.new_tensor([65.481, 128.553, 24.966]) / 255)
        return self.loss_weight * 10 * torch.log10((diff**2).flatten(1).mean(1) + self.eps).mean()
