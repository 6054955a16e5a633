import torch


def rgb_to_ycbcr(img):
    """Luminance and chroma of RGB images, ITU-R BT.601, full range as in JPEG.

    Args:
        img (Tensor): RGB, shape (n, 3, h, w), range [0, 1].

    Returns:
        tuple[Tensor]: Y, shape (n, 1, h, w), range [0, 1]; Cb and Cr, shape (n, 2, h, w), range [-0.5, 0.5].
    """
    r, g, b = img.split(1, dim=1)
    y = 0.299 * r + 0.587 * g + 0.114 * b
    return y, torch.cat([(b - y) / 1.772, (r - y) / 1.402], dim=1)


def ycbcr_to_rgb(y, chroma):
    """Inverse of :func:`rgb_to_ycbcr`.

    Args:
        y (Tensor): Y, shape (n, 1, h, w), range [0, 1].
        chroma (Tensor): Cb and Cr, shape (n, 2, h, w), range [-0.5, 0.5].

    Returns:
        Tensor: RGB, shape (n, 3, h, w), range [0, 1] (not clipped).
    """
    cb, cr = chroma.split(1, dim=1)
    r, b = y + 1.402 * cr, y + 1.772 * cb
    return torch.cat([r, (y - 0.299 * r - 0.114 * b) / 0.587, b], dim=1)
