import torch

from ...archs.memorynet_arch import MemoryNet
from ...registry import ARCH_REGISTRY


@ARCH_REGISTRY.register()
class MemoryNetControl(MemoryNet):
    """MemoryNet whose memory is disabled in a controlled way, for ablations.

    Args:
        frozen (bool): Whether prototypes, gates and temperatures keep their start: random, or from another run
            (``path: pretrain_network_memory``). Default: False.
        shuffled (bool): Whether features read what other features of the batch address, in random order (in evaluation
            mode always the same order): the content of the memory is kept, its place is lost. Default: False.
        kwargs: Arguments of MemoryNet, with ``memory: feature``.
    """

    def __init__(self, frozen=False, shuffled=False, **kwargs):
        super().__init__(**kwargs)
        if frozen:
            self.memory.requires_grad_(False)
        if shuffled:
            for addressing in self.memory.addressing:
                addressing.register_forward_hook(shuffle)


def shuffle(module, args, weight):
    """Forward hook that permutes the rows of the weights (n, N)."""
    generator = None if module.training else torch.Generator().manual_seed(0)
    return weight[torch.randperm(len(weight), generator=generator).to(weight.device)]
