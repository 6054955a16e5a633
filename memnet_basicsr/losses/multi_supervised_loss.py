from torch import nn as nn
from torch.nn import functional as F

from basicsr.utils.registry import LOSS_REGISTRY


@LOSS_REGISTRY.register()
class MultiSupervisedLoss(nn.Module):
    """Loss of MemNet: A Persistent Memory Network for Image Restoration.

    Ref: https://arxiv.org/abs/1708.02209. With the final output y, supervised outputs y_1, ..., y_M, N images in the
    batch and P values (channels times pixels) in each image:

    - 'sum' (released): alpha / (2 N) |gt - y|^2 + (1 - alpha) / (2 M N) sum_m |gt - y_m|^2
    - 'mean': the same divided by P, that is, half the mean squared errors. Gradients are P times smaller, which matters
      for gradient clipping and weight decay.

    A single output y gives |gt - y|^2 / (2 N), divided by P for 'mean'.

    Args:
        loss_weight (float): Loss weight. Default: 1.0.
        alpha (float | None): Share of the final output, in [0, 1]; None for 1 / (M + 1), all outputs equal.
            Default: None.
        reduction (str): 'mean' or 'sum'. Default: 'mean'.

    Raises:
        ValueError: If ``alpha`` is outside [0, 1] or ``reduction`` is unknown.
    """

    def __init__(self, loss_weight=1.0, alpha=None, reduction='mean'):
        super().__init__()
        if reduction not in ('mean', 'sum'):
            raise ValueError(f"MultiSupervisedLoss: reduction must be 'mean' or 'sum', but received {reduction!r}.")
        if alpha is not None and not (isinstance(alpha, (int, float)) and 0 <= alpha <= 1):
            raise ValueError(f'MultiSupervisedLoss: alpha must be a number in [0, 1], but received {alpha!r}.')
        self.loss_weight, self.alpha, self.reduction = loss_weight, alpha, reduction

    def forward(self, outputs, target):
        """Loss of a tensor or of the list [y, y_1, ..., y_M], each like the target, (N, C, H, W)."""
        outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
        errors = [F.mse_loss(v, target, reduction=self.reduction) for v in outputs]
        alpha = 1 / len(errors) if self.alpha is None else self.alpha
        loss = alpha * errors[0] + (1 - alpha) * sum(errors[1:]) / (len(errors) - 1) if errors[1:] else errors[0]
        return self.loss_weight * loss / (2 * len(target) if self.reduction == 'sum' else 2)
