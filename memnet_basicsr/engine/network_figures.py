"""Scalars of a network that are logged at validation."""
from ..archs.memnet_arch import MemNet


def network_figures(net):
    """Weights of a MemNet's ensemble, and the mean norm of each gate's weights for each source.

    Args:
        net (nn.Module): Network.

    Returns:
        dict[str, float]: Name -> value; empty for other networks.
    """
    if not isinstance(net, MemNet):
        return {}
    weights = net.ensemble_weight.tolist() if net.multi_supervised else []
    figures = {f'ensemble_weight/y{m}': w for m, w in enumerate(weights, 1)}
    for m, block in enumerate(net.memory_blocks, 1):
        norms = block.gate.conv.weight.detach().flatten(1).norm(dim=0).view(-1, block.gate.conv.out_channels)
        figures.update((f'gate_norm/block{m}_source{i}', v.item()) for i, v in enumerate(norms.mean(1)))
    return figures
