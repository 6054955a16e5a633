import math
import torch


def restore_by_tiles(restore, img, tile, overlap, multiple=1):
    """Restore an image tile by tile and blend the tiles without seams.

    Neighboring tiles share at least ``overlap`` pixels. Each tile discards the 3/8 of them next to its border, and the
    central quarter is blended. The result equals that of the whole image if the receptive field reaches at most 3/8 of
    the overlap to each side of a pixel and the network uses no statistics of the whole image (as a degradation memory
    does). Otherwise it differs, without visible seams. Only the current tile and the result are kept in memory, the
    result on the device of ``img``.

    Args:
        restore (Callable): Maps (n, c, h, w) to (n, c', h * s, w * s) for an integer s.
        img (Tensor): Images, shape (n, c, h, w), both sides multiples of ``multiple``.
        tile (int): Largest side of a tile in pixels, at least 2 * overlap; rounded up to ``multiple``.
        overlap (int): Smallest number of pixels that neighbors share; rounded up to ``multiple``.
        multiple (int): Tiles start and end at multiples of this number of pixels. Default: 1.

    Returns:
        Tensor: Restored images, float32, shape (n, c', h * s, w * s).
    """
    rows, columns = (tile_spans(size, tile, overlap, multiple) for size in img.shape[2:])
    if len(rows) == len(columns) == 1:
        return restore(img).float()

    result = None
    for top, bottom, *row_zones in rows:
        for left, right, *column_zones in columns:
            out = restore(img[:, :, top:bottom, left:right])
            scale = output_scale(out.shape[2:], (bottom - top, right - left))
            if result is None:
                size = (out.size(0), out.size(1), img.size(2) * scale, img.size(3) * scale)
                result = torch.zeros(size, dtype=torch.float32, device=img.device)
            out = out.to(result.device, torch.float32)
            weight_h = _ramps(top, bottom, row_zones, scale, result.device)
            weight_w = _ramps(left, right, column_zones, scale, result.device)
            out = out * weight_h[:, None] * weight_w
            result[:, :, top * scale:bottom * scale, left * scale:right * scale] += out
    return result


def tile_spans(size, tile, overlap, multiple=1):
    """Positions of the tiles along one axis, and of the zones where they are blended.

    As few tiles as possible, about evenly spaced, all of the same length, no longer than needed. They start at even
    pixels, so that a network with pixel-unshuffle sees the pixels of all tiles in the same phase.

    Args:
        size (int): Length of the axis in pixels, a multiple of ``multiple``.
        tile (int): Largest length of a tile in pixels.
        overlap (int): Smallest number of pixels that neighbors share.
        multiple (int): Tiles start and end at multiples of this number of pixels. Default: 1.

    Returns:
        list[tuple]: (start, end, fade-in zone, fade-out zone) of every tile, a zone being a (start, end) in pixels of
            the axis, or None at an end of the axis.
    """
    unit = math.lcm(multiple, 2)
    size, rest = divmod(size, unit)  # every tile ends with the rest
    overlap = max(-(-(overlap - rest) // unit), 0)  # neighbors share the rest too
    tile = min(max(-(-tile // unit) - (rest > 0), 2 * overlap, 1), size)
    number = 1 if tile == size else -(-(size - overlap) // (tile - overlap))
    tile = -(-(size + (number - 1) * overlap) // number)
    starts = [i * (size - tile) // max(number - 1, 1) * unit for i in range(number)]
    ends = [start + tile * unit + rest for start in starts]
    zones = [None]
    for start, end in zip(starts[1:], ends[:-1]):
        discarded = -(-3 * (end - start) // 8)
        zones.append((start + discarded,
                      end - discarded) if end - start > 2 * discarded else ((start + end) // 2, ) * 2)
    zones.append(None)
    return list(zip(starts, ends, zones[:-1], zones[1:]))


def output_scale(out_size, in_size):
    """Ratio of output size to input size of a network, which must be the same integer along both axes.

    Args:
        out_size (tuple[int]): Height and width of the output.
        in_size (tuple[int]): Height and width of the input.

    Returns:
        int: Scale.

    Raises:
        RuntimeError: If the sizes have no common integer ratio.
    """
    scale = out_size[0] // in_size[0]
    if scale < 1 or tuple(out_size) != (in_size[0] * scale, in_size[1] * scale):
        raise RuntimeError(f'a network that maps {in_size[0]}x{in_size[1]} to {out_size[0]}x{out_size[1]} pixels can '
                           'be neither padded nor tiled: the output must be 1, 2, 3, ... times as large as the input')
    return scale


def _ramps(start, end, zones, scale, device):
    """Weights of one tile along one axis: 0 outside its zones, 1 between them, a linear ramp inside them."""
    position = torch.arange(start * scale, end * scale, device=device) + 0.5
    weight = torch.ones_like(position)
    for zone, sign in zip(zones, (1, -1)):
        if zone is not None:
            zone_start, zone_end = zone[0] * scale, zone[1] * scale
            fade_in = ((position - zone_start) / max(zone_end - zone_start, 1e-3)).clamp(0, 1)
            weight = weight * (fade_in if sign == 1 else 1 - fade_in)
    return weight
