import numpy as np
import torch

from basicsr.metrics import calculate_psnr
from ..engine.images import to_image
from ..errors import UsageError


def ensemble_weights(net):
    """Learned weights of the outputs of a multi-supervised MemNet.

    Args:
        net (MemNet): Network.

    Returns:
        list[float]: w_1, ..., w_M.

    Raises:
        UsageError: If the network is a basic MemNet, which has one output.
    """
    if not net.multi_supervised:
        raise UsageError('this is a basic MemNet (multi_supervised: false), which has one output and no ensemble '
                         'weights; use a multi-supervised one')
    return net.ensemble_weight.tolist()


@torch.no_grad()
def supervised_outputs(net, lq):
    """All outputs of a multi-supervised MemNet in evaluation mode, in which it is left.

    Args:
        net (MemNet): Multi-supervised network.
        lq (Tensor): Degraded picture, (b, c, h, w), [0, 1].

    Returns:
        list[Tensor]: [result, y_1, ..., y_M], each of lq's shape.
    """
    net.eval()
    supervise = net.supervise
    # the network's own flag alone: it then hands out its list while its BatchNorms stay in evaluation mode
    net.training, net.supervise = True, 'all'
    try:
        return net(lq)
    finally:
        net.training, net.supervise = False, supervise


def psnr_of_outputs(net, pairs, shave=0, quantize=False):
    """Mean PSNR of the degraded pictures, of every supervised output and of the result.

    Args:
        net (MemNet): Multi-supervised network.
        pairs (iterable[dict]): Items with ``lq`` and ``gt``, each (c, h, w), [0, 1], as validation sets give them.
        shave (int): Pixels left out at each side. Default: 0.
        quantize (bool): Whether to clip and round to uint8 first. Default: False.

    Returns:
        tuple: PSNR in dB of lq (float), of y_1, ..., y_M (list[float]) and of the result (float).
    """
    device, rows = net.recon_conv.weight.device, []
    for pair in pairs:
        lq = pair['lq'][None].to(device)
        result, *outputs = supervised_outputs(net, lq)
        gt = to_image(pair['gt'][None], quantize)
        rows.append([calculate_psnr(to_image(v, quantize), gt, shave) for v in (lq, *outputs, result)])
    lq, *outputs, result = (float(v) for v in np.mean(rows, axis=0))
    return lq, outputs, result
