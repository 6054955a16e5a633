import torch


def pad_to_multiple(img, multiple):
    """Reflect-pad a batch at the right and bottom edges until both sides are multiples of a number.

    Images smaller than the padding are reflected repeatedly (a side of 1 pixel is replicated), so that every size from
    1x1 works; otherwise equals ``torch.nn.functional.pad(mode='reflect')``.

    Args:
        img (Tensor): Images, shape (n, c, h, w).
        multiple (int): Number of pixels that both sides must be multiples of.

    Returns:
        Tensor: Padded images; ``img`` itself if no padding is needed.
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
        size (int): Number of existing pixels.
        length (int): Number of pixels after padding.
        device (torch.device | None): Device of the result. Default: None.

    Returns:
        Tensor: Indices, shape (length, ).
    """
    position = torch.arange(length, device=device)
    if size == 1:
        return torch.zeros_like(position)
    position = position % (2 * (size - 1))
    return torch.minimum(position, 2 * (size - 1) - position)
