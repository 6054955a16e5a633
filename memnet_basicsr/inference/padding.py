import torch


def pad_to_multiple(img, multiple):
    """Reflect a batch at its right and bottom edge until both sides are multiples of a number.

    Pictures smaller than the padding are reflected again and again (a side of 1 pixel is repeated), so that any size
    from 1x1 up works; where ``torch.nn.functional.pad(mode='reflect')`` can pad, the result is the same.

    Args:
        img (Tensor): Pictures, shape (n, c, h, w).
        multiple (int): What both sides are to be multiples of, in pixels.

    Returns:
        Tensor: Padded pictures; ``img`` itself where nothing is missing.
    """
    for dim in (2, 3):
        size = img.size(dim)
        padded = -(-size // multiple) * multiple
        if padded > size:
            img = img.index_select(dim, reflected_index(size, padded, img.device))
    return img


def reflected_index(size, length, device=None):
    """Positions 0..length-1 folded back into 0..size-1 by reflection at both ends (the end is not repeated).

    Args:
        size (int): Number of pixels there are.
        length (int): Number of pixels wanted.
        device (torch.device | None): Device of the result. Default: None.

    Returns:
        Tensor: Indices, shape (length, ).
    """
    position = torch.arange(length, device=device)
    if size == 1:
        return torch.zeros_like(position)
    position = position % (2 * (size - 1))
    return torch.minimum(position, 2 * (size - 1) - position)
