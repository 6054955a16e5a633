"""Pictures of scikit-image made bad, restored by the packaged weights as ``memnet-restore`` does, and drawn."""
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
    """Gaussian noise of sigma 30, clipped and rounded: what a picture file can hold."""
    noise = np.random.default_rng(0).normal(0, 30, img.shape)
    return (img + noise).round().clip(0, 255).astype(np.uint8)


def small(img):
    return (resize_bicubic(img / 255, img.shape[0] // 3, img.shape[1] // 3) * 255).round().clip(0, 255).astype(np.uint8)


# folder, weights, factor, picture, how it is made bad, suffix, corner (row, column) of the part that is drawn
EXHIBITS = (
    ('noisy', 'memnet_denoise', None, 'chelsea', noisy, '.png', (40, 110)),
    ('jpeg', 'memnet_jpeg', None, 'coffee', lambda img: img, '.jpg', (60, 200)),
    ('small', 'memnet_sr', 3., 'astronaut', small, '.png', (30, 120)),
)
SIDE = 180


def make_gallery(folder):
    """Write clean and bad pictures, restore the bad ones, and draw a part of each.

    Args:
        folder (str): Folder for ``clean/``, ``noisy/`` (sigma 30), ``jpeg/`` (quality 10), ``small/`` (a third) and
            ``restored/<the same>/``.

    Returns:
        matplotlib.figure.Figure: The gallery: bad, restored and clean, with PSNR over the whole colour picture.

    Raises:
        UsageError: scikit-image is missing, or something cannot be restored or written.
    """
    try:
        import skimage.data
    except ImportError:
        raise UsageError('the gallery needs scikit-image: pip install scikit-image') from None
    figure = new_figure(7.2, 2.65 * len(EXHIBITS))
    axes = figure.subplots(len(EXHIBITS), 3)
    for row, (kind, weights, scale, name, degrade, suffix, corner) in zip(axes, EXHIBITS):
        clean = getattr(skimage.data, name)()
        clean = clean[:clean.shape[0] // 3 * 3, :clean.shape[1] // 3 * 3, ::-1]
        bad = osp.join(folder, kind, name + suffix)
        write(osp.join(folder, 'clean', f'{name}.png'), clean)
        write(bad, degrade(clean))
        restored = osp.join(folder, 'restored', kind)
        if restore_files([bad], restored, weights, scale, gt=osp.join(folder, 'clean'), overwrite=True):
            raise UsageError(f'{bad}: could not be restored')
        bad, restored = cv2.imread(bad), cv2.imread(osp.join(restored, name + suffix))
        if bad.shape != clean.shape:
            bad = (resize_bicubic(bad / 255, *clean.shape[:2]) * 255).round().clip(0, 255).astype(np.uint8)
        for axis, title, img in zip(row, (kind, weights, 'clean'), (bad, restored, clean)):
            psnr = '' if img is clean else f'  {calculate_psnr(img, clean, 0):.2f} dB'
            top, left = corner
            axis.imshow(img[top:top + SIDE, left:left + SIDE, ::-1], interpolation='nearest')
            axis.set_title(title + psnr, fontsize=9)
            axis.axis('off')
    return figure


def write(path, img):
    """Write a BGR picture; a JPEG with quality 10."""
    suffix = osp.splitext(path)[1]
    code = cv2.imencode(suffix, img, [cv2.IMWRITE_JPEG_QUALITY, 10] if suffix == '.jpg' else [])[1]
    write_atomically(path, code.tobytes())
