"""Picture files in and out with what a picture carries beside its pixels.

Pillow reads: it knows palettes, CMYK, alpha, EXIF and colour profiles, and raises where a file is cut off. It has no
colour pictures of 16 bit, though, and would silently make 8 bit of them; those are decoded and encoded by OpenCV.
"""
import cv2
import io
import numpy as np
import warnings
from dataclasses import dataclass, field
from os import path as osp
from PIL import Image

from ..atomic_file import write_atomically
from ..errors import UsageError

SUFFIXES = ('.png', '.jpg', '.jpeg', '.bmp', '.tif', '.tiff', '.webp', '.gif', '.ppm', '.pgm', '.pnm')
FORMATS = {
    '.png': 'PNG',
    '.jpg': 'JPEG',
    '.jpeg': 'JPEG',
    '.bmp': 'BMP',
    '.tif': 'TIFF',
    '.tiff': 'TIFF',
    '.webp': 'WEBP',
    '.ppm': 'PPM',
    '.pgm': 'PPM',
    '.pnm': 'PPM'
}
HOLD_16BIT = ('.png', '.tif', '.tiff')
HOLD_ALPHA = ('.png', '.tif', '.tiff', '.webp')
ORIENTATION = 0x0112
# EXIF orientation -> the picture upright
UPRIGHT = {
    2: lambda v: v[:, ::-1],
    3: lambda v: v[::-1, ::-1],
    4: lambda v: v[::-1],
    5: lambda v: v.swapaxes(0, 1),
    6: lambda v: np.rot90(v, -1),
    7: lambda v: v[::-1, ::-1].swapaxes(0, 1),
    8: lambda v: np.rot90(v)
}


@dataclass
class Picture:
    """A picture, upright.

    Args:
        pixels (ndarray): uint8 or uint16, gray (h, w) or RGB (h, w, 3).
        alpha (ndarray | None): Opacity, (h, w), type of ``pixels``. Default: None.
        metadata (dict): Colour profile, EXIF and resolution as Pillow's ``save`` takes them. Default: empty.
        notes (list[str]): What could not be kept, for the user. Default: empty.
    """
    pixels: np.ndarray
    alpha: np.ndarray | None = None
    metadata: dict = field(default_factory=dict)
    notes: list = field(default_factory=list)


def read_picture(path):
    """Read a picture file of 8 or 16 bit.

    EXIF orientation is applied to the pixels and set to "upright" in the metadata. Palettes become RGB, CMYK too (said
    in the notes).

    Args:
        path (str): File.

    Returns:
        Picture: The picture.

    Raises:
        UsageError: If it is empty, damaged, no picture, animated, or has another depth.
    """
    try:
        with open(path, 'rb') as f:
            content = f.read()
    except OSError as error:
        raise UsageError(f'{path}: cannot be read ({error.strerror})') from None
    if not content:
        raise UsageError(f'{path}: is empty (0 bytes)')
    try:
        with warnings.catch_warnings():
            # Pillow warns from 90 megapixels on and refuses from 179 on, against files that unpack to fill the memory
            warnings.simplefilter('ignore')
            image = Image.open(io.BytesIO(content))
            frames = getattr(image, 'n_frames', 1)
            image.load()
    except Exception as error:  # damage makes Pillow raise anything from SyntaxError to struct.error
        reason = 'is not a picture or damaged' if isinstance(error, Image.UnidentifiedImageError) else \
            f'cannot be decoded ({(str(error) or type(error).__name__).splitlines()[0]})'
        raise UsageError(f'{path}: {reason}') from None
    # phones put a second picture (depth, preview) into a JPEG, format MPO; the first is the photograph
    if frames > 1 and image.format != 'MPO':
        raise UsageError(f'{path}: has {frames} frames or pages; animations are not restored, save them one by one')

    wide = _decode_16bit(image, content, path)
    picture = Picture(*_split_alpha(_decode_8bit(image, path) if wide is None else wide))
    if image.mode == 'CMYK':
        picture.notes.append('CMYK was converted to RGB')
    _read_metadata(image, picture)
    return picture


