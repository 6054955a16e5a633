"""Faster forms of networks and blocks: tables for training and inference, plain class -> form."""

from ..archs.memnet_arch import MemNet, MemoryBlock, PreActConv
from ..archs.memory_augmented_arch import MemoryAugmented
from ..archs.memorynet_arch import MemoryNet
from ..archs.mprnet_util import CAB, ORSNet, Resample
from .augmented_deploy import MemoryAugmentedDeploy
from .memnet_deploy import MemNetDeploy
from .memnet_training import FusedMemNet, FusedMemoryBlock, FusedPreActConv
from .memorynet_deploy import MemoryNetDeploy
from .memorynet_training import FastCAB, FastMemoryNet, FastORSNet, FastResample
from .memorynet_training import recompute as recompute_blocks

# A training form is a subclass with the same parameters, buffers and outputs.
TRAINING = {
    MemNet: FusedMemNet,
    MemoryBlock: FusedMemoryBlock,
    PreActConv: FusedPreActConv,
    MemoryNet: FastMemoryNet,
    CAB: FastCAB,
    ORSNet: FastORSNet,
    Resample: FastResample,
}
# An inference form is built from a network in evaluation mode and computes the same function.
INFERENCE = {MemNet: MemNetDeploy, MemoryNet: MemoryNetDeploy}


def training(net, recompute=False):
    """Replace the blocks of a network that have a faster form for training, in place.

    Parameters, state-dict keys, hooks and outputs stay the same. Subclasses of the classes in the table are left
    alone, since they may compute something else.

    Args:
        net (nn.Module): Network.
        recompute (bool): Whether blocks of MemoryNet save less and recompute it in the backward pass. Default: False.

    Returns:
        nn.Module: ``net``.
    """
    for module in net.modules():
        module.__class__ = TRAINING.get(type(module), type(module))
    return recompute_blocks(net) if recompute else net


def inference(net, dtype=None):
    """Build the form of a network that is fastest for inference.

    Args:
        net (nn.Module): Network, in training or evaluation mode. It stays as it is.
        dtype (torch.dtype | None): Type of the weights of the new form, such as ``torch.bfloat16``. Default: None.

    Returns:
        nn.Module: A copy in evaluation mode that computes the same function; ``net`` itself if there is no such form.
    """
    plain = {form: cls for cls, form in TRAINING.items()}
    if type(net) is MemoryAugmented:
        over_memnet = plain.get(type(net.backbone), type(net.backbone)) is MemNet and MemoryAugmentedDeploy.fits(net)
        return MemoryAugmentedDeploy(net, dtype) if over_memnet else net
    form = INFERENCE.get(plain.get(type(net), type(net)))
    return net if form is None else form(net).to(dtype)
