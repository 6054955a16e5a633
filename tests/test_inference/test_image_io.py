import cv2
import io
import numpy as np
import os
import pytest
import struct
import zlib
from PIL import Image, ImageOps

from memnet_basicsr.errors import UsageError
from memnet_basicsr.inference.image_io import ImageFile, output_path, read_image_file, write_image_file


def random(*shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)


@pytest.mark.parametrize('suffix', ['.png', '.tif', '.bmp', '.webp', '.jpg', '.ppm'])
@pytest.mark.parametrize('channels', [1, 2, 3, 4])
@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_round_trip(tmp_path, suffix, channels, dtype):
    # smooth, so that lossy formats stay close
    ramp = np.linspace(0, np.iinfo(dtype).max, 16 * 24).reshape(16, 24).astype(dtype)
    pixels = ramp if channels < 3 else np.dstack([ramp, ramp[::-1], ramp[:, ::-1]])
    file = ImageFile(pixels, ramp.T.copy().reshape(16, 24) if channels in (2, 4) else None)
    path = output_path(str(tmp_path / f'a{suffix}'), file)
    assert path.endswith(suffix) or suffix in ('.bmp', '.jpg', '.ppm', '.webp')
    write_image_file(path, file)
    back = read_image_file(path)
    assert back.pixels.dtype == dtype and (back.alpha is None) == (file.alpha is None)
    if back.pixels.shape != pixels.shape:  # WebP has no gray, and 16 bit no gray with alpha
        assert path.endswith('.webp') or (channels == 2 and dtype == np.uint16)
        pixels = np.dstack([pixels] * 3)
    bound = 12 if path.endswith('.jpg') else 0
    assert np.abs(back.pixels.astype(int) - pixels.astype(int)).max() <= bound
    if file.alpha is not None:
        assert np.array_equal(back.alpha, file.alpha)


def test_color_order_and_depth_against_opencv(tmp_path):
    for dtype in (np.uint8, np.uint16):
        img = random(5, 7, 3, dtype=dtype)
        cv2.imwrite(str(tmp_path / 'a.png'), img[..., ::-1])
        assert np.array_equal(read_image_file(str(tmp_path / 'a.png')).pixels, img)
        write_image_file(str(tmp_path / 'b.png'), ImageFile(img))
        assert np.array_equal(cv2.imread(str(tmp_path / 'b.png'), cv2.IMREAD_UNCHANGED)[..., ::-1], img)


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('suffix', ['.png', '.jpg', '.tif', '.webp'])
def test_orientation_is_applied_and_reset(tmp_path, orientation, suffix):
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = 'camera'
    path = str(tmp_path / f'a{suffix}')
    img = Image.fromarray(cv2.resize(random(3, 4, 3), (32, 24), interpolation=cv2.INTER_CUBIC))
    img.save(path, exif=exif)
    want = np.array(ImageOps.exif_transpose(Image.open(path)).convert('RGB'))
    file = read_image_file(path)
    assert np.array_equal(file.pixels, want)
    write_image_file(path, file)
    with Image.open(path) as again:
        assert again.getexif().get(0x0112, 1) == 1
        assert suffix == '.tif' or again.getexif()[0x010F] == 'camera'
    assert read_image_file(path).pixels.shape == want.shape


