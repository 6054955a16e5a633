"""Power spectra of MemNet's features along the depth."""
import numpy as np
import torch
from dataclasses import dataclass

from ...errors import UsageError

BINS = 32  # annuli of 1/64 cycles per pixel, each non-empty for images of 64 pixels
HIGH = .25  # cycles per pixel: details smaller than 4 pixels


def frequencies():
    """Center frequency of each annulus of :func:`radial_spectrum`.

    Returns:
        ndarray: (BINS, ), cycles per pixel, in (0, 0.5).
    """
    return (np.arange(BINS) + .5) / (2 * BINS)


@torch.no_grad()
def radial_spectrum(maps, others=None):
    """Radial power spectral density of feature maps, averaged over directions and maps.

    |F|^2 / sum(window^2), where F is the 2-D Fourier transform of a map without its mean, under a Hann window. Without
    the window, the jump between opposite borders adds high frequencies. White noise of variance v has density v.

    With ``others``, the cross-spectrum Re(F conj(F')). For two inputs that differ only in their noise, this is the
    density of the shared part; it can be slightly negative where nothing is shared.

    Args:
        maps (Tensor): (c, h, w), both sides at least 64 pixels.
        others (Tensor | None): Same shape. Default: None, the maps themselves.

    Returns:
        ndarray: Density at :func:`frequencies`, (BINS, ), float64. Frequencies above 0.5 cycles per pixel are left out.

    Raises:
        UsageError: If the maps are smaller than 64 pixels.
    """
    height, width = maps.shape[1:]
    if min(height, width) < 2 * BINS:
        raise UsageError(f'image of {width}x{height} pixels: spectra need at least {2 * BINS}x{2 * BINS}')
    window = torch.outer(*(torch.hann_window(v, periodic=False, device=maps.device) for v in (height, width)))

    def transform(x):
        return torch.fft.fft2((x - x.mean((1, 2), keepdim=True)) * window)

    f = transform(maps)
    product = f.abs().square() if others is None else (f * transform(others).conj()).real
    power = (product.mean(0, dtype=torch.float64) / window.double().square().sum()).cpu().numpy()
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width))
    # Annulus k holds the radii in (k / 64, (k + 1) / 64]; the zero frequency is dropped.
    annulus = np.ceil(radius * 2 * BINS).astype(int)
    counts = np.bincount(annulus.ravel())[1:BINS + 1]
    return np.bincount(annulus.ravel(), power.ravel())[1:BINS + 1] / counts


def mean_density(density, above=0.):
    """Mean of a density over the frequencies, weighted by the area of the annuli.

    Args:
        density (ndarray): (..., BINS).
        above (float): Frequencies below this (cycles per pixel) count as 0. Default: 0.

    Returns:
        ndarray: Mean, (...).
    """
    return (density * frequencies() * (frequencies() > above)).sum(-1) / frequencies().sum()


def high_share(density, common=None):
    """Share of the power above ``HIGH``; 0.75 for white noise, because outer annuli are larger.

    Args:
        density (ndarray): (..., BINS).
        common (ndarray | None): Part of the density to count above ``HIGH``. Default: None, all of it.

    Returns:
        ndarray: Share of all power, (...).
    """
    return mean_density(density if common is None else common, HIGH) / mean_density(density)


def mean_spectrum(images):
    """Mean spectrum of images, each normalized to mean 1 so that all images have equal weight.

    Args:
        images (iterable[Tensor]): Each (c, h, w).

    Returns:
        ndarray: Relative density, (BINS, ); white noise has 1 everywhere.
    """
    densities = np.stack([radial_spectrum(v) for v in images])
    return (densities / mean_density(densities)[:, None]).mean(0)


@torch.no_grad()
def memories(net, lq):
    """Outputs of a MemNet's front end and memory blocks in evaluation mode.

    Args:
        net (MemNet): Network; left in evaluation mode.
        lq (Tensor): Low-quality input, (b, c, h, w), [0, 1].

    Returns:
        list[Tensor]: [B_0, ..., B_M], each (b, num_feat, h, w).
    """
    found = []
    modules = (net.fenet, *net.memory_blocks)
    handles = [v.register_forward_hook(lambda module, args, out: found.append(out)) for v in modules]
    try:
        net.eval()(lq)
    finally:
        for handle in handles:
            handle.remove()
    return found


def readers(net):
    """First BatchNorm that reads each memory of a MemNet; its running statistics are those of the memory.

    Args:
        net (MemNet): Network.

    Returns:
        list[nn.BatchNorm2d]: For B_0, ..., B_M.
    """
    return [block.norm_a[0] for block in net.memory_blocks] + [net.recon_norms[-1]]


@dataclass(frozen=True)
class FeatureSpectra:
    """Spectra of a network's features along the depth.

    Args:
        name (str): Name of the network.
        density (ndarray): Densities of B_0, ..., B_M, (M + 1, BINS), each normalized to mean 1.
        common (ndarray | None): The part of ``density`` that two noise draws share. Default: None.
    """
    name: str
    density: np.ndarray
    common: np.ndarray | None = None

    def high_share(self):
        return high_share(self.density)

    def common_high_share(self):
        return high_share(self.density, self.common)


def feature_spectra(net, name, pairs, others=None):
    """Spectra of a MemNet's features along the depth.

    The scale of a channel is arbitrary because every layer that reads it normalizes it. Therefore each channel is
    divided by the running standard deviation of the BatchNorm that reads it. Spectra of images are normalized before
    averaging because large smooth areas have many times the power of textured ones.

    Args:
        net (MemNet): Network.
        name (str): Name of the network.
        pairs (iterable[dict]): Items with ``lq``, (c, h, w), [0, 1].
        others (iterable[dict] | None): The same images with another draw of the noise. Default: None.

    Returns:
        FeatureSpectra: The spectra.
    """
    device = net.recon_conv.weight.device
    scales = [(v.running_var + v.eps).rsqrt().view(-1, 1, 1) for v in readers(net)]

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
