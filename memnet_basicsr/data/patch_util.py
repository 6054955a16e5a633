import numpy as np
import random


def reflect_pad(img, height, width):
    """Reflect-pad an image at its bottom and right to at least a size; any size works, reflections repeat.

    Args:
        img (ndarray): (H, W, C).
        height (int): Least height in pixels.
        width (int): Least width in pixels.

    Returns:
        ndarray: The image, padded where it is smaller.
    """
    h, w = img.shape[:2]
    if h >= height and w >= width:
        return img
    return np.pad(img, ((0, max(0, height - h)), (0, max(0, width - w)), (0, 0)), mode='reflect')


def random_corner(img, size):
    """Top and left of a random patch, drawn from the global generator ``random``.

    Args:
        img (ndarray): (H, W, C), at least ``size`` high and wide.
        size (int): Side of the patch in pixels.

    Returns:
        tuple[int]: Top and left.
    """
    return random.randint(0, img.shape[0] - size), random.randint(0, img.shape[1] - size)
