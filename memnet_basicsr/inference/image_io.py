"""Image files in and out, with what they carry besides pixels: bit depth, alpha, orientation and color profile.

Pillow decodes: it handles palettes, CMYK, alpha, EXIF and color profiles, and raises on truncated files. It has no
16-bit color images, though, and would silently convert them to 8 bits; OpenCV decodes and encodes those. The datasets
have a decoder of their own (``data/image_source.py``), because training needs the opposite: the 8-bit BGR pixels that
BasicSR decodes, from bytes of an LMDB, without alpha and orientation.
"""
import contextlib
import cv2
import io
import numpy as np
import os
import warnings
from dataclasses import dataclass, field
from functools import lru_cache
from os import path as osp
from PIL import Image

from ..atomic_file import write_atomically
from ..errors import UsageError, first_line

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
DECODERS = ('PNG', 'JPEG', 'BMP', 'TIFF', 'WEBP', 'GIF', 'PPM')
MAX_PIXELS = 178_956_970  # Pillow's limit
HOLD_16BIT = ('.png', '.tif', '.tiff')
HOLD_ALPHA = ('.png', '.tif', '.tiff', '.webp')
ORIENTATION = 0x0112
# EXIF orientation -> function that makes the image upright
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
class ImageFile:
    """Content of an image file, upright.

    Args:
        pixels (ndarray): uint8 or uint16, gray (h, w) or RGB (h, w, 3).
        alpha (ndarray | None): Opacity, (h, w), type of ``pixels``. Default: None.
        metadata (dict): Color profile, EXIF and resolution, as arguments of Pillow's ``save``. Default: empty.
        notes (list[str]): Messages about what could not be kept. Default: empty.
        quality (int | None): JPEG quality, 1..100, by the quantization tables of the file; None if it is no JPEG.
            Default: None.
    """
    pixels: np.ndarray
    alpha: np.ndarray | None = None
    metadata: dict = field(default_factory=dict)
    notes: list = field(default_factory=list)
    quality: int | None = None


def read_image_file(path, max_pixels=MAX_PIXELS):
    """Read an image file of 8 or 16 bits per channel.

    EXIF orientation is applied to the pixels and set to "upright" in the metadata. Palettes and CMYK become RGB (a note
    mentions CMYK).

    Args:
        path (str): File.
        max_pixels (int): Largest number of pixels. Small files can decompress to more than fits into memory.
            Default: ``MAX_PIXELS``.

    Returns:
        ImageFile: The image.

    Raises:
        UsageError: If it is empty, damaged, not an image, too large, animated, or has another bit depth.
    """
    if osp.exists(path) and not osp.isfile(path):  # opening a pipe would wait for its writer
        raise UsageError(f'{path}: is not a file')
    most = 8 * max_pixels + (64 << 20)  # bytes: four channels of 16 bits, and metadata
    try:
        with open(path, 'rb') as f:
            if os.fstat(f.fileno()).st_size > most:
                raise UsageError(f'{path}: is too large for {max_pixels / 1e6:g} megapixels (--max_megapixels)')
            content = f.read()
    except OSError as error:
        raise UsageError(f'{path}: cannot be read ({error.strerror})') from None
    if not content:
        raise UsageError(f'{path}: is empty (0 bytes)')
    try:
        with warnings.catch_warnings(), _without_pillows_limit():
            warnings.simplefilter('ignore')  # about damaged metadata
            # only these decoders: Pillow would start Ghostscript for an EPS file, whatever its suffix
            image = Image.open(io.BytesIO(content), formats=DECODERS)
            if image.width * image.height > max_pixels:
                raise UsageError(f'{path}: has {image.width * image.height / 1e6:g} megapixels; the limit is '
                                 f'{max_pixels / 1e6:g} (--max_megapixels raises it)')
            frames = getattr(image, 'n_frames', 1)
            image.load()
            Image.open(io.BytesIO(content), formats=DECODERS).verify()  # checksums of PNG
    except UsageError:
        raise
    except Exception as error:  # damage makes Pillow raise anything from SyntaxError to struct.error
        reason = 'is not a supported image or is damaged' if isinstance(error, Image.UnidentifiedImageError) else \
            f'cannot be decoded ({first_line(error)})'
        raise UsageError(f'{path}: {reason}') from None
    # phones store a second image (depth, preview) in a JPEG, format MPO; the first is the photograph
    if frames > 1 and image.format != 'MPO':
        raise UsageError(f'{path}: has {frames} frames or pages, which is not supported; save them one by one')

    wide = _decode_16bit(image, content, path)
    file = ImageFile(*_split_alpha(_decode_8bit(image, path) if wide is None else wide))
    if image.mode == 'CMYK':
        file.notes.append('CMYK was converted to RGB')
    if getattr(image, 'quantization', None):
        file.quality = jpeg_quality(image.quantization[0])
    _read_metadata(image, file)
    return file


