import torch
from torch import nn

from basicsr.utils.registry import LOSS_REGISTRY


@LOSS_REGISTRY.register()
class PSNRLoss(nn.Module):
    """Negative PSNR of images from 0 to 1: mean over the images of 10 log10(MSE + eps).

    Name and arguments are those of HINet's and NAFNet's option files (https://arxiv.org/abs/2204.04676).

    Args:
        loss_weight (float): Factor of the loss. Default: 1.0.
        reduction (str): 'mean' is the only one. Default: 'mean'.
        toY (bool): Compare the luminance (16-235, BT.601) of RGB images. Default: False.

        eps (float): Bounds the loss and its gradient where the MSE is small: 1e-4 keeps almost clean images (40 dB
            and above) from outweighing the others. Default: 1e-8.

    Raises:
        ValueError: Another reduction; ``toY`` with other than 3 channels.
    """

    def __init__(self, loss_weight=1.0, reduction='mean', toY=False, eps=1e-8):
        super().__init__()
        if reduction != 'mean':
            raise ValueError(f"PSNRLoss: reduction must be 'mean', got '{reduction}'")
        self.loss_weight = loss_weight
        self.toY = toY
        self.eps = eps

    def forward(self, pred, target):
        """
        Args:
            pred (Tensor): (N, C, H, W), RGB or gray, 0 to 1.
            target (Tensor): (N, C, H, W).
        """
        diff = pred - target
        if self.toY:
            if diff.shape[1] != 3:
                raise ValueError(f'PSNRLoss: toY needs RGB images, got {diff.shape[1]} channels')
            diff = torch.einsum('nchw,c->nhw', diff, diff.new_tensor([65.481, 128.553, 24.966]) / 255)
        return self.loss_weight * 10 * torch.log10(diff.square().flatten(1).mean(1) + self.eps).mean()
