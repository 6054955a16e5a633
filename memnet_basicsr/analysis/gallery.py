"""Degrade the images of scikit-image, restore them with the bundled weights, and draw the gallery of the README."""
import cv2
import numpy as np
from os import path as osp

from ..atomic_file import write_atomically
from ..data.bicubic_util import resize_bicubic
from ..data.jpeg_util import compress_jpeg
from ..errors import UsageError
from ..inference.batch import restore_files
from .drawing import new_figure

SIDE = 180  # of the patch that is drawn
MARGIN = 20  # around the patch, for BM3D


def noise(img, sigma):
    """Add noise; clipped and rounded to uint8, as an image file requires."""
    return (img + np.random.default_rng(0).normal(0, sigma, img.shape)).round().clip(0, 255).astype(np.uint8)


def phone(img):
    """Add noise whose variance grows with the signal, and compress with JPEG quality 80."""
    return compress_jpeg(noise(img, 12 * np.sqrt(0.3 + 1.4 * img / 255)), 80)


def resized(img, height, width):
    """Resize a uint8 image with MATLAB's bicubic kernel."""
    return (resize_bicubic(img / 255, height, width) * 255).round().clip(0, 255).astype(np.uint8)


def bm3d(degraded, clean):
    """BM3D of a uint8 BGR or gray image, which is given the standard deviation of the true error."""
    from bm3d import bm3d as gray
    from bm3d import bm3d_rgb
    sigma = (degraded.astype(float) - clean).std() / 255
    restored = (bm3d_rgb if degraded.ndim == 3 else gray)(degraded / 255, sigma)
    return (restored * 255).round().clip(0, 255).astype(np.uint8)


# title, weights, scale, image, degradation, corner (row, column) of the patch to draw
EXHIBITS = (
    ('noise, sigma 30', 'memnet_denoise_color', None, 'chelsea', lambda img: noise(img, 30), (40, 110)),
    ('phone: noise, JPEG 80', 'memnet_mixture', None, 'astronaut', phone, (20, 300)),
    ('JPEG quality 15', 'memnet_jpeg', None, 'coffee', lambda img: compress_jpeg(img, 15), (60, 200)),
    ('a third of the size', 'memnet_sr', 3., 'astronaut',
     lambda img: resized(img, img.shape[0] // 3, img.shape[1] // 3), (30, 120)),
    ('document, sigma 25', 'memnet_denoise', None, 'page', lambda img: noise(img, 25), (5, 20)),
)


def make_gallery(folder):
    """Write clean and degraded images, restore the degraded ones, and draw a patch of each.

    Args:
        folder (str): Folder for the images: ``clean/``, ``degraded/``, ``restored/``.

    Returns:
        matplotlib.figure.Figure: Degraded patch, restored by this package, by a classical method (BM3D, which is given
        the true level of the error; bicubic interpolation for the small image), and clean, with the PSNR of the patch.

    Raises:
        UsageError: If scikit-image or bm3d is missing, or an image cannot be restored.
    """
    try:
        import bm3d as _  # noqa: F401
        import skimage.data
    except ImportError as error:
        raise UsageError(f'the gallery needs {error.name}; run pip install scikit-image bm3d') from None
    figure = new_figure(9.6, 2.65 * len(EXHIBITS))
    axes = figure.subplots(len(EXHIBITS), 4)
    for number, (row, (title, weights, scale, name, degrade, corner)) in enumerate(zip(axes, EXHIBITS), 1):
        clean = getattr(skimage.data, name)()
        clean = clean[:clean.shape[0] // 3 * 3, :clean.shape[1] // 3 * 3]
        clean = clean[..., ::-1] if clean.ndim == 3 else clean
        file = f'{number}_{name}.png'
        degraded = degrade(clean).reshape(-1, *clean.shape[1:]) if scale is None else degrade(clean)
        write(osp.join(folder, 'clean', file), clean)
        write(osp.join(folder, 'degraded', file), degraded)
        output = osp.join(folder, 'restored')
        if restore_files([osp.join(folder, 'degraded', file)], output, weights, scale,
                         gt=osp.join(folder, 'clean'), overwrite=True):  # yapf: disable
            raise UsageError(f'{file}: could not be restored')
        restored = cv2.imread(osp.join(output, file), cv2.IMREAD_UNCHANGED)
        top, left = corner
        patch = np.s_[top:top + SIDE, left:left + SIDE]
        if scale:
            bicubic = resized(degraded, *clean.shape[:2])
            others = [('bicubic', bicubic[patch])]
            degraded = cv2.resize(degraded, clean.shape[1::-1], interpolation=cv2.INTER_NEAREST)[patch]
        else:
            y, x = max(0, top - MARGIN), max(0, left - MARGIN)
            wide = np.s_[y:top + SIDE + MARGIN, x:left + SIDE + MARGIN]
            result = bm3d(degraded[wide], clean[wide])
            others = [('BM3D', result[top - y:top - y + SIDE, left - x:left - x + SIDE])]
            degraded = degraded[patch]
        shown = [(title, degraded), (weights, restored[patch]), *others, ('original', clean[patch])]
        for axis, (label, img) in zip(row, shown):
            psnr = '' if label == 'original' else f'  {cv2.PSNR(img, np.ascontiguousarray(clean[patch])):.2f} dB'
            axis.imshow(
                img[..., ::-1] if img.ndim == 3 else img, interpolation='nearest', cmap='gray', vmin=0, vmax=255)
            axis.set_title(label + psnr, fontsize=8)
            axis.axis('off')
    return figure


def write(path, img):
    """Write a BGR or gray image as PNG."""
    write_atomically(path, cv2.imencode('.png', img)[1].tobytes())