def jpeg_quality(table):
    """Estimate the quality that a JPEG file was saved with.

    Args:
        table (list[int]): Quantization table of the luminance, 64 values, as Pillow gives it.

    Returns:
        int: The quality, 1..100, whose table in libjpeg is nearest; exact for files that libjpeg wrote.
    """
    distance = np.abs(np.log(_libjpeg_tables() / np.maximum(np.array(table, np.float64), 1))).sum(1)
    return int(distance.argmin()) + 1


@lru_cache(maxsize=1)
def _libjpeg_tables():
    tables = []
    for quality in range(1, 101):
        buffer = io.BytesIO()
        Image.new('L', (8, 8)).save(buffer, 'JPEG', quality=quality)
        tables.append(Image.open(buffer).quantization[0])
    return np.array(tables, np.float64)


@contextlib.contextmanager
def _without_pillows_limit():
    """Pillow refuses more than 179 megapixels; :func:`read_image_file` has a limit that users can raise."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def write_image_file(path, file):
    """Write an image file; a file that was there before survives a failure.

    JPEG is written at quality 95 without chroma subsampling, WebP losslessly. 16-bit files get no metadata, and 16-bit
    gray with alpha becomes RGB with alpha.

    Args:
        path (str): File; see :func:`output_path`.
        file (ImageFile): The image.

    Raises:
        OSError: If it cannot be written.
    """
    pixels, suffix = file.pixels, osp.splitext(path)[1].lower()
    if pixels.dtype == np.uint16:
        channels = list(pixels[..., ::-1].transpose(2, 0, 1)) if pixels.ndim == 3 else [pixels]
        if file.alpha is not None:  # OpenCV has no gray with alpha
            channels = channels * (3 // len(channels)) + [file.alpha]
        done, content = cv2.imencode(suffix, np.dstack(channels))
        if not done:
            raise OSError(f'{path}: cannot be encoded by OpenCV')
        write_atomically(path, content.tobytes())
        return
    if file.alpha is not None:
        pixels = np.dstack([pixels, file.alpha])
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
    # tags of a TIFF file describe its layout and cannot be copied into another one
    metadata = {k: v for k, v in file.metadata.items() if k != 'exif' or FORMATS[suffix] in ('JPEG', 'PNG', 'WEBP')}
    image.save(buffer, FORMATS[suffix], **options, **metadata)
    write_atomically(path, buffer.getvalue())


def output_path(path, file):
    """Path to write an image to: ``path``, with the suffix .png if its format cannot hold the image.

    Args:
        path (str): Requested file.
        file (ImageFile): The image.

    Returns:
        str: File.
    """
    stem, suffix = osp.splitext(path)
    suffix = suffix.lower()
    fits = suffix in FORMATS and (file.pixels.dtype != np.uint16 or suffix in HOLD_16BIT) and (file.alpha is None
                                                                                               or suffix in HOLD_ALPHA)
    return path if fits else stem + '.png'


def _decode_16bit(image, content, path):
    """Pixels of a 16-bit file, gray or RGB(A); None for other files."""
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
        raise UsageError(f'{path}: this kind of 16-bit image ({image.mode}) cannot be decoded; save it as RGB')
    if pixels.ndim == 3:
        pixels = pixels[..., [2, 1, 0, 3][:pixels.shape[2]]]
        if image.format == 'PNG' and content[25] == 4:  # gray with alpha, which OpenCV decodes to RGBA
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
        raise UsageError(f'{path}: images of mode {image.mode} cannot be converted to RGB ({error})') from None


def _split_alpha(pixels):
    if pixels.ndim == 3 and pixels.shape[2] in (2, 4):
        color = pixels[..., 0] if pixels.shape[2] == 2 else pixels[..., :3]
        return color, pixels[..., -1]
    return pixels, None


def _read_metadata(image, file):
    profile, orientation = image.info.get('icc_profile'), 1
    try:
        exif = image.getexif()
        # Pillow and OpenCV have already rotated the pixels of TIFF files
        orientation = exif.get(ORIENTATION, 1) if image.format != 'TIFF' else 1
        if ORIENTATION in exif:
            exif[ORIENTATION] = 1
        content = exif.tobytes() if len(exif) else None
    except Exception:  # damaged tags are no reason to refuse the image
        content = None
        file.notes.append('the EXIF data are damaged and were dropped')
    if file.pixels.dtype == np.uint16:
        if profile:
            file.notes.append('the color profile cannot be kept in 16 bits and was dropped')
    else:
        if profile and image.mode != 'CMYK':
            file.metadata['icc_profile'] = profile
        if content:
            file.metadata['exif'] = content
        if image.format != 'GIF' and 'dpi' in image.info:
            file.metadata['dpi'] = image.info['dpi']
    if orientation in UPRIGHT:
        file.pixels = np.ascontiguousarray(UPRIGHT[orientation](file.pixels))
        if file.alpha is not None:
            file.alpha = np.ascontiguousarray(UPRIGHT[orientation](file.alpha))
