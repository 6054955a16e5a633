"""The little that processes of a run say to each other beside gradients."""
import torch


def gather(value, opt):
    """What every process has.

    Args:
        value (object): Of this process; must pickle.
        opt (dict): Options of the run, with ``dist`` and ``world_size``.

    Returns:
        list: In the order of ranks.
    """
    if not opt['dist']:
        return [value]
    values = [None] * opt['world_size']
    torch.distributed.all_gather_object(values, value)
    return values


def share_buffers(net, opt):
    """Give every process the buffers (BatchNorm statistics) of rank 0: each has gathered its own since the last step.

    Args:
        net (nn.Module): The network, not wrapped.
        opt (dict): Options of the run, with ``dist``.
    """
    if opt['dist']:
        for buffer in net.buffers():
            torch.distributed.broadcast(buffer, 0)
