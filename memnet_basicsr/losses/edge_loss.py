import torch
from torch import nn as nn
from torch.nn import functional as F

from basicsr.losses.basic_loss import charbonnier_loss
from basicsr.utils.registry import LOSS_REGISTRY


def laplacian(img):
    """Finest level of the Laplacian pyramid of Burt and Adelson: img - expand(reduce(img)).

    With B the separable blur by [.05, .25, .4, .25, .05] (edge pixels repeated), reduce keeps every second pixel of
    B(img), starting with the first. Expand puts zeros between them and returns 4 B of that.

    Args:
        img (Tensor): (N, C, H, W), of any size.

    Returns:
        Tensor: Like ``img``. It is 0 where the image is constant, except in the two outermost rows and columns, where
        the last blur repeats edge pixels. Published versions of this loss do the same.
    """
    kernel = torch.tensor([.05, .25, .4, .25, .05], dtype=img.dtype, device=img.device)
    kernel = (kernel[:, None] * kernel).expand(img.shape[1], 1, 5, 5)

    def blur(x, scale=1):
        return F.conv2d(F.pad(x, (2, 2, 2, 2), mode='replicate'), scale * kernel, groups=x.shape[1])

    sparse = torch.zeros_like(img)
    sparse[:, :, ::2, ::2] = blur(img)[:, :, ::2, ::2]
    return img - blur(sparse, 4)


@LOSS_REGISTRY.register()
class EdgeLoss(nn.Module):
    """Charbonnier loss between the edges (Laplacians) of two images, mean of sqrt((Lap(x) - Lap(y))^2 + eps^2).

    Multi-Stage Progressive Image Restoration.
    Ref: https://arxiv.org/abs/2102.02808. There, 0.05 times this is added to the Charbonnier loss of each stage.

    Args:
        loss_weight (float): Loss weight. Default: 1.0.
        reduction (str): 'none', 'mean' or 'sum'. Default: 'mean'.
        eps (float): Difference below which the loss is quadratic. CharbonnierLoss expects eps^2. Default: 1e-3.

    Raises:
        ValueError: If ``reduction`` is unknown.
    """

    def __init__(self, loss_weight=1.0, reduction='mean', eps=1e-3):
        super().__init__()
        if reduction not in ('none', 'mean', 'sum'):
            raise ValueError(f"EdgeLoss: reduction must be 'none', 'mean' or 'sum', but received {reduction!r}.")
        self.loss_weight, self.reduction, self.eps = loss_weight, reduction, eps

    def forward(self, pred, target, weight=None):
        """Loss of (N, C, H, W) tensors; ``weight``, (N, 1 or C, H, W), is the weight of each pixel."""
        edges = laplacian(pred - target)  # The Laplacian is linear.
        return self.loss_weight * charbonnier_loss(
            edges, torch.zeros_like(edges), weight, eps=self.eps**2, reduction=self.reduction)
