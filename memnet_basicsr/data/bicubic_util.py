import math
import numpy as np
from functools import lru_cache


def resize_bicubic(img, height, width):
    """MATLAB's bicubic ``imresize`` with antialiasing.

    Args:
        img (ndarray): (H, W, C), float.
        height (int): Height of the result.
        width (int): Width of the result.

    Returns:
        ndarray: float32, (height, width, C), neither clipped nor rounded.
    """
    img = _resize_rows(np.asarray(img, np.float32), height)
    return _resize_rows(img.transpose(1, 0, 2), width).transpose(1, 0, 2)


def _resize_rows(img, length):
    weights, indices = _taps(img.shape[0], length)
    out = np.zeros((length, *img.shape[1:]), np.float32)
    for weight, index in zip(weights, indices):
        out += weight[:, None, None] * img[index]
    return out


@lru_cache(maxsize=256)
def _taps(in_length, out_length):
    """Weights and input positions of every tap, (taps, out_length) each; beyond the border the input is mirrored."""
    stretch = max(1, in_length / out_length)  # a smaller image takes a wider kernel: antialiasing
    center = (np.arange(out_length) + 0.5) * in_length / out_length - 0.5
    position = np.floor(center - 2 * stretch)[:, None].astype(int) + np.arange(math.ceil(4 * stretch) + 2)
    weights = _cubic((center[:, None] - position) / stretch)
    weights /= weights.sum(axis=1, keepdims=True)
    used = weights.any(axis=0)
    position %= 2 * in_length
    position = np.where(position < in_length, position, 2 * in_length - 1 - position)
    return np.ascontiguousarray(weights.T[used], np.float32), np.ascontiguousarray(position.T[used])


def _cubic(x):
    """Keys' cubic kernel with a = -0.5, which MATLAB uses."""
    x = np.abs(x)
    inner, outer = (1.5 * x - 2.5) * x**2 + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x <= 1, inner, np.where(x <= 2, outer, 0))
