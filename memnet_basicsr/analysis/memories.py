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
