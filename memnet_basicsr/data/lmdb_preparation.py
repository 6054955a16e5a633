import numpy as np
from os import path as osp

from ..errors import UsageError
from .color_util import convert_color
from .image_source import list_images, read_image
from .lmdb_util import make_key, signature_of, write_lmdb


def folder_images(folders):
    """Keys and files of the images in one or several folders (subfolders do not count).

    Args:
        folders (list[str]): The folders.

    Returns:
        dict[str, str]: Key -> path, sorted by key.

    Raises:
        UsageError: A folder is missing or holds no image, or two images get the same key.
    """
    files = {}
    for folder in folders:
        for name in list_images(folder):
            key, path = make_key(name), osp.join(folder, name)
            if key in files:
                raise UsageError(f'{files[key]} and {path} would both be called {key} in the LMDB; rename one')
            files[key] = path
    return dict(sorted(files.items()))


def sub_image_starts(length, size, step):
    """First pixels of the sub-images along one axis: every step, and one that ends at the image's border.

    Args:
        length (int): Length of the image along the axis.
        size (int): Length of a sub-image.
        step (int): Distance between two of them.

    Returns:
        list[int]: At least one; [0] when the image is not longer than the sub-image.
    """
    last = max(0, length - size)
    return sorted({*range(0, last + 1, step), last})


def sub_images(key, img, size, step):
    """Cut an image into overlapping sub-images, called ``<key>_s001``, ... row by row.

    Args:
        key (str): Key of the image.
        img (ndarray): (H, W, C).
        size (int): Side of a sub-image in pixels; a smaller image is taken as it is.
        step (int): Distance between two of them in pixels.

    Yields:
        tuple[str, ndarray]: Key and pixels.
    """
    number = 0
    for top in sub_image_starts(img.shape[0], size, step):
        for left in sub_image_starts(img.shape[1], size, step):
            number += 1
            yield f'{key}_s{number:03d}', np.ascontiguousarray(img[top:top + size, left:left + size])


def prepare_lmdb(target, files, color='rgb', crop_size=None, step=None, overwrite=False, progress=True):
    """Write image files into an LMDB, whole or as sub-images. An LMDB made from the same files is kept.

    Args:
        target (str): The LMDB, ``*.lmdb``.
        files (dict[str, str]): Key -> path of the image.
        color (str): ``rgb``, ``gray`` or ``y``, see :func:`convert_color`. Default: 'rgb'.
        crop_size (int | None): Side of sub-images in pixels. Default: None (whole images).
        step (int | None): Distance between sub-images. Default: None (``crop_size``).
        overwrite (bool): Whether an LMDB made from other files or settings is replaced. Default: False.
        progress (bool): Whether to show a progress bar. Default: True.

    Returns:
        int: Number of images written; 0 when the LMDB was there and is up to date.

    Raises:
        UsageError: As :func:`write_lmdb`; an unreadable image; sizes that are not positive.
    """
    if (crop_size is not None and crop_size < 1) or (step is not None and (step < 1 or crop_size is None)):
        raise UsageError(f'crop size {crop_size} and step {step} must be positive, and a step needs a crop size')

    def images():
        for key, path in files.items():
            img = convert_color(read_image(path), color)
            if crop_size is None:
                yield key, img
            else:
                yield from sub_images(key, img, crop_size, step or crop_size)

    # sub-images of unknown number: the bar counts without an end
    total = len(files) if crop_size is None else None
    signature = signature_of(files.values(), keys=list(files), color=color, crop_size=crop_size, step=step)
    return write_lmdb(target, images(), signature, total, overwrite=overwrite, progress=progress)