def test_orientation_of_16_bit(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.new('RGB', (7, 5)).save(buffer, 'PNG', exif=exif)
    img = random(5, 7, 3, dtype=np.uint16)
    code = cv2.imencode('.png', img[..., ::-1])[1].tobytes()
    # put the eXIf chunk of the 8-bit file behind the header of the 16-bit file
    start = buffer.getvalue().index(b'eXIf') - 4
    length = int.from_bytes(buffer.getvalue()[start:start + 4], 'big') + 12
    with open(tmp_path / 'a.png', 'wb') as f:
        f.write(code[:33] + buffer.getvalue()[start:start + length] + code[33:])
    assert np.array_equal(read_image_file(str(tmp_path / 'a.png')).pixels, np.rot90(img, -1))


def test_color_profile_and_resolution_are_kept(tmp_path):
    path = str(tmp_path / 'a.png')
    Image.fromarray(random(4, 4, 3)).save(path, icc_profile=b'profile', dpi=(300, 300))
    write_image_file(str(tmp_path / 'b.png'), read_image_file(path))
    with Image.open(tmp_path / 'b.png') as again:
        assert again.info['icc_profile'] == b'profile' and round(again.info['dpi'][0]) == 300


def test_palettes_bilevel_and_cmyk(tmp_path):
    img = Image.fromarray(random(6, 6, 3))
    palette = img.quantize(8)
    palette.save(tmp_path / 'p.png')
    assert np.array_equal(read_image_file(str(tmp_path / 'p.png')).pixels, np.array(palette.convert('RGB')))
    palette.save(tmp_path / 't.png', transparency=3)
    file = read_image_file(str(tmp_path / 't.png'))
    assert file.pixels.shape == (6, 6, 3)
    assert np.array_equal(file.alpha == 0, np.array(palette) == 3)
    img.convert('1').save(tmp_path / 'b.png')
    assert set(np.unique(read_image_file(str(tmp_path / 'b.png')).pixels)) == {0, 255}
    img.convert('CMYK').save(tmp_path / 'c.jpg', icc_profile=b'cmyk')
    file = read_image_file(str(tmp_path / 'c.jpg'))
    assert file.pixels.shape == (6, 6, 3) and 'CMYK' in file.notes[0] and not file.metadata


def test_a_photograph_with_an_embedded_preview_is_one_image(tmp_path):
    img = Image.fromarray(random(8, 8, 3))
    img.save(tmp_path / 'a.jpg', format='MPO', save_all=True, append_images=[Image.new('RGB', (8, 8))])
    assert Image.open(tmp_path / 'a.jpg').n_frames == 2
    assert read_image_file(str(tmp_path / 'a.jpg')).pixels.shape == (8, 8, 3)


def bad_files(folder):
    """Write files that cannot be restored; return the expected part of the message for each."""
    img = Image.fromarray(random(40, 40, 3))
    frames = {'save_all': True, 'append_images': [Image.new('RGB', (40, 40))]}
    (folder / 'empty.png').write_bytes(b'')
    (folder / 'text.jpg').write_text('this is not an image')
    img.save(folder / 'cut.jpg', quality=100)
    img.save(folder / 'cut.png')
    cv2.imwrite(str(folder / 'cut16.png'), random(40, 40, 3, dtype=np.uint16))
    for name in ('cut.jpg', 'cut.png', 'cut16.png'):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[:len(content) // 2])
    content = bytearray((folder / 'cut.png').read_bytes())
    content[45:60] = bytes(15)
    (folder / 'corrupt.png').write_bytes(content)
    img.save(folder / 'moving.gif', **frames)
    img.save(folder / 'moving.png', **frames)
    img.save(folder / 'pages.tif', **frames)
    Image.fromarray(np.zeros((4, 4), np.float32)).save(folder / 'float.tif')
    img.save(folder / 'script.png', format='EPS')  # Pillow would run Ghostscript to decode it
    os.symlink('loop.png', folder / 'loop.png')
    return {
        'empty.png': '0 bytes',
        'text.jpg': 'not a supported image',
        'cut.jpg': 'decoded',
        'cut.png': 'decoded',
        'cut16.png': 'decoded',
        'corrupt.png': 'decoded|damaged',
        'moving.gif': '2 frames',
        'moving.png': '2 frames',
        'pages.tif': '2 frames or pages',
        'float.tif': '32 bits',
        'script.png': 'not a supported image',
        'loop.png': 'cannot be read'
    }


def test_bad_files_in_one_line(tmp_path):
    for name, message in bad_files(tmp_path).items():
        path = str(tmp_path / name)
        with pytest.raises(UsageError, match=message) as error:
            read_image_file(path)
        assert str(error.value).startswith(path) and '\n' not in str(error.value)


def test_large_images_are_refused_before_decoding(tmp_path):
    Image.new('L', (20, 20)).save(tmp_path / 'a.png')
    content = bytearray((tmp_path / 'a.png').read_bytes())
    content[16:24] = struct.pack('>II', 20000, 9000)  # the header alone
    content[29:33] = struct.pack('>I', zlib.crc32(content[12:29]))
    (tmp_path / 'a.png').write_bytes(content)
    limit = Image.MAX_IMAGE_PIXELS
    with pytest.raises(UsageError, match=r'a\.png: has 180 megapixels; the limit is 178.957 .--max_megapixels raises'):
        read_image_file(str(tmp_path / 'a.png'))
    assert limit == Image.MAX_IMAGE_PIXELS


def test_the_limit_can_be_raised_beyond_that_of_pillow(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 50)
    Image.new('L', (20, 20)).save(tmp_path / 'a.png')
    assert read_image_file(str(tmp_path / 'a.png'), 400).pixels.shape == (20, 20)
    with pytest.raises(UsageError, match=r'the limit is 0\.000399'):
        read_image_file(str(tmp_path / 'a.png'), 399)


def test_checksums_of_png(tmp_path):
    """Pillow does not verify the last chunks that it reads."""
    Image.fromarray(random(40, 40)).save(tmp_path / 'a.png')
    content = (tmp_path / 'a.png').read_bytes()
    end = content.index(b'IEND') - 4
    for place in range(end - 12, end):  # checksum of the pixels and the last of them
        (tmp_path / 'a.png').write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1:])
        with pytest.raises(UsageError, match=r'a\.png: '):
            read_image_file(str(tmp_path / 'a.png'))


def test_pipes_and_endless_files(tmp_path):
    os.mkfifo(tmp_path / 'pipe.png')
    with pytest.raises(UsageError, match=r'pipe\.png: is not a file'):
        read_image_file(str(tmp_path / 'pipe.png'))
    with open(tmp_path / 'sparse.png', 'wb') as f:
        f.truncate(100 << 20)
    with pytest.raises(UsageError, match=r'sparse\.png: is too large for 1 megapixels \(--max_megapixels\)'):
        read_image_file(str(tmp_path / 'sparse.png'), 10**6)


@pytest.mark.parametrize('mode', ['L', 'RGB'])
@pytest.mark.parametrize('quality', [5, 50, 75, 90, 98])
def test_quality_of_jpeg_files(tmp_path, mode, quality):
    img = random(16, 16) if mode == 'L' else random(16, 16, 3)
    Image.fromarray(img).save(tmp_path / 'pillow.jpg', quality=quality)
    cv2.imwrite(str(tmp_path / 'opencv.jpg'), img, [cv2.IMWRITE_JPEG_QUALITY, quality])
    for name in ('pillow.jpg', 'opencv.jpg'):
        assert read_image_file(str(tmp_path / name)).quality == quality
    Image.open(tmp_path / 'pillow.jpg').save(tmp_path / 'a.png')
    assert read_image_file(str(tmp_path / 'a.png')).quality is None


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = str(tmp_path / 'a.png')
    write_image_file(path, ImageFile(random(4, 4)))

    def full(*args):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(OSError):
        write_image_file(path, ImageFile(random(8, 8)))
    assert read_image_file(path).pixels.shape == (4, 4) and os.listdir(tmp_path) == ['a.png']
