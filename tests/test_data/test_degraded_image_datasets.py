import cv2
import io
import numpy as np
import pickle
import pytest
import random
import torch
from PIL import Image
from skimage.color import rgb2gray, rgb2ycbcr

from basicsr.data import build_dataset
from basicsr.utils.matlab_functions import imresize
from memnet_basicsr.data.bicubic_util import resize_bicubic
from memnet_basicsr.data.lmdb_preparation import folder_images, prepare_lmdb
from memnet_basicsr.data.patch_util import reflect_pad
from memnet_basicsr.errors import UsageError

LEVEL = {
    'NoisyImageDataset': ('sigma', 50),
    'JPEGImageDataset': ('quality', 10),
    'BicubicImageDataset': ('downscale', 3)
}


def _opt(folder, kind='NoisyImageDataset', phase='val', **kwargs):
    key, level = LEVEL[kind]
    opt = {'name': 'set', 'type': kind, 'phase': phase, 'dataroot_gt': str(folder), 'io_backend': {'type': 'disk'}}
    opt.update({key: level, 'scale': 1})
    if phase == 'train':
        opt.update(gt_size=32, use_hflip=True, use_rot=True)
    opt.update(kwargs)
    return opt


def _seed(seed):
    random.seed(seed)
    np.random.seed(seed)


def _disk(folder, name):
    """A image as RGB by Pillow, not OpenCV."""
    return np.array(Image.open(folder / f'{name}.png'))


# ---------------------------------------------------------------------------- all of them


@pytest.mark.parametrize('kind', LEVEL)
@pytest.mark.parametrize('color, channels', [('gray', 1), ('y', 1), ('rgb', 3)])
@pytest.mark.parametrize('phase', ['train', 'val'])
def test_items(image_folder, kind, color, channels, phase):
    folder = image_folder()
    dataset = build_dataset(_opt(folder, kind, phase, color=color))
    assert len(dataset) == 3
    item = dataset[1]
    assert set(item) == {'lq', 'gt', 'lq_path', 'gt_path'}
    assert item['lq_path'] == item['gt_path'] == str(folder / 'p1.png')
    size = (32, 32) if phase == 'train' else (72, 51)
    for key in ('lq', 'gt'):
        assert item[key].dtype == torch.float32 and item[key].shape == (channels, *size)
    assert item['gt'].min() >= 0 and item['gt'].max() <= 1
    assert not torch.equal(item['lq'], item['gt'])


def test_color_conversions(image_folder):
    folder = image_folder()
    rgb = _disk(folder, 'p0')
    gt = {color: build_dataset(_opt(folder, color=color))[0]['gt'].numpy() * 255 for color in ('gray', 'y', 'rgb')}
    assert np.array_equal(np.round(gt['rgb']).transpose(1, 2, 0), rgb)
    by_hand = 0.2989 * rgb[..., 0] + 0.5870 * rgb[..., 1] + 0.1140 * rgb[..., 2]
    assert np.abs(gt['gray'][0] - by_hand).max() <= .5 + 1e-4
    assert np.abs(gt['gray'][0] - rgb2gray(rgb) * 255).mean() > .5  # scikit-image has other weights (Rec. 709)
    assert np.abs(gt['y'][0] - rgb2ycbcr(rgb)[..., 0]).max() <= .5 + 1e-3
    for value in gt.values():
        assert np.abs(value - np.round(value)).max() < 1e-4  # an image of 8 bit


def test_lmdb_and_folder_give_the_same(image_folder, tmp_path):
    folder = image_folder()
    (folder / 'p0.png').rename(folder / 'p.0.png')  # a dot would break BasicSR's keys
    path = str(tmp_path / 'gray.lmdb')
    prepare_lmdb(path, folder_images([str(folder)]), 'gray', progress=False)
    disk = build_dataset(_opt(folder))
    lmdb = build_dataset(_opt(path, io_backend={'type': 'lmdb'}))
    lmdb = pickle.loads(pickle.dumps(lmdb))  # as for a spawned worker
    assert [lmdb[i]['gt_path'] for i in range(3)] == ['p1', 'p2', 'p_0']
    by_key = {'p_0': 0, 'p1': 1, 'p2': 2}
    for i in range(3):
        a, b = lmdb[i], disk[by_key[lmdb[i]['gt_path']]]
        assert torch.equal(a['gt'], b['gt']) and torch.equal(a['lq'], b['lq'])


