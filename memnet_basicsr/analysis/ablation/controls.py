import torch

from ...archs.memory_augmented_arch import MemoryAugmented
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


@ARCH_REGISTRY.register()
class MemoryAugmentedControl(MemoryAugmented):
    """MemoryAugmented whose memory is disabled in a controlled way, for ablations.

    Args:
        frozen (bool): Whether the memory keeps its random start: neither gradients nor updates. Default: False.
        shuffled (bool): Whether queries read what other queries of the batch address, see MemoryNetControl. Of a
            degradation memory, this holds in training only: it is read once per tile, and an image reads the mean of
            its tiles, whatever their order. Default: False.
        static (bool): Whether every query reads the mean of all slots. Default: False.
        kwargs: Arguments of MemoryAugmented.
    """

    def __init__(self, frozen=False, shuffled=False, static=False, **kwargs):
        super().__init__(**kwargs)
        self.frozen = frozen
        if frozen:
            self.memory.requires_grad_(False)
        addressing = self.memory.addressing
        for module in addressing if isinstance(addressing, torch.nn.ModuleList) else [addressing]:
            if shuffled:
                module.register_forward_hook(shuffle)
            if static:
                module.register_forward_hook(lambda module, args, weight: torch.full_like(weight, 1 / weight.shape[1]))

    def train(self, mode=True):
        super().train(mode)
        if self.frozen:
            self.memory.training = False  # no updates; its scaler of the input goes on
        return self


def shuffle(module, args, weight):
    """Forward hook that permutes the rows of the weights (n, N)."""
    generator = None if module.training else torch.Generator().manual_seed(0)
    return weight[torch.randperm(len(weight), generator=generator).to(weight.device)]
