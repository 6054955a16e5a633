"""Norms of MemNet's gate weights: how strongly each source reaches the memory."""
import torch

KINDS = ('long-term', 'short-term', 'last recursion')


@torch.no_grad()
def gate_norms(net, scaled=False):
    """Norms of the gate weights of every memory block of a MemNet, one per input channel of the gate.

    ||W[:, c]|| is the Euclidean norm over the output channels. The gate normalizes its inputs and scales them by
    gamma before the convolution, so a factor can move between gamma and W; |gamma_c| ||W[:, c]|| is invariant.

    Args:
        net (MemNet): Network.
        scaled (bool): Whether to multiply by the BatchNorm's |gamma_c|. The paper's figure does not. Default: False.

    Returns:
        list[dict]: For each block, source ('B0'.. long-term, 'H1'..'HR' short-term, in the gate's order) -> norms,
            ndarray (num_feat, ).
    """
    result = []
    for block in net.memory_blocks:
        norms = block.gate.conv.weight.double().flatten(1).norm(dim=0)
        if scaled:
            norms = norms * block.gate.norm.weight.double().abs()
        first = 1 if block.short_term else block.num_recursion
        names = [f'B{m}' for m in range(block.num_long)]
        names += [f'H{r}' for r in range(first, block.num_recursion + 1)]
        result.append({name: v.cpu().numpy() for name, v in zip(names, norms.chunk(len(names)))})
    return result


def kind_of_source(name, norms):
    """Kind of a source of a block's norms: 'long-term', 'short-term' (H_1..H_{R-1}) or 'last recursion' (H_R)."""
    if name.startswith('B'):
        return KINDS[0]
    return KINDS[2] if name == list(norms)[-1] else KINDS[1]


def mean_norms(norms):
    """Mean norm of a block's gate weights for each kind of source.

    Args:
        norms (dict): Norms of one block, see :func:`gate_norms`.

    Returns:
        dict[str, float]: Kind -> mean over the channels of its sources; absent kinds are left out.
    """
    of_kind = {kind: [v.mean() for k, v in norms.items() if kind_of_source(k, norms) == kind] for kind in KINDS}
    return {kind: float(sum(v) / len(v)) for kind, v in of_kind.items() if v}