def write_picture(path, picture):
    """Write a picture file, whole or not at all; a file that was there before survives a failure.

    JPEG is written at quality 95 without chroma subsampling, WebP without loss. 16-bit files carry no metadata, and
    their gray with alpha becomes RGB with alpha.

    Args:
        path (str): File; see :func:`output_path`.
        picture (Picture): The picture.

    Raises:
        OSError: If it cannot be written.
    """
    pixels, suffix = picture.pixels, osp.splitext(path)[1].lower()
    if pixels.dtype == np.uint16:
        channels = list(pixels[..., ::-1].transpose(2, 0, 1)) if pixels.ndim == 3 else [pixels]
        if picture.alpha is not None:  # OpenCV has no gray with alpha
            channels = channels * (3 // len(channels)) + [picture.alpha]
        done, content = cv2.imencode(suffix, np.dstack(channels))
        if not done:
            raise OSError(f'{path}: OpenCV cannot encode it')
        write_atomically(path, content.tobytes())
        return
    if picture.alpha is not None:
        pixels = np.dstack([pixels, picture.alpha])
    image, buffer = Image.fromarray(np.ascontiguousarray(pixels)), io.BytesIO()
    options = {
        'JPEG': {
            'quality': 95,
            'subsampling': 0
        },
        'WEBP': {
            'lossless': True,
            'exact': True
        }
    }.get(FORMATS[suffix], {})
    # the tags of a TIFF file describe its own layout: they cannot go into another one
    metadata = {k: v for k, v in picture.metadata.items() if k != 'exif' or FORMATS[suffix] in ('JPEG', 'PNG', 'WEBP')}
    image.save(buffer, FORMATS[suffix], **options, **metadata)
    write_atomically(path, buffer.getvalue())


def output_path(path, picture):
    """Where to write a picture: the same name, ending with .png where that format cannot hold it.

    Args:
        path (str): File wanted.
        picture (Picture): The picture.

    Returns:
        str: File.
    """
    stem, suffix = osp.splitext(path)
    suffix = suffix.lower()
    fits = suffix in FORMATS and (picture.pixels.dtype != np.uint16
                                  or suffix in HOLD_16BIT) and (picture.alpha is None or suffix in HOLD_ALPHA)
    return path if fits else stem + '.png'


def _decode_16bit(image, content, path):
    """Pixels of 16-bit files, gray or RGB(A); None for the others."""
    if image.mode in ('F', 'I') and image.format != 'PPM':
        raise UsageError(f'{path}: has 32 bits or signed numbers per channel; 8 and 16 bits are supported')
    if image.format == 'PNG':
        is_wide = content[24] == 16  # bit depth in the header
    elif image.format == 'TIFF':
        is_wide = 16 in image.tag_v2.get(258, ())
    else:
        is_wide = image.format == 'PPM' and content[:2] in (b'P5', b'P6')
    if not is_wide:
        return None
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED) if image.mode != 'CMYK' else None
    if image.format == 'PPM' and pixels is not None and pixels.dtype == np.uint8:
        return None
    if pixels is None or pixels.dtype != np.uint16:
        raise UsageError(f'{path}: this kind of 16-bit picture ({image.mode}) cannot be decoded; save it as RGB')
    if pixels.ndim == 3:
        pixels = pixels[..., [2, 1, 0, 3][:pixels.shape[2]]]
        if image.format == 'PNG' and content[25] == 4:  # gray with alpha, which OpenCV makes RGBA of
            pixels = pixels[..., 2:]
    return pixels


def _decode_8bit(image, path):
    """Pixels as gray, gray with alpha, RGB or RGBA."""
    transparent = 'transparency' in image.info
    gray = image.mode in ('1', 'L', 'LA', 'La')
    alpha = transparent or image.mode in ('LA', 'La', 'PA', 'RGBA', 'RGBa')
    mode = ('LA' if alpha else 'L') if gray else ('RGBA' if alpha else 'RGB')
    try:
        return np.array(image if image.mode == mode else image.convert(mode))
    except ValueError as error:
        raise UsageError(f'{path}: pictures of the kind {image.mode} cannot be converted to RGB ({error})') from None


def _split_alpha(pixels):
    if pixels.ndim == 3 and pixels.shape[2] in (2, 4):
        color = pixels[..., 0] if pixels.shape[2] == 2 else pixels[..., :3]
        return color, pixels[..., -1]
    return pixels, None


def _read_metadata(image, picture):
    profile, orientation = image.info.get('icc_profile'), 1
    try:
        exif = image.getexif()
        # of a TIFF file, Pillow and OpenCV have turned the pixels already
        orientation = exif.get(ORIENTATION, 1) if image.format != 'TIFF' else 1
        if ORIENTATION in exif:
            exif[ORIENTATION] = 1
        content = exif.tobytes() if len(exif) else None
    except Exception:  # damaged tags are no reason to refuse the picture
        content = None
        picture.notes.append('its EXIF data are damaged and were dropped')
    if picture.pixels.dtype == np.uint16:
        if profile:
            picture.notes.append('its colour profile cannot be kept in 16 bits and was dropped')
    else:
        if profile and image.mode != 'CMYK':
            picture.metadata['icc_profile'] = profile
        if content:
            picture.metadata['exif'] = content
        if image.format != 'GIF' and 'dpi' in image.info:
            picture.metadata['dpi'] = image.info['dpi']
    if orientation in UPRIGHT:
        picture.pixels = np.ascontiguousarray(UPRIGHT[orientation](picture.pixels))
        if picture.alpha is not None:
            picture.alpha = np.ascontiguousarray(UPRIGHT[orientation](picture.alpha))
