import numpy as np
import torch

from ..errors import UsageError

PEAKS = {'uint8': 255., 'uint16': 65535., 'float16': 1., 'float32': 1., 'float64': 1.}
# noise may exceed [0, 1], whereas a float image in 0..255 is a mistake
LARGEST_FLOAT = 16


def to_batch(img):
    """Convert an array or a tensor to a float batch, and return the function that converts results back.

    Args:
        img (ndarray | Tensor): Gray or RGB. Arrays (h, w), (h, w, c) or (n, h, w, c), tensors (h, w), (c, h, w) or
            (n, c, h, w), c = 1 or 3. uint8 in 0..255, uint16 in 0..65535, or float16/32/64 in [0, 1].

    Returns:
        tuple: float32 Tensor of shape (n, c, h, w), range [0, 1]; and a function that maps a Tensor (n, c, h', w') to
            the kind, dtype, layout and device of ``img`` (integers are rounded and clipped, floats are not).

    Raises:
        UsageError: If ``img`` has another type, dtype or shape, or float values far beyond [0, 1].
    """
    if isinstance(img, torch.Tensor):
        kind, name, channel_axis = 'tensor', str(img.dtype).split('.')[-1], -3
    elif isinstance(img, np.ndarray):
        kind, name, channel_axis = 'array', img.dtype.name, -1
    else:
        raise UsageError(f'images must be numpy arrays or torch tensors, not {type(img).__name__}')
    shape = tuple(img.shape)
    if name not in PEAKS:
        raise UsageError(f'{kind} of type {name}: images must be uint8, uint16 or float in [0, 1]')
    if not 2 <= len(shape) <= 4 or 0 in shape or (len(shape) > 2 and shape[channel_axis] not in (1, 3)):
        layout = 'h x w, h x w x c or n x h x w x c' if kind == 'array' else 'h x w, c x h x w or n x c x h x w'
        raise UsageError(f'{kind} of shape {" x ".join(map(str, shape)) or "()"}: images must be non-empty, {layout}, '
                         'with c = 1 (gray) or 3 (RGB)')

    # always a copy, so that the caller's memory is never written to
    batch = img.detach().to(torch.float32) if kind == 'tensor' else torch.from_numpy(np.array(img, np.float32))
    if len(shape) == 2:
        batch = batch[None, None]
    else:
        batch = batch[None] if len(shape) == 3 else batch
        batch = batch.permute(0, 3, 1, 2) if kind == 'array' else batch
    batch = (batch / PEAKS[name]).contiguous()
    if PEAKS[name] == 1 and not batch.abs().max() <= LARGEST_FLOAT:
        raise UsageError(
            f'{kind} of type {name} with values up to {batch.abs().max():g}: float images must be in [0, 1]; '
            'divide by 255 or convert to uint8')

    def back(out):
        if PEAKS[name] != 1:
            out = (out.clamp(0, 1) * PEAKS[name]).round()
        if len(shape) == 2:
            out = out[0, 0]
        else:
            out = out.permute(0, 2, 3, 1) if kind == 'array' else out
            out = out[0] if len(shape) == 3 else out
        if kind == 'tensor':
            return out.to(img.device, img.dtype)
        return np.ascontiguousarray(out.cpu().numpy()).astype(img.dtype)

    return batch, back
