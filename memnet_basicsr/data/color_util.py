import numpy as np

from basicsr.utils import bgr2ycbcr

COLORS = ('gray', 'y', 'rgb')


def bgr2gray(img):
    """Gray image by the luminance weights of MATLAB's ``rgb2gray``: 0.2989 R + 0.5870 G + 0.1140 B, rounded.

    This is not the Y of YCbCr, which lies in 16..235.

    Args:
        img (ndarray): uint8, (H, W, 3), BGR.

    Returns:
        ndarray: uint8, (H, W, 1).
    """
    return np.round(img @ np.array([0.1140, 0.5870, 0.2989]))[..., None].astype(np.uint8)


def convert_color(img, color):
    """Convert an 8-bit image to the channels that a dataset wants.

    An image of one channel is taken as the gray or luminance image it is.

    Args:
        img (ndarray): uint8, (H, W, 1) or (H, W, 3) BGR.
        color (str): ``gray`` (:func:`bgr2gray`), ``y`` (luminance as MATLAB's ``rgb2ycbcr`` gives it, 16..235) or
            ``rgb`` (three channels).

    Returns:
        ndarray: uint8, (H, W, 1), or (H, W, 3) BGR for ``rgb``.
    """
    if color == 'rgb':
        return img if img.shape[2] == 3 else np.repeat(img, 3, axis=2)
    if img.shape[2] == 1:
        return img
    return bgr2gray(img) if color == 'gray' else bgr2ycbcr(img, y_only=True)[..., None]
