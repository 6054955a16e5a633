import numpy as np
import torch
from dataclasses import dataclass

from ...errors import UsageError
from .memories import memories, readers

BINS = 32  # annuli of 1/64 cycles per pixel: pictures of 64 pixels fill each
HIGH = .25  # cycles per pixel: details of less than 4 pixels


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


def mean_density(density, above=0.):
    """Mean of a density over the frequencies, weighted by the annuli's areas: the power, up to a constant factor.

    Args:
        density (ndarray): (..., BINS).
        above (float): Density below this frequency (cycles per pixel) counts as 0. Default: 0.

    Returns:
        ndarray: Mean, (...).
    """
    return (density * frequencies() * (frequencies() > above)).sum(-1) / frequencies().sum()


def high_share(density, common=None):
    """Share of the power that lies above ``HIGH`` (white noise: 0.75, the outer annuli are the larger ones).

    Args:
        density (ndarray): (..., BINS).
        common (ndarray | None): Part of the density whose high frequencies are asked for. Default: all.

    Returns:
        ndarray: Share of all power, (...).
    """
    return mean_density(density if common is None else common, HIGH) / mean_density(density)


def mean_spectrum(pictures):
    """Mean of the pictures' spectra relative to their means, so that each picture counts alike.

    Args:
        pictures (iterable[Tensor]): Each (c, h, w).

    Returns:
        ndarray: Relative density, (BINS, ); white noise has 1 everywhere.
    """
    densities = np.stack([radial_spectrum(v) for v in pictures])
    return (densities / mean_density(densities)[:, None]).mean(0)


@dataclass(frozen=True)
class FeatureSpectra:
    """Spectra of a network's features along the depth.

    Args:
        name (str): Name of the network.
        density (ndarray): Of B_0, ..., B_M, (M + 1, BINS), each relative to its mean: white noise has 1 everywhere.
        common (ndarray | None): As ``density``, of what two draws of the noise have in common. Default: None.
    """
    name: str
    density: np.ndarray
    common: np.ndarray | None = None

    def high_share(self):
        return high_share(self.density)

    def common_high_share(self):
        return high_share(self.density, self.common)


def feature_spectra(net, name, pairs, others=None, raw=False):
    """Spectra of a MemNet's features along the depth.

    The scale of a channel is arbitrary, since each layer that reads it normalizes it: channels of large values, which
    are smooth ones, would hide the others. So each channel is divided by the standard deviation that its reader's
    BatchNorm has found for it in training, unless ``raw`` is asked for. And features of large, smooth areas have many
    times the power of others: the pictures' spectra are averaged relative to their means.

    Args:
        net (MemNet): Network.
        name (str): What to call it.
        pairs (iterable[dict]): Items with ``lq``, (c, h, w), [0, 1].
        others (iterable[dict] | None): The same pictures with another draw of the noise. Default: None.
        raw (bool): Whether channels count as they are. Default: False.

    Returns:
        FeatureSpectra: The spectra.
    """
    device = net.recon_conv.weight.device
    scales = [1 if raw else (v.running_var + v.eps).rsqrt().view(-1, 1, 1) for v in readers(net)]

    def features_of(pair):
        return [v[0] * scale for v, scale in zip(memories(net, pair['lq'][None].to(device)), scales)]

    densities, commons = [], []
    for pair, other in zip(pairs, pairs if others is None else others):
        features = features_of(pair)
        density = np.stack([radial_spectrum(v) for v in features])
        power = mean_density(density)[:, None]
        densities.append(density / power)
        if others is not None:
            commons.append(np.stack([radial_spectrum(a, b) for a, b in zip(features, features_of(other))]) / power)
    return FeatureSpectra(name, np.mean(densities, axis=0), np.mean(commons, axis=0) if commons else None)
