import contextlib
import torch
from torch import nn as nn

# window over training patch, as the paper has it
WINDOW_RATIO = 1.5


@contextlib.contextmanager
def local_statistics(net, patch_size, in_channels):
    """Let a network's global average poolings average over windows of about the size they had in training.

    Test-time local converter (TLC). Chu et al. Improving Image Restoration by Revisiting Global Information
    Aggregation. Ref: https://arxiv.org/abs/2112.04491

    A network trained on patches has learned statistics of patches; those of a whole picture differ. While the context
    is open, every ``nn.AdaptiveAvgPool2d(1)`` (channel attention of MemoryNet, RCAN, NAFNet, ...) gives a map of
    window means instead of one mean. Its window is 1.5 times what the layer sees of a training patch, which one forward
    pass of an empty patch tells. What follows the pooling must be 1x1 convolutions.

    Args:
        net (nn.Module): Network in evaluation mode.
        patch_size (int): Side of the patches the network was trained on, in pixels of its input.
        in_channels (int): Channels of the network's input.
    """
    pools = [m for m in net.modules() if isinstance(m, nn.AdaptiveAvgPool2d) and m.output_size in (1, (1, 1))]
    if not pools:
        yield
        return

    windows = {}

    def note_window(module, args, output):
        size = tuple(round(v * WINDOW_RATIO) for v in args[0].shape[2:])
        windows[module] = max(size, windows.get(module, size))

    def average_windows(module, args, output):
        return window_mean(args[0], windows[module])

    device = next((v.device for v in net.parameters()), None)
    with _hooked(pools, note_window), torch.no_grad():
        net(torch.zeros(1, in_channels, patch_size, patch_size, device=device))
    # a pooling that the empty patch did not reach stays global
    with _hooked([m for m in pools if m in windows], average_windows):
        yield


def window_mean(x, window):
    """Mean over a window around every position; at the edges, of the nearest window that lies inside.

    Args:
        x (Tensor): Features, shape (n, c, h, w).
        window (tuple[int]): Height and width of the window; a side beyond that of ``x`` means the whole side.

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
        sums = torch.nn.functional.pad(out.cumsum(dim), (1, 0, 0, 0) if dim == 3 else (0, 0, 1, 0))
        start = (torch.arange(size, device=x.device) - length // 2).clamp(0, size - length)
        out = (sums.index_select(dim, start + length) - sums.index_select(dim, start)) / length
    return out.to(x.dtype)


@contextlib.contextmanager
def _hooked(modules, hook):
    handles = [m.register_forward_hook(hook) for m in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
