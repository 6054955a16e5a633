import torch


@torch.no_grad()
def memories(net, lq):
    """What a MemNet's front end and memory blocks give in evaluation mode, in which it is left.

    Args:
        net (MemNet): Network.
        lq (Tensor): Degraded picture, (b, c, h, w), [0, 1].

    Returns:
        list[Tensor]: [B_0, ..., B_M], each (b, num_feat, h, w).
    """
    found = []
    handles = [
        module.register_forward_hook(lambda module, args, out: found.append(out))
        for module in (net.fenet, *net.memory_blocks)
    ]
    try:
        net.eval()(lq)
    finally:
        for handle in handles:
            handle.remove()
    return found


def readers(net):
    """The first BatchNorm that reads each memory of a MemNet: its running statistics are those of the memory.

    Args:
        net (MemNet): Network.

    Returns:
        list[nn.BatchNorm2d]: For B_0, ..., B_M.
    """
    return [block.norm_a[0] for block in net.memory_blocks] + [net.recon_norms[-1]]
