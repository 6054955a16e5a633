import numpy as np
import torch

from ..errors import UsageError

BINS = 32  # annuli of 1/64 cycles per pixel: pictures of 64 pixels fill each


def frequencies():
    """Middle of each annulus of :func:`radial_spectrum`.

    Returns:
        ndarray: (BINS, ), cycles per pixel, in (0, 0.5).
    """
    return (np.arange(BINS) + .5) / (2 * BINS)


@torch.no_grad()
def radial_spectrum(maps, others=None):
    """Power spectral density of feature maps over the spatial frequency, averaged over directions and maps.

    |F|^2 / sum(window^2) of the 2-D Fourier transform F of each map, its mean taken off, under a Hann window (without
    it, the jump from one border of the picture to the other shows as high frequencies). White noise of variance v has
    the density v everywhere.

    Given other maps, the cross-spectrum Re(F conj(F')): of two restorations that differ by their noise alone, it is
    the density of what they have in common, and may be slightly negative where that is nothing.

    Args:
        maps (Tensor): (c, h, w), both sides at least 64 pixels.
        others (Tensor | None): Of the same shape. Default: None, the maps themselves.

    Returns:
        ndarray: Density at :func:`frequencies`, (BINS, ), float64. Corners beyond 0.5 cycles per pixel are left out.

    Raises:
        UsageError: If the maps are smaller than 64 pixels.
    """
    height, width = maps.shape[1:]
    if min(height, width) < 2 * BINS:
        raise UsageError(f'picture of {width} x {height} pixels: spectra need at least {2 * BINS} x {2 * BINS}')
    window = torch.outer(*(torch.hann_window(v, periodic=False, device=maps.device) for v in (height, width)))

    def transform(x):
        return torch.fft.fft2((x - x.mean((1, 2), keepdim=True)) * window)

    f = transform(maps)
    product = f.abs().square() if others is None else (f * transform(others).conj()).real
    power = (product.mean(0, dtype=torch.float64) / window.double().square().sum()).cpu().numpy()
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width))
    # annulus k holds the radii from k / 64 (without) to (k + 1) / 64; the mean of the maps falls out
    annulus = np.ceil(radius * 2 * BINS).astype(int)
    counts = np.bincount(annulus.ravel())[1:BINS + 1]
    return np.bincount(annulus.ravel(), power.ravel())[1:BINS + 1] / counts


def total_power(density, above=0.):
    """Power of a density over the frequencies, up to a constant factor: its sum, weighted by the annuli's areas.

    Args:
        density (ndarray): (..., BINS).
        above (float): Lowest frequency that counts, in cycles per pixel. Default: 0.

    Returns:
        ndarray: Power, (...).
    """
    weights = frequencies() * (frequencies() > above)
    return (density * weights).sum(-1)


def to_db(density, reference=None):
    """Density in dB relative to its mean density, so that white noise lies at 0 dB whatever its variance.

    Args:
        density (ndarray): (..., BINS).
        reference (ndarray | None): Density whose mean is 0 dB. Default: None, the density itself.

    Returns:
        ndarray: (..., BINS), dB; -inf where the density is not positive.
    """
    mean = total_power(density if reference is None else reference) / frequencies().sum()
    with np.errstate(divide='ignore'):
        return 10 * np.log10(np.maximum(density / mean[..., None], 0))