def test_training_and_validation_share_an_lmdb_with_workers(image_folder, tmp_path):
    path = str(tmp_path / 'gray.lmdb')
    prepare_lmdb(path, folder_images([str(image_folder())]), 'gray', progress=False)
    val = build_dataset(_opt(path, io_backend={'type': 'lmdb'}))
    assert val[0]['gt'].shape == (1, 60, 84)
    train = build_dataset(_opt(path, phase='train', io_backend={'type': 'lmdb'}))
    loader = torch.utils.data.DataLoader(train, batch_size=3, num_workers=2, multiprocessing_context='fork')
    assert [batch['lq'].shape for batch in loader] == [(3, 1, 32, 32)]
    assert val[1]['gt'].shape == (1, 72, 51)


@pytest.mark.parametrize('kind', LEVEL)
@pytest.mark.parametrize('shape', [(5, 7), (40, 20), (1, 9)])
def test_images_smaller_than_the_patch(image_folder, kind, shape):
    shape = tuple(max(v, 4) for v in shape) if kind == 'BicubicImageDataset' else shape
    item = build_dataset(_opt(image_folder(shapes=[shape], gray=True), kind, 'train'))[0]
    assert item['lq'].shape == item['gt'].shape == (1, 32, 32)


def test_reflections_repeat():
    img = np.arange(3.)[None, :, None]
    assert reflect_pad(img, 2, 9)[1, :, 0].tolist() == [0, 1, 2, 1, 0, 1, 2, 1, 0]
    assert reflect_pad(img, 1, 2) is img


def test_training_follows_the_global_generators(image_folder):
    dataset = build_dataset(_opt(image_folder(), phase='train', sigma=[30, 50, 70]))
    items = []
    for seed in (1, 1, 2):
        _seed(seed)
        items.append(dataset[2])
    assert torch.equal(items[0]['lq'], items[1]['lq']) and torch.equal(items[0]['gt'], items[1]['gt'])
    assert not torch.equal(items[0]['gt'], items[2]['gt'])


def test_flips_and_rotations_reach_all_eight_positions(image_folder):
    dataset = build_dataset(_opt(image_folder(shapes=[(32, 32)], gray=True), phase='train', sigma=0))
    _seed(0)
    seen = {dataset[0]['gt'].numpy().tobytes() for _ in range(100)}
    img = build_dataset(_opt(dataset.opt['dataroot_gt'], sigma=0))[0]['gt'].numpy()[0]
    expected = {np.ascontiguousarray(np.rot90(v, k)).tobytes() for v in (img, img[::-1]) for k in range(4)}
    assert seen == expected


@pytest.mark.parametrize('opt, words', [
    ({'sigma': []}, 'sigma: is missing'),
    ({'sigma': None}, 'sigma: is missing'),
    ({'sigma': -5}, 'is not a number >= 0'),
    ({'sigma': float('nan')}, 'is not a number >= 0'),
    ({'sigma': 'fifty'}, 'not a number'),
    ({'sigma': [30, 50]}, 'one level'),
    ({'type': 'JPEGImageDataset', 'quality': 0}, r'\[1, 100\]'),
    ({'type': 'JPEGImageDataset', 'quality': [10, 101], 'phase': 'train', 'gt_size': 8}, r'\[1, 100\]'),
    ({'type': 'BicubicImageDataset', 'downscale': 5}, r'an integer in \[2, 4\]'),
    ({'type': 'BicubicImageDataset', 'downscale': 2, 'color': 'rgb', 'with_chroma': True}, 'color: y'),
    ({'scale': 2}, 'set scale: 1'),
    ({'color': 'cmyk'}, 'gray, y, rgb'),
    ({'dataroot_gt': None}, 'dataroot_gt: is empty'),
    ({'dataroot_gt': '/no/such/folder'}, 'does not exist'),
    ({'dataroot_gt': '/no/such.lmdb', 'io_backend': {'type': 'lmdb'}}, 'does not exist'),
    ({'io_backend': {'type': 'memcached'}}, 'not one of lmdb, disk'),
    ({'phase': 'train'}, 'gt_size'),
])  # yapf: disable
def test_wrong_options_are_told_in_one_line(image_folder, opt, words):
    with pytest.raises(UsageError, match=words) as error:
        build_dataset({**_opt(image_folder()), **opt})
    assert 'set' in str(error.value) and '\n' not in str(error.value)


