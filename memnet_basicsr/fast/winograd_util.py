import torch
from torch import nn as nn
from torch.nn import functional as F

# Transform of the kernel rows in F(4, 3): four output rows from six input rows (Lavin and Gray,
# https://arxiv.org/abs/1509.09308). _combine transforms the input and _separate the output.
KERNEL_ROWS = ((1 / 4, 0, 0), (-1 / 6, -1 / 6, -1 / 6), (-1 / 6, 1 / 6, -1 / 6), (1 / 24, 1 / 12, 1 / 6),
               (1 / 24, -1 / 12, 1 / 6), (0, 0, 1))
LEAST_PIXELS = 4096  # for fewer, call overhead outweighs the saved multiplications
MOST_PIXELS = 16384  # per step; fewer add call overhead, more add memory


def _combine(x):
    """Rows (n, 4k + 2, w, c) -> six combinations of every fourth, (n, k, w, c) each."""
    x0, x1, x2, x3, x4, x5 = (x[:, i:x.shape[1] + i - 5:4] for i in range(6))
    even, odd = torch.sub(x4, x2, alpha=4), torch.sub(x3, x1, alpha=4)
    y1, y2 = even + odd, even.sub_(odd)
    even, odd = x4 - x2, x3 - x1
    y0, y5 = torch.add(even, x0 - x2, alpha=4), torch.sub(x5 - x3, odd, alpha=4)
    y3, y4 = torch.add(even, odd, alpha=2), even.sub_(odd, alpha=2)
    return y0, y1, y2, y3, y4, y5


def _separate(y0, y1, y2, y3, y4, y5, out):
    """Convolved combinations, overwritten -> rows (n, 4k, w, c)."""
    out = [out[:, i::4] for i in range(4)]
    even, odd = y1 + y2, y1.sub_(y2)
    even2, odd2 = y3 + y4, y3.sub_(y4)
    torch.add(y0.add_(even), even2, out=out[0])
    torch.add(odd, odd2, alpha=2, out=out[1])
    torch.add(even, even2, alpha=4, out=out[2])
    torch.add(y5.add_(odd), odd2, alpha=8, out=out[3])


def is_fast(x):
    """Whether to combine rows of x: on other devices vendor kernels are faster, and low precision loses accuracy."""
    return x.device.type == 'cpu' and x.dtype in (torch.float32, torch.float64)


class FastConv3x3(nn.Module):
    """3x3 convolution with zero padding for inference, on channels-last features (n, h, w, c).

    In float32 or float64 on a CPU, Winograd's algorithm along the vertical axis halves the multiplications: whole rows
    are combined, and 1x3 convolutions remain. Rounding errors are about three times those of the direct convolution,
    which is used elsewhere.

    Args:
        weight (Tensor): (num_out, num_in, 3, 3).
        bias (Tensor | None): (num_out). Default: None.
    """

    def __init__(self, weight, bias=None):
        super().__init__()
        weight = weight.detach()
        self.register_buffer('weight', weight.clone(memory_format=torch.channels_last))
        self.register_buffer('bias', None if bias is None else bias.detach().clone())
        rows = torch.tensor(KERNEL_ROWS, dtype=torch.float64, device=weight.device)
        combined = torch.einsum('kr,oirs->kosi', rows, weight.double()).to(weight.dtype)
        self.register_buffer('combined', combined[:, :, None].contiguous())  # channels last, too

    def forward(self, x):
        """(n, h, w, num_in) -> (n, h, w, num_out)."""
        n, height, width, _ = x.shape
        if not is_fast(x) or height < 3:
            return self.direct(x, 1)
        out = x.new_empty(n, height, width, len(self.weight))
        out[:, :1] = self.direct(x[:, :2], 1)[:, :1]
        out[:, -1:] = self.direct(x[:, -2:], 1)[:, -1:]
        self.inner(x, out[:, 1:-1])
        return out

    def inner(self, x, out=None):
        """Rows that carry their context, (n, h + 2, w, num_in) -> (n, h, w, num_out)."""
        n, height, width, _ = x.shape
        height -= 2
        out = x.new_empty(n, height, width, len(self.weight)) if out is None else out
        fast = height // 4 * 4 if is_fast(x) and n * height * width >= LEAST_PIXELS else 0
        step = max(MOST_PIXELS // (n * width) // 4, 1) * 4
        for begin in range(0, fast, step):
            end = min(begin + step, fast)
            rows = list(_combine(x[:, begin:end + 2]))
            for i, weight in enumerate(self.combined):
                # Combination 1 contributes to all four rows with factor 1, so the bias is added there.
                row = F.conv2d(
                    rows[i].permute(0, 3, 1, 2),
                    weight.permute(0, 3, 1, 2),
                    self.bias if i == 1 else None,
                    padding=(0, 1))
                rows[i] = row.permute(0, 2, 3, 1)
            _separate(*rows, out[:, begin:end])
        if fast < height:
            out[:, fast:] = self.direct(x[:, fast:], 0)
        return out

    def direct(self, x, pad):
        """The direct sum, with or without padding above and below."""
        return F.conv2d(x.permute(0, 3, 1, 2), self.weight, self.bias, padding=(pad, 1)).permute(0, 2, 3, 1)

    def graph(self, x):
        """The direct sum of features (n, c, h, w)."""
        return F.conv2d(x, self.weight, self.bias, padding=1)
