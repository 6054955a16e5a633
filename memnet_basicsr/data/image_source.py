"""Images of an LMDB or a folder as uint8 arrays, with errors that name the image."""
import contextlib
import cv2
import numpy as np
import warnings
from os import path as osp
from PIL import Image

from basicsr.utils import scandir
from ..errors import UsageError
from .lmdb_util import lmdb_images, make_key, read_lmdb

FORMATS = ('PNG', 'JPEG', 'BMP', 'TIFF', 'WEBP', 'PPM')
SUFFIXES = ('.png', '.jpg', '.jpeg', '.bmp', '.tif', '.tiff', '.ppm', '.pgm', '.webp')


def list_images(folder, recursive=False):
    """Relative paths of the images in a folder, sorted.

    Args:
        folder (str): The folder.
        recursive (bool): Whether subfolders count. Default: False.

    Returns:
        list[str]: Paths relative to the folder.

    Raises:
        UsageError: The folder does not exist or holds no image.
    """
    if not osp.isdir(folder):
        raise UsageError(f'folder {folder} does not exist')
    names = sorted(v for v in scandir(folder, recursive=recursive) if v.lower().endswith(SUFFIXES))
    if not names:
        raise UsageError(f'folder {folder} holds no images ({", ".join(SUFFIXES)})')
    return names


def decode_image(content, name):
    """Decode an image to 8 bit, gray as (H, W, 1), color as (H, W, 3) in BGR order; alpha is dropped.

    Args:
        content (bytes): The encoded image.
        name (str): Name of the image in error messages.

    Returns:
        ndarray: uint8.

    Raises:
        UsageError: The bytes are not an image of 8 or 16 bits.
    """
    code = np.frombuffer(content, np.uint8)
    try:
        img = cv2.imdecode(code, cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH) if code.size else None
        if img is not None and img.dtype == np.uint16:
            img = cv2.imdecode(code, cv2.IMREAD_ANYCOLOR)
    except cv2.error:
        img = None
    if img is None:
        raise UsageError(f'image {name} cannot be read: it is damaged or not an image; replace or remove it')
    if img.dtype != np.uint8:  # OpenCV would round [0, 1] to 0 and 1, and NaN to 0
        raise UsageError(f'image {name} holds {img.dtype} numbers; save it with 8 or 16 bits per channel')
    return img[..., None] if img.ndim == 2 else img


def read_image(path):
    """Read an image file, see :func:`decode_image`.

    Args:
        path (str): The file.

    Returns:
        ndarray: uint8, (H, W, 1) or (H, W, 3) BGR.

    Raises:
        UsageError: The file cannot be read or is not an image.
    """
    try:
        with open(path, 'rb') as f:
            content = f.read()
    except OSError as error:
        raise UsageError(f'image {path} cannot be read: {error.strerror}') from None
    return decode_image(content, path)


def read_header(path):
    """Read the size of an image file from its header.

    Args:
        path (str): The file.

    Returns:
        tuple: Width, height, and whether the image is gray.

    Raises:
        UsageError: The file cannot be read or is not an image.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # about large images and damaged metadata
            with Image.open(path, formats=FORMATS) as img:
                return (*img.size, img.mode in ('1', 'L', 'LA', 'I', 'F') or img.mode.startswith('I;'))
    except Exception:  # damage makes Pillow raise anything
        raise UsageError(f'image {path} cannot be read: it is damaged or not an image; replace or remove it') from None


class ImageSource:
    """The images below a data root.

    Args:
        root (str): An LMDB in BasicSR's format, or a folder of images (its subfolders do not count).
        io_backend (dict): BasicSR's form: ``{type: lmdb}`` or ``{type: disk}``.
        meta_info_file (str | None): List of the images to use, one name (a key for an LMDB) a line; None for all.
            Default: None.

    Attributes:
        keys (list[str]): Keys of the images, the same for an LMDB and for the folder that it was made from.
        paths (list[str]): BasicSR's ``lq_path`` / ``gt_path``: keys for an LMDB, file paths for a folder.

    Raises:
        UsageError: The root is missing or empty, the LMDB is not complete, the backend is another one, or a listed
            image does not exist.
    """

    def __init__(self, root, io_backend, meta_info_file=None):
        self.root = root
        kind = io_backend.get('type') if isinstance(io_backend, dict) else io_backend
        if kind not in ('lmdb', 'disk'):
            raise UsageError(f'io_backend type {kind!r} is not supported; use lmdb or disk')
        self.is_lmdb = kind == 'lmdb'
        if self.is_lmdb:
            self._shapes = lmdb_images(root)
            self.keys = self.paths = sorted(self._shapes)
        else:
            if osp.normpath(root).endswith('.lmdb'):
                raise UsageError(f'{root} is an LMDB; write io_backend: {{type: lmdb}}')
            names = list_images(root)
            self.keys = [make_key(name) for name in names]
            self.paths = [osp.join(root, name) for name in names]
        if meta_info_file is not None:
            self._keep(meta_info_file)

    def _keep(self, meta_info_file):
        """Keep the images of a list."""
        try:
            with open(osp.expanduser(meta_info_file), encoding='utf-8') as f:
                wanted = [make_key(line.strip()) for line in f if line.strip()]
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f'meta_info_file {meta_info_file} cannot be read: {error}') from None
        places = {key: i for i, key in enumerate(self.keys)}
        missing = [key for key in wanted if key not in places]
        if missing or not wanted:
            fault = f'lists {missing[0]}, which is not in {self.root}' if missing else 'is empty'
            raise UsageError(f'meta_info_file {meta_info_file} {fault}; fix the list or remove the option')
        indices = sorted({places[key] for key in wanted})
        self.keys, self.paths = [self.keys[i] for i in indices], [self.paths[i] for i in indices]

    def __len__(self):
        return len(self.paths)

    def read(self, index):
        """The image at an index as uint8, (H, W, 1) gray or (H, W, 3) BGR."""
        path = self.paths[index]
        if not self.is_lmdb:
            return read_image(path)
        return decode_image(read_lmdb(self.root, path) or b'', f'{path} of LMDB {self.root}')

    def any_color(self):
        """Whether any image has color channels, according to the LMDB's meta file or the file headers."""
        if self.is_lmdb:
            return any(c > 1 for _, _, c in self._shapes.values())
        for path in self.paths:
            with contextlib.suppress(UsageError):  # a damaged file is named when it is read
                if not read_header(path)[2]:
                    return True
        return False
