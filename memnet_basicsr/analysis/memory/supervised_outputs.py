"""Supervised outputs and ensemble weights of a multi-supervised MemNet."""
import numpy as np
import torch

from basicsr.metrics import calculate_psnr
from ...engine.images import to_image
from ...errors import UsageError


def ensemble_weights(net):
    """Learned weights of the outputs of a multi-supervised MemNet.

    Args:
        net (MemNet): Network.

    Returns:
        list[float]: w_1, ..., w_M.

    Raises:
        UsageError: If the network is a basic MemNet with a single output.
    """
    if not net.multi_supervised:
        raise UsageError('this is a basic MemNet (multi_supervised: false), which has no ensemble weights; use a '
                         'multi-supervised one')
    return net.ensemble_weight.tolist()


@torch.no_grad()
def supervised_outputs(net, lq):
    """Compute all outputs of a multi-supervised MemNet in evaluation mode.

    Args:
        net (MemNet): Multi-supervised network; left in evaluation mode.
        lq (Tensor): Low-quality input, (b, c, h, w), [0, 1].

    Returns:
        list[Tensor]: [result, y_1, ..., y_M], each of the shape of ``lq``.
    """
    net.eval()
    supervise = net.supervise
    # Set only the flag of the network itself, so its BatchNorms stay in evaluation mode.
    net.training, net.supervise = True, 'all'
    try:
        return net(lq)
    finally:
        net.training, net.supervise = False, supervise


def psnr_of_outputs(net, pairs, shave=0, quantize=False):
    """Mean PSNR of the low-quality images, of every supervised output and of the result.

    Args:
        net (MemNet): Multi-supervised network.
        pairs (iterable[dict]): Items ``lq`` and ``gt`` of a validation set, each (c, h, w), [0, 1].
        shave (int): Pixels to crop at each border. Default: 0.
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
