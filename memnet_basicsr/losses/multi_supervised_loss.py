from torch import nn as nn
from torch.nn import functional as F

from basicsr.utils.registry import LOSS_REGISTRY
from ..errors import UsageError


def multi_supervised_loss(pred, target, alpha=None, reduction='mean'):
    """Half the squared error of the final output and, weighted, of the supervised ones; see MultiSupervisedLoss."""
    final, *supervised = pred if isinstance(pred, (list, tuple)) else [pred]
    scale = 0.5 if reduction == 'mean' else 0.5 / target.shape[0]
    loss = scale * F.mse_loss(final, target, reduction=reduction)
    if not supervised:
        return loss
    if alpha is None:
        alpha = 1 / (len(supervised) + 1)
    others = sum(F.mse_loss(output, target, reduction=reduction) for output in supervised)
    return alpha * loss + (1 - alpha) / len(supervised) * scale * others


@LOSS_REGISTRY.register()
class MultiSupervisedLoss(nn.Module):
    """Loss of MemNet: A Persistent Memory Network for Image Restoration (https://arxiv.org/abs/1708.02209).

    With final output y, supervised outputs y_1..y_M, N pictures in the batch and P numbers (channels, pixels) in each:

    - 'sum' (as released): alpha / (2 N) |gt - y|^2 + (1 - alpha) / (2 M N) sum_m |gt - y_m|^2
    - 'mean': the same divided by P, that is, half the mean squared errors. Gradients are P times smaller, which
      matters for gradient clipping and weight decay.

    A single output y gives |gt - y|^2 / (2 N), and divided by P for 'mean'.

    Args:
        loss_weight (float): Loss weight. Default: 1.0.
        alpha (float): Share of the final output, 0 to 1. Default: 1 / (M + 1), all outputs equal.
        reduction (str): 'mean' or 'sum'. Default: 'mean'.

    Raises:
        UsageError: If alpha or reduction is none of these.
    """

    def __init__(self, loss_weight=1.0, alpha=None, reduction='mean'):
        super().__init__()
        if reduction not in ('mean', 'sum'):
            raise UsageError(f"MultiSupervisedLoss: reduction is {reduction!r}; use 'mean' or 'sum'")
        if alpha is not None and not (isinstance(alpha, (int, float)) and 0 <= alpha <= 1):
            raise UsageError(f'MultiSupervisedLoss: alpha is {alpha!r}; use a number from 0 to 1, '
                             'or leave it out for 1 / (M + 1)')
        self.loss_weight = loss_weight
        self.alpha = alpha
        self.reduction = reduction

    def forward(self, pred, target):
        """
        Args:
            pred (list[Tensor] | Tensor): Final output and y_1..y_M, or the final output alone, each (n, c, h, w).
            target (Tensor): Ground truth, (n, c, h, w).
        """
        return self.loss_weight * multi_supervised_loss(pred, target, self.alpha, self.reduction)
