import torch
from torch import nn


def is_plain(module):
    """Whether a module must be computed by its plain form.

    That is so while compiling (the compiler fuses by itself), with SyncBatchNorm, and if forward hooks on its
    submodules must see their activations.
    """
    if torch.compiler.is_compiling():
        return True
    inner = [m for m in module.modules() if m is not module]
    # nn.Module has no public way to ask for hooks.
    return any(isinstance(m, nn.SyncBatchNorm) or m._forward_hooks or m._forward_pre_hooks for m in inner)


def is_traced_or_plain(module):
    """Whether a unit must be computed plainly: :func:`is_plain`, or while tracing."""
    return torch.jit.is_tracing() or is_plain(module)


def trains_plain(module):
    """Whether a training unit must be computed plainly: :func:`is_traced_or_plain`, or no gradient is needed."""
    return not torch.is_grad_enabled() or is_traced_or_plain(module)
