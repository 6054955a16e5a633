from ..archs.memnet_arch import MemNet
from .memory.gate_norms import gate_norms, mean_norms


def training_figures(net):
    """Figures of a network that are cheap enough to be logged at every validation (milliseconds).

    Args:
        net (nn.Module): Network, not wrapped for parallel training. MemNet has figures, others have none.

    Returns:
        dict[str, float]: Name for TensorBoard -> value: ``ensemble_weight/y<m>``, and the mean norm of the gate's
            weights ``gate_norm_<kind>/block<m>`` for each kind of source that the block has (see :func:`mean_norms`).
    """
    if not isinstance(net, MemNet):
        return {}
    figures = {}
    if net.multi_supervised:
        figures.update((f'ensemble_weight/y{m}', w) for m, w in enumerate(net.ensemble_weight.tolist(), 1))
    for m, norms in enumerate(gate_norms(net), 1):
        figures.update((f'gate_norm_{k.replace(" ", "_")}/block{m}', v) for k, v in mean_norms(norms).items())
    return figures
