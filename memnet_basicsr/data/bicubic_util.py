import numpy as np
from functools import lru_cache

from basicsr.utils.matlab_functions import calculate_weights_indices


def resize_bicubic(img, height, width):
    """MATLAB's bicubic ``imresize`` with antialiasing: BasicSR's ``imresize`` without its loops over pixels.

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
    weights, indices, padded, _ = calculate_weights_indices(in_length, out_length, out_length / in_length, 'cubic', 4,
                                                            True)
    # BasicSR reads weights.size(1) pixels in a row from the first index, in the padded input
    position = indices[:, :1].long().numpy() + np.arange(weights.shape[1]) - padded
    position %= 2 * in_length
    position = np.where(position < in_length, position, 2 * in_length - 1 - position)
    return np.ascontiguousarray(weights.numpy().T), np.ascontiguousarray(position.T)