def test_empty_folder_and_damaged_image_are_told(image_folder, tmp_path):
    (tmp_path / 'empty').mkdir()
    with pytest.raises(UsageError, match='holds no images'):
        build_dataset(_opt(tmp_path / 'empty'))
    folder = image_folder(gray=True)
    code = (folder / 'p1.png').read_bytes()
    for wrong in (b'', b'not an image', code[:20]):
        (folder / 'p1.png').write_bytes(wrong)
        with pytest.raises(UsageError, match=r'p1\.png'):
            build_dataset(_opt(folder))[1]


def test_images_of_floats_are_refused(image_folder):
    """OpenCV would round [0, 1] to 0 and 1, and NaN to 0."""
    folder = image_folder(gray=True)
    img = np.full((20, 20), 0.4, np.float32)
    img[3, 4] = np.nan
    (folder / 'p1.png').unlink()
    cv2.imwrite(str(folder / 'p1.tif'), img)
    with pytest.raises(UsageError, match=r'image .*p1\.tif holds float32 numbers; save it with 8 or 16 bits'):
        build_dataset(_opt(folder))[1]
    cv2.imwrite(str(folder / 'p1.tif'), np.full((20, 20), 0x8040, np.uint16))
    assert (build_dataset(_opt(folder))[1]['gt'] * 255).round().unique().tolist() == [128]


def test_conversion_is_said_once(image_folder, monkeypatch):
    said = []
    monkeypatch.setattr('memnet_basicsr.data.degraded_image_base.get_root_logger',
                        lambda: type('Logger', (), {'info': staticmethod(said.append)}))
    dataset = build_dataset(_opt(image_folder()))
    dataset[0], dataset[1]
    assert len(said) == 1 and 'converted' in said[0]
    build_dataset(_opt(dataset.opt['dataroot_gt'], color='rgb'))
    build_dataset(_opt(image_folder('gray', gray=True)))
    assert len(said) == 1


# ---------------------------------------------------------------------------- noise


def test_noise_has_its_level_and_is_neither_clipped_nor_rounded(image_folder):
    item = build_dataset(_opt(image_folder(shapes=[(400, 400)])))[0]
    noise = (item['lq'] - item['gt']).double().numpy().ravel() * 255
    assert abs(noise.std() / 50 - 1) < 4 / np.sqrt(2 * noise.size) and abs(noise.mean()) < 4 * 50 / np.sqrt(noise.size)
    assert item['lq'].min() < 0 and item['lq'].max() > 1
    assert np.abs(item['lq'].numpy() * 255 % 1 - .5).min() < .01  # values between two gray levels


def test_every_level_is_drawn_in_training(image_folder):
    dataset = build_dataset(_opt(image_folder(), phase='train', sigma=[30, 50, 70]))
    _seed(0)
    seen = set()
    for _ in range(60):
        item = dataset[0]
        deviation = float((item['lq'] - item['gt']).std()) * 255
        level = min((30, 50, 70), key=lambda v: abs(v - deviation))
        assert abs(deviation / level - 1) < .12  # five standard errors of 1024 numbers
        seen.add(level)
    assert seen == {30, 50, 70}


def test_validation_noise_depends_on_image_and_level_only(image_folder):
    folder = image_folder()

    def noise(sigma=50, index=0, **kwargs):
        item = build_dataset(_opt(folder, sigma=sigma, **kwargs))[index]
        return (item['lq'] - item['gt'])[0, :50, :50] / sigma * 255

    first = noise()
    _seed(123)
    assert torch.equal(first, noise())
    assert torch.equal(first, noise(sigma=50.0))
    for other in (noise(sigma=30), noise(index=1), noise(noise_seed=1)):
        assert (first - other).abs().mean() > .5


def test_validation_noise_is_the_same_on_every_machine(image_folder):
    """The first numbers of image p0 at level 50, written down once."""
    item = build_dataset(_opt(image_folder(gray=True)))[0]
    noise = ((item['lq'] - item['gt']).double() * 255 / 50)[0, 0, :4]
    assert np.allclose(noise, [-0.8749, 0.3312, -0.7215, -0.2942], atol=1e-4)


# ---------------------------------------------------------------------------- JPEG


