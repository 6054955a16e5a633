from torch import nn as nn

from basicsr.utils.registry import LOSS_REGISTRY


@LOSS_REGISTRY.register()
class MultiOutputLoss(nn.Module):
    """Weighted sum of several losses over several outputs: sum_k v_k sum_i loss_i(output_k, target).

    Args:
        losses (list[dict]): Options of the losses, each with its ``type`` and ``loss_weight`` as in ``pixel_opt``. Each
            must return one tensor, which PerceptualLoss does not.
        output_weights (list[float] | None): v_k, final output first. None for 1 each. 0 skips an output. Layers that
            only it uses then get no gradient, which needs ``find_unused_parameters`` in DDP. Default: None.
        average (bool): Whether to divide v_k by the number of outputs. Default: False.

    Raises:
        ValueError: If there are no losses, or another number of outputs than weights.
    """

    def __init__(self, losses, output_weights=None, average=False):
        # Imported here because basicsr.losses imports this file before it defines build_loss.
        from basicsr.losses import build_loss

        super().__init__()
        if not losses:
            raise ValueError('MultiOutputLoss: losses must list at least one loss.')
        self.losses = nn.ModuleList([build_loss(v) for v in losses])
        names = [v['type'].replace('Loss', '').lower() for v in losses]
        self.names = [v if names.count(v) == 1 else f'{v}{names[:i].count(v) + 1}' for i, v in enumerate(names)]
        self.output_weights, self.average = output_weights, average

    def terms(self, outputs, target, weight=None):
        """The loss by terms, for logging: short name of each loss -> its sum over the outputs. Args: see forward."""
        outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
        weights = self.output_weights or [1.0] * len(outputs)
        if len(weights) != len(outputs):
            raise ValueError(f'MultiOutputLoss: output_weights has {len(weights)} items, but the network returns '
                             f'{len(outputs)} outputs; give one weight per output.')
        scale = 1 / len(outputs) if self.average else 1
        extra = {} if weight is None else {'weight': weight}
        return {
            name: sum(scale * v * loss(output, target, **extra) for v, output in zip(weights, outputs) if v)
            for name, loss in zip(self.names, self.losses)
        }

    def forward(self, outputs, target, weight=None):
        """
        Args:
            outputs (Tensor | list[Tensor]): (N, C, H, W) each, final output first.
            target (Tensor): (N, C, H, W).
            weight (Tensor | None): (N, 1 or C, H, W), weight of each pixel, for losses that take one. Default: None.
        """
        return sum(self.terms(outputs, target, weight).values())
