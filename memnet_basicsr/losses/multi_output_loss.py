from torch import nn

from basicsr.utils.registry import LOSS_REGISTRY


@LOSS_REGISTRY.register()
class MultiOutputLoss(nn.Module):
    """Weighted sum of several losses over several outputs: sum_k v_k sum_i loss_i(output_k, target).

    Args:
        losses (list[dict]): Options of the losses, each with its ``type`` and ``loss_weight`` as in ``pixel_opt``.
        output_weights (list[float] | None): v_k, final output first; None is 1 for each. Default: None.
        average (bool): Divide by the number of outputs, so that v_k may be left out where all count alike, as in
            MemNet (alpha = 1 / (M + 1)). Default: False.

    Raises:
        ValueError: No losses; another number of outputs than weights.
    """

    def __init__(self, losses, output_weights=None, average=False):
        from basicsr.losses import build_loss  # not at the top: in BasicSR itself this file is loaded before it exists

        super().__init__()
        if not losses:
            raise ValueError('MultiOutputLoss: losses must list at least one loss')
        self.losses = nn.ModuleList([build_loss(v) for v in losses])
        self.names = self._names([v['type'] for v in losses])
        self.output_weights = output_weights
        self.average = average

    @staticmethod
    def _names(types):
        """Short names for the log: CharbonnierLoss -> charbonnier; a type that comes twice is numbered."""
        names = [v[:-4].lower() if v.endswith('Loss') else v.lower() for v in types]
        return [v if names.count(v) == 1 else f'{v}{names[:i].count(v) + 1}' for i, v in enumerate(names)]

    def terms(self, outputs, target, weight=None):
        """The terms of the sum by name, each over all outputs. Args: as in :meth:`forward`.

        Returns:
            dict[str, Tensor]: Scalars whose sum is the loss.
        """
        outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
        weights = self.weights_of(len(outputs))
        extra = {} if weight is None else {'weight': weight}
        return {
            name: sum(v * loss(output, target, **extra) for v, output in zip(weights, outputs) if v)
            for name, loss in zip(self.names, self.losses)
        }

    def weights_of(self, num_outputs):
        """Weight of each output, final output first."""
        weights = self.output_weights or [1.0] * num_outputs
        if len(weights) != num_outputs:
            raise ValueError(
                f'MultiOutputLoss: {len(weights)} output_weights for {num_outputs} outputs of the network.')
        return [v / num_outputs for v in weights] if self.average else weights

    def forward(self, outputs, target, weight=None):
        """
        Args:
            outputs (Tensor | list[Tensor]): (N, C, H, W) each, final output first.
            target (Tensor): (N, C, H, W).
            weight (Tensor | None): (N, 1 or C, H, W), weight of each pixel, for losses that take one. Default: None.
        """
        return sum(self.terms(outputs, target, weight).values())