@pytest.mark.parametrize('quality', [10, 20, 90])
def test_jpeg_is_that_of_pillow(image_folder, quality):
    folder = image_folder(gray=True)
    lq = build_dataset(_opt(folder, 'JPEGImageDataset', quality=quality))[1]['lq']
    code = io.BytesIO()
    Image.fromarray(_disk(folder, 'p1')).save(code, 'JPEG', quality=quality)
    assert np.array_equal(np.round(lq.numpy()[0] * 255), np.array(Image.open(code)))


@pytest.mark.parametrize('color', ['y', 'rgb'])
def test_jpeg_patch_is_a_part_of_the_whole_compressed_image(image_folder, color):
    folder = image_folder(shapes=[(90, 101)])
    whole = build_dataset(_opt(folder, 'JPEGImageDataset', color=color))[0]
    train = build_dataset(_opt(folder, 'JPEGImageDataset', 'train', color=color, use_hflip=False, use_rot=False))
    _assert_parts(train, whole, 0)


@pytest.mark.parametrize('downscale', [2, 3, 4])
def test_bicubic_patch_is_a_part_of_the_whole_degraded_image(image_folder, downscale):
    folder = image_folder(shapes=[(130, 141)])
    whole = build_dataset(_opt(folder, 'BicubicImageDataset', downscale=downscale))[0]
    train = build_dataset(
        _opt(folder, 'BicubicImageDataset', 'train', downscale=downscale, use_hflip=False, use_rot=False))
    _assert_parts(train, whole, 2e-5)  # BasicSR computes the weights in float32


def _assert_parts(train, whole, tolerance):
    size = 32
    for seed in range(30):
        _seed(seed)
        item = train[0]
        random.seed(seed)
        random.choice(train.levels)
        _, h, w = whole['gt'].shape
        top, left = random.randint(0, h - size), random.randint(0, w - size)
        assert torch.equal(item['gt'], whole['gt'][:, top:top + size, left:left + size])
        assert (item['lq'] - whole['lq'][:, top:top + size, left:left + size]).abs().max() <= tolerance


# ---------------------------------------------------------------------------- bicubic


@pytest.mark.parametrize('factor', [2, 3, 4])
@pytest.mark.parametrize('channels', [1, 3])
def test_fast_bicubic_equals_that_of_basicsr(factor, channels):
    img = np.random.RandomState(factor).rand(24 * factor, 12 * factor, channels).astype(np.float32)
    down = resize_bicubic(img, 24, 12)
    assert np.abs(down - imresize(img, 1 / factor)).max() < 1e-6
    assert np.abs(resize_bicubic(down, 24 * factor, 12 * factor) - imresize(down, factor)).max() < 1e-6


def test_bicubic_input_is_the_papers(image_folder):
    folder = image_folder(shapes=[(64, 85)])
    item = build_dataset(_opt(folder, 'BicubicImageDataset', downscale=3))[0]
    y = np.round(rgb2ycbcr(_disk(folder, 'p0')[:63, :84])[..., 0]) / 255
    assert np.abs(item['gt'].numpy()[0] - y).max() < 1e-6
    expected = imresize(imresize(y.astype(np.float32), 1 / 3), 3)
    assert np.abs(item['lq'].numpy()[0] - expected).max() < 2e-6


def test_chroma_for_saved_images(image_folder):
    folder = image_folder(shapes=[(60, 60)])
    item = build_dataset(_opt(folder, 'BicubicImageDataset', downscale=2, with_chroma=True))[0]
    chroma = rgb2ycbcr(_disk(folder, 'p0'))[..., 1:] / 255
    expected = np.stack([imresize(imresize(chroma[..., i].astype(np.float32), .5), 2) for i in range(2)])
    assert np.abs(item['chroma'].numpy() - expected).max() < 3 / 255
    gray = build_dataset(_opt(image_folder('g', gray=True), 'BicubicImageDataset', downscale=2, with_chroma=True))[0]
    assert torch.unique(gray['chroma']).numel() == 1


def test_an_alpha_channel_is_dropped(tmp_path):
    cv2.imwrite(str(tmp_path / 'a.png'), np.random.RandomState(0).randint(0, 256, (40, 40, 4), dtype=np.uint8))
    assert build_dataset(_opt(tmp_path, color='rgb'))[0]['gt'].shape == (3, 40, 40)
