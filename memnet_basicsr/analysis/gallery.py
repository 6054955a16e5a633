"""Degrade the images of scikit-image, restore them with the bundled weights, and draw the gallery of the README."""
import cv2
import numpy as np
from os import path as osp

from basicsr.metrics import calculate_psnr
from ..atomic_file import write_atomically
from ..data.bicubic_util import resize_bicubic
from ..errors import UsageError
from ..inference.batch import restore_files
from .drawing import new_figure


def noisy(img):
    """Add Gaussian noise of sigma 30, clipped and rounded to uint8 as an image file requires."""
    noise = np.random.default_rng(0).normal(0, 30, img.shape)
    return (img + noise).round().clip(0, 255).astype(np.uint8)


def resized(img, height, width):
    """Resize a uint8 image with MATLAB's bicubic kernel."""
    return (resize_bicubic(img / 255, height, width) * 255).round().clip(0, 255).astype(np.uint8)


def small(img):
    return resized(img, img.shape[0] // 3, img.shape[1] // 3)


# folder, weights, scale, image, degradation, suffix, corner (row, column) of the patch to draw
EXHIBITS = (
    ('noisy', 'memnet_denoise_color', None, 'chelsea', noisy, '.png', (40, 110)),
    ('jpeg', 'memnet_jpeg', None, 'coffee', lambda img: img, '.jpg', (60, 200)),
    ('small', 'memnet_sr', 3., 'astronaut', small, '.png', (30, 120)),
)
SIDE = 180


def make_gallery(folder):
    """Write clean and degraded images, restore the degraded ones, and draw a patch of each.

    Args:
        folder (str): Folder for ``clean/``, ``noisy/`` (sigma 30), ``jpeg/`` (quality 10), ``small/`` (one third of the
            size) and ``restored/``.

    Returns:
        matplotlib.figure.Figure: Degraded, restored and clean patches, with the PSNR of the whole color image.

    Raises:
        UsageError: If scikit-image is missing, or an image cannot be restored.
    """
    try:
        import skimage.data
    except ImportError:
        raise UsageError('the gallery needs scikit-image; run pip install scikit-image') from None
    figure = new_figure(7.2, 2.65 * len(EXHIBITS))
    axes = figure.subplots(len(EXHIBITS), 3)
    for row, (kind, weights, scale, name, degrade, suffix, corner) in zip(axes, EXHIBITS):
        clean = getattr(skimage.data, name)()
        clean = clean[:clean.shape[0] // 3 * 3, :clean.shape[1] // 3 * 3, ::-1]
        path = osp.join(folder, kind, name + suffix)
        write(osp.join(folder, 'clean', f'{name}.png'), clean)
        write(path, degrade(clean))
        output = osp.join(folder, 'restored', kind)
        if restore_files([path], output, weights, scale, gt=osp.join(folder, 'clean'), overwrite=True):
            raise UsageError(f'{path}: could not be restored')
        degraded, restored = cv2.imread(path), cv2.imread(osp.join(output, name + suffix))
        if degraded.shape != clean.shape:
            degraded = resized(degraded, *clean.shape[:2])
        for axis, title, img in zip(row, (kind, weights, 'clean'), (degraded, restored, clean)):
            psnr = '' if img is clean else f'  {calculate_psnr(img, clean, 0):.2f} dB'
            top, left = corner
            axis.imshow(img[top:top + SIDE, left:left + SIDE, ::-1], interpolation='nearest')
            axis.set_title(title + psnr, fontsize=9)
            axis.axis('off')
    return figure


def write(path, img):
    """Write a BGR image, JPEG with quality 10."""
    suffix = osp.splitext(path)[1]
    code = cv2.imencode(suffix, img, [cv2.IMWRITE_JPEG_QUALITY, 10] if suffix == '.jpg' else [])[1]
    write_atomically(path, code.tobytes())
