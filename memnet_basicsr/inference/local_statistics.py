import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from ..errors import UsageError

# side of the window over side of the training patch, as in the paper
WINDOW_RATIO = 1.5


class LocalStatistics(TorchFunctionMode):
    """Make global average pooling average over windows of about the size of the training patches.

    Test-time local converter (TLC). Chu et al. Improving Image Restoration by Revisiting Global Information
    Aggregation. Ref: https://arxiv.org/abs/2112.04491

    A network trained on patches has learned statistics of patches, which differ from those of a whole image. In this
    context, ``adaptive_avg_pool2d`` to one value, also as ``nn.AdaptiveAvgPool2d(1)`` (channel attention of MemoryNet,
    RCAN, NAFNet, ...), and ``avg_pool2d`` over the whole image (MemoryNet in bfloat16) return a map of window means
    instead of one mean. The window is 1.5 training patches, scaled like the feature map relative to the input. Only 1x1
    convolutions and a product may follow the pooling.

    Args:
        patch_size (int): Side of the training patches in pixels of the input.
        input_size (tuple[int]): Height and width of the input of this forward pass.

    Raises:
        UsageError: On exit, if there was no such pooling, because the option had no effect.
    """

    def __init__(self, patch_size, input_size):
        super().__init__()
        self.window = [WINDOW_RATIO * patch_size / size for size in input_size]
        self.num_pooled = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in (F.adaptive_avg_pool2d, F.avg_pool2d) and len(args) == 2:
            x, size = args  # size of the output, or of the kernel
            if size in (1, (1, 1)) if func is F.adaptive_avg_pool2d else size == x.shape[2:]:
                self.num_pooled += 1
                return window_mean(x, [max(round(v * size), 1) for v, size in zip(self.window, x.shape[2:])])
        return func(*args, **(kwargs or {}))

    def __exit__(self, error_type, error, traceback):
        super().__exit__(error_type, error, traceback)
        if error_type is None and not self.num_pooled:
            raise UsageError('local_statistics: the network has no global average pooling to replace; remove the '
                             'option')


def window_mean(x, window):
    """Mean over a window around every position; at the edges, over the nearest window inside.

    Args:
        x (Tensor): Features, shape (n, c, h, w).
        window (list[int]): Height and width of the window; larger sides than those of ``x`` mean the whole side.

    Returns:
        Tensor: Means in the dtype of ``x``, shape (n, c, h, w); (n, c, 1, 1) if one window covers everything.
    """
    out = x.float()
    for dim, length in zip((2, 3), window):
        size = out.size(dim)
        if length >= size:
            out = out.mean(dim, keepdim=True)
            continue
        # cumulative sums along one axis at a time: the cost does not depend on the window, and the sums stay small
        sums = F.pad(out.cumsum(dim), (1, 0, 0, 0) if dim == 3 else (0, 0, 1, 0))
        start = (torch.arange(size, device=x.device) - length // 2).clamp(0, size - length)
        out = (sums.index_select(dim, start + length) - sums.index_select(dim, start)) / length
    return out.to(x.dtype)
