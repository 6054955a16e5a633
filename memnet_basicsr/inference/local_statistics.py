import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from ..errors import UsageError

# window over training patch, as the paper has it
WINDOW_RATIO = 1.5


class LocalStatistics(TorchFunctionMode):
    """Let global average poolings average over windows of about the size they had in training.

    Test-time local converter (TLC). Chu et al. Improving Image Restoration by Revisiting Global Information
    Aggregation. Ref: https://arxiv.org/abs/2112.04491

    A network trained on patches has learned statistics of patches; those of a whole picture differ. While this context
    is open, ``adaptive_avg_pool2d`` to one value, also as ``nn.AdaptiveAvgPool2d(1)`` (channel attention of MemoryNet,
    RCAN, NAFNet, ...), and ``avg_pool2d`` over the whole picture (MemoryNet in bfloat16) give a map of window means
    instead of one mean. The window is 1.5 training patches, scaled as the features are to the input. What follows the
    pooling must be 1x1 convolutions and a product.

    Args:
        patch_size (int): Side of the patches the network was trained on, in pixels of its input.
        input_size (tuple[int]): Height and width of the input of this forward pass.

    Raises:
        UsageError: On leaving the context, if there was no such pooling: the option would have no effect.
    """

    def __init__(self, patch_size, input_size):
        super().__init__()
        self.window = [WINDOW_RATIO * patch_size / size for size in input_size]
        self.num_pooled = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in (F.adaptive_avg_pool2d, F.avg_pool2d) and len(args) == 2:
            x, size = args  # of the output, or of the kernel
            if size in (1, (1, 1)) if func is F.adaptive_avg_pool2d else size == x.shape[2:]:
                self.num_pooled += 1
                return window_mean(x, [max(round(v * size), 1) for v, size in zip(self.window, x.shape[2:])])
        return func(*args, **(kwargs or {}))

    def __exit__(self, error_type, error, traceback):
        super().__exit__(error_type, error, traceback)
        if error_type is None and not self.num_pooled:
            raise UsageError('local_statistics: the network has no adaptive_avg_pool2d to one value that could be made '
                             'local; remove the option')


def window_mean(x, window):
    """Mean over a window around every position; at the edges, of the nearest window that lies inside.

    Args:
        x (Tensor): Features, shape (n, c, h, w).
        window (list[int]): Height and width of the window; a side beyond that of ``x`` means the whole side.

    Returns:
        Tensor: Means in the type of ``x``, shape (n, c, h, w); (n, c, 1, 1) where one window covers everything.
    """
    out = x.float()
    for dim, length in zip((2, 3), window):
        size = out.size(dim)
        if length >= size:
            out = out.mean(dim, keepdim=True)
            continue
        # running sums along one axis at a time: cost does not depend on the window, and the sums stay small
        sums = F.pad(out.cumsum(dim), (1, 0, 0, 0) if dim == 3 else (0, 0, 1, 0))
        start = (torch.arange(size, device=x.device) - length // 2).clamp(0, size - length)
        out = (sums.index_select(dim, start + length) - sums.index_select(dim, start)) / length
    return out.to(x.dtype)
