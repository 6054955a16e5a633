"""Collective helpers besides gradient all-reduce."""
import torch


def gather(value, opt):
    """Gather a value from every rank.

    Args:
        value (object): Value of this rank; must be picklable.
        opt (dict): Options of the run, with ``dist`` and ``world_size``.

    Returns:
        list: Values in the order of ranks.
    """
    if not opt['dist']:
        return [value]
    values = [None] * opt['world_size']
    torch.distributed.all_gather_object(values, value)
    return values


def share_buffers(net, opt):
    """Broadcast the buffers (BatchNorm statistics) of rank 0, since each rank has updated its own.

    Args:
        net (nn.Module): The network, not wrapped.
        opt (dict): Options of the run, with ``dist``.
    """
    if opt['dist']:
        for buffer in net.buffers():
            torch.distributed.broadcast(buffer, 0)
