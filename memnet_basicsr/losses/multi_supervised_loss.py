from basicsr.utils.registry import LOSS_REGISTRY
from .multi_output_loss import MultiOutputLoss


@LOSS_REGISTRY.register()
class MultiSupervisedLoss(MultiOutputLoss):
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
        ValueError: If alpha or reduction is none of these.
    """

    def __init__(self, loss_weight=1.0, alpha=None, reduction='mean'):
        if reduction not in ('mean', 'sum'):
            raise ValueError(f"MultiSupervisedLoss: reduction must be 'mean' or 'sum', but received {reduction!r}.")
        if alpha is not None and not (isinstance(alpha, (int, float)) and 0 <= alpha <= 1):
            raise ValueError(f'MultiSupervisedLoss: alpha must be a number in [0, 1], but received {alpha!r}.')
        super().__init__([dict(type='MSELoss', loss_weight=loss_weight / 2, reduction=reduction)])
        self.alpha = alpha
        self.reduction = reduction

    def weights_of(self, num_outputs):
        if num_outputs == 1:
            return [1.0]
        alpha = 1 / num_outputs if self.alpha is None else self.alpha
        return [alpha] + [(1 - alpha) / (num_outputs - 1)] * (num_outputs - 1)

    def terms(self, outputs, target, weight=None):
        terms = super().terms(outputs, target, weight)
        return {name: v / len(target) for name, v in terms.items()} if self.reduction == 'sum' else terms
