import copy
import time
import torch

from .. import fast
from ..inference import Inference


def num_parameters(net):
    """Number of a network's parameters, shared ones once, buffers not.

    Args:
        net (nn.Module): Network.

    Returns:
        int: Number.
    """
    return sum(v.numel() for v in net.parameters())


@torch.no_grad()
def seconds_per_picture(nets, lqs, repeats=5, device='cpu'):
    """Seconds that each of several networks takes for its picture, measured in turns.

    In every round each network runs once, so that what else the machine does meanwhile meets all of them alike. Each is
    taken in the form for inference where it has one, and runs once before the measurement.

    Args:
        nets (list[nn.Module]): Networks.
        lqs (list[Tensor]): Picture of each network, (1, c, h, w), [0, 1].
        repeats (int): Rounds. Default: 5.
        device (str | torch.device): Where to compute. Default: 'cpu'.

    Returns:
        list[list[float]]: For each network its seconds, sorted; the median is what to tell.
    """
    device = torch.device(device)
    inference = Inference()
    nets = [copy.deepcopy(net).to(device).eval() for net in nets]
    nets = [fast.inference(net) for net in nets]
    lqs = [lq.to(device) for lq in lqs]

    def run(net, lq):
        start = time.perf_counter()
        inference(net, lq)
        if device.type == 'cuda':
            torch.cuda.synchronize(device)
        return time.perf_counter() - start

    for net, lq in zip(nets, lqs):
        run(net, lq)
    seconds = [[] for _ in nets]
    for _ in range(repeats):
        for own, net, lq in zip(seconds, nets, lqs):
            own.append(run(net, lq))
    return [sorted(v) for v in seconds]
