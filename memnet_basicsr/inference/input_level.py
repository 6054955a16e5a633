"""How degraded an input is, whether a network was trained for that, and which bundled network to use."""
import math
import numpy as np

from ..errors import UsageError
from .bundled import UNITS, channels_of

# Below these, `choose_network` leaves an image as it is. On clean photographs the noise estimate reaches about 8,
# because of their texture.
NOISY_SIGMA, VISIBLE_QUALITY = 8, 85
# JPEG removes noise and texture, the more the lower the quality. Of the photographs of CBSD68, 9 to 16 % exceed this
# limit per unit of quality without noise, and 76 to 100 % with noise of sigma 20 (50 % at quality 20).
NOISY_PER_QUALITY = 0.06
# The estimate is too low by up to a tenth where noise was clipped.
TOLERANCE = {'sigma': 0.1, 'quality': 0}
SMALLEST_SIDE = 16


def estimate_sigma(pixels):
    """Estimate the standard deviation of the noise in an image.

    Donoho and Johnstone, Ideal spatial adaptation by wavelet shrinkage (1994): median of the absolute diagonal details
    of the finest scale (wavelet db2), divided by 0.6745; mean over the channels. ``skimage.restoration.estimate_sigma``
    is the same, but leaves out details that are exactly 0, and so takes the edges of documents and graphics for noise.

    Args:
        pixels (ndarray): (h, w) or (h, w, c); uint8, uint16, or float in [0, 1].

    Returns:
        float | None: Standard deviation on the scale 0..255; None for sides below 16 pixels.

    Raises:
        UsageError: If PyWavelets is missing.
    """
    try:
        import pywt
    except ImportError:
        raise UsageError('noise is estimated with the package PyWavelets: pip install PyWavelets') from None
    if min(pixels.shape[:2]) < SMALLEST_SIDE:
        return None
    peak = np.iinfo(pixels.dtype).max if np.issubdtype(pixels.dtype, np.integer) else 1
    channels = pixels.reshape(*pixels.shape[:2], -1).transpose(2, 0, 1).astype(np.float32)
    details = [pywt.dwt2(channel, 'db2')[1][2] for channel in channels]
    return float(np.mean([np.median(np.abs(detail)) for detail in details]) / 0.6745 * 255 / peak)


def measure(file):
    """Estimate the noise of an image file, and read the quality of a JPEG file.

    Args:
        file (ImageFile): The image.

    Returns:
        dict: ``sigma`` (float | None) on the scale 0..255, and ``quality`` (int | None) in 1..100; None: unknown, as
        the quality of an image that was a JPEG file before it was saved in another format.
    """
    return {'sigma': estimate_sigma(file.pixels), 'quality': file.quality}


def level_text(quantity, value):
    """A level in words, such as 'noise sigma about 26'.

    Args:
        quantity (str): 'sigma' or 'quality'.
        value (float | None): Its value.

    Returns:
        str: The words.
    """
    if value is None:
        reason = 'not a JPEG file' if quantity == 'quality' else 'the image is too small'
        return f'{UNITS[quantity]} unknown ({reason})'
    return f'{UNITS[quantity]} {value}' if quantity == 'quality' else f'{UNITS[quantity]} about {value:.0f}'


def outside_range(levels, valid_range):
    """Compare the levels of an image with a network's valid range.

    Args:
        levels (dict): See :func:`measure`; missing and unknown levels are not compared.
        valid_range (dict): ``range`` of a description.

    Returns:
        list[str]: Each level that lies outside, in words.
    """
    faults = []
    for quantity, (low, high) in valid_range.items():
        value, tolerance = levels.get(quantity), TOLERANCE[quantity]
        if value is not None and not low * (1 - tolerance) <= value <= high * (1 + tolerance):
            faults.append(f'{level_text(quantity, value)} is outside the range {low:g} to {high:g}')
    return faults


def choose_network(levels, num_channels, networks):
    """Choose the network for an image: for JPEG files of visible compression, for noisy images, for both, or none.

    Args:
        levels (dict): See :func:`measure`.
        num_channels (int): Channels of the image, 1 or 3; networks of as many channels are preferred.
        networks (dict[str, dict]): Name -> description. Those without a ``range`` are not used.

    Returns:
        tuple[str | None, str]: Name of the network, None to leave the image as it is; and the reason.
    """
    sigma, quality = levels['sigma'], levels['quality']
    visible = []
    limit = NOISY_SIGMA
    if quality is not None and quality <= VISIBLE_QUALITY:
        visible.append('quality')
        limit = NOISY_PER_QUALITY * quality
    if sigma is not None and sigma >= limit:
        visible.append('sigma')
    if not visible:
        known = [level_text(k, v) for k, v in levels.items() if v is not None]
        return None, f'looks clean ({", ".join(known) or level_text("sigma", sigma)})'
    for quantities in (visible, visible[:1]):  # a network for all of it, else for the first
        fitting = []
        for name, description in networks.items():
            valid_range = description.get('range') or {}
            if set(valid_range) == set(quantities):
                outside = bool(outside_range(levels, valid_range))
                fitting.append((outside, channels_of(description) != num_channels, name))
        reason = ', '.join(level_text(v, levels[v]) for v in quantities)
        if fitting:
            return min(fitting)[2], reason
    return None, f'{reason}, but no bundled network states a range of {UNITS[quantities[0]]}'


def check_strength(strength):
    """Check the weight of a blend of output and input.

    Args:
        strength (float): 0 (input) to 1 (output).

    Returns:
        float: The weight.

    Raises:
        UsageError: If it is not a number in [0, 1].
    """
    if isinstance(strength,
                  bool) or not isinstance(strength,
                                          (int, float)) or not (math.isfinite(strength) and 0 <= strength <= 1):
        raise UsageError(f'strength: {strength!r} is not a number in [0, 1]')
    return float(strength)
