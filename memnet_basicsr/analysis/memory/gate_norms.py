import torch

KINDS = ('long-term', 'short-term', 'last recursion')


@torch.no_grad()
def gate_norms(net, scaled=False):
    """Norms of the gate weights of every memory block of a MemNet, one for each of the gate's input channels.

    ||W[:, c]||, the Euclidean norm over the output channels: how strongly channel c of a source reaches the memory.
    The gate normalizes its inputs and scales them by gamma before it weighs them, and a factor can lie in either:
    |gamma_c| ||W[:, c]|| is free of that.

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
    """Kind of a gate's source, as in the paper's figure.

    Args:
        name (str): 'B<m>' or 'H<r>'.
        norms (dict): The block's norms, see :func:`gate_norms`.

    Returns:
        str: One of ``KINDS``: 'long-term', 'short-term' (H_1..H_{R-1}) or 'last recursion' (H_R).
    """
    if name.startswith('B'):
        return KINDS[0]
    return KINDS[2] if name == list(norms)[-1] else KINDS[1]


def mean_norms(norms):
    """Mean norm of a block's gate weights over each kind of source that reaches it.

    Args:
        norms (dict): Norms of one block, see :func:`gate_norms`.

    Returns:
        dict[str, float]: Kind -> mean over the channels of its sources.
    """
    of_kind = {kind: [v.mean() for k, v in norms.items() if kind_of_source(k, norms) == kind] for kind in KINDS}
    return {kind: float(sum(v) / len(v)) for kind, v in of_kind.items() if v}
