import cv2
import numpy as np
import pytest
import random
import torch

from basicsr.data import build_dataset
from basicsr.utils.lmdb_util import make_lmdb_from_imgs

LEVELS = dict(NoisyImageDataset=('sigma', 50), JPEGImageDataset=('quality', 20), BicubicImageDataset=('downscale', 3))


@pytest.fixture
def folder(tmp_path):
    """A smooth color image and a gray one, 40x50."""
    for name, shape in (('a', (40, 50, 3)), ('b', (40, 50))):
        img = np.random.RandomState(0).randint(0, 256, shape).astype(np.uint8)
        (tmp_path / 'gt').mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / 'gt' / f'{name}.png'), cv2.GaussianBlur(img, (0, 0), 2))
    return tmp_path / 'gt'


def build(folder, dataset_type, phase='val', **kwargs):
    key, level = LEVELS[dataset_type]
    opt = dict(name='Test', type=dataset_type, phase=phase, dataroot_gt=str(folder), io_backend=dict(type='disk'))
    opt.update({key: level, 'gt_size': 16, 'use_hflip': True, 'use_rot': True})
    opt.update(kwargs)
    return build_dataset(opt)


@pytest.mark.parametrize('dataset_type', LEVELS)
@pytest.mark.parametrize('color, channels', [('rgb', 3), ('y', 1), ('gray', 1)])
def test_items(folder, dataset_type, color, channels):
    """Test datasets: keys, shapes and ranges, for color and gray images."""

    dataset = build(folder, dataset_type, 'train', color=color)
    assert len(dataset) == 2
    for index in (0, 1):
        item = dataset[index]
        assert item['lq'].shape == item['gt'].shape == (channels, 16, 16)
        assert item['lq'].dtype == item['gt'].dtype == torch.float32
        assert item['gt'].min() >= 0 and item['gt'].max() <= 1
        assert not torch.equal(item['lq'], item['gt'])
        assert item['lq_path'] == item['gt_path'] == str(folder / f'{"ab"[index]}.png')


def test_noise(folder):
    """Test dataset: NoisyImageDataset. Validation noise is fixed, and differs between images."""

    dataset = build(folder, 'NoisyImageDataset')
    noise = [dataset[i]['lq'] - dataset[i]['gt'] for i in (0, 1)]
    assert abs(noise[0].std() * 255 / 50 - 1) < 0.05
    assert torch.equal(dataset[0]['lq'] - dataset[0]['gt'], noise[0]) and not torch.equal(*noise)

    # training: the levels of a list are drawn
    random.seed(0)
    dataset = build(folder, 'NoisyImageDataset', 'train', sigma=[0, 50])
    stds = [(v['lq'] - v['gt']).std() * 255 for v in [dataset[0] for _ in range(20)]]
    assert min(stds) == 0 and max(stds) > 40


def test_jpeg(folder):
    """Test dataset: JPEGImageDataset."""

    img = cv2.imread(str(folder / 'a.png'))
    expected = cv2.imdecode(cv2.imencode('.jpg', img, [cv2.IMWRITE_JPEG_QUALITY, 20])[1], cv2.IMREAD_COLOR)
    result = build(folder, 'JPEGImageDataset')[0]['lq'].numpy()
    assert np.allclose(result * 255, expected[..., ::-1].transpose(2, 0, 1), atol=1e-3)


def test_bicubic(folder):
    """Test dataset: BicubicImageDataset. A linear ramp survives, away from the border."""

    ramp = np.tile(np.arange(0, 250, 5, dtype=np.uint8), (40, 1))
    cv2.imwrite(str(folder / 'c.png'), ramp)
    item = build(folder, 'BicubicImageDataset', color='y')[2]
    assert item['lq'].shape == item['gt'].shape == (1, 39, 48)
    assert torch.allclose(item['lq'][..., 12:-12], item['gt'][..., 12:-12], atol=1e-3)
    assert not torch.equal(item['lq'], item['gt'])


def test_no_image(folder):
    """Test datasets: a file that is no image is named."""

    (folder / 'c.png').write_bytes(b'no image')
    with pytest.raises(ValueError, match='is not an image'):
        build(folder, 'NoisyImageDataset')[2]


def test_16_bits_and_alpha(folder):
    """Test datasets: images of 16 bits are converted to 8, and alpha is dropped, as in PairedImageDataset."""

    img = cv2.imread(str(folder / 'a.png'))
    cv2.imwrite(str(folder / 'c.png'), img.astype(np.uint16) * 257)
    cv2.imwrite(str(folder / 'd.png'), np.concatenate([img, img[..., :1]], axis=2))
    dataset = build(folder, 'JPEGImageDataset')
    for index in (2, 3):
        assert torch.equal(dataset[index]['gt'], dataset[0]['gt'])
        assert torch.equal(dataset[index]['lq'], dataset[0]['lq'])


def test_sources(folder):
    """Test datasets: lmdb, meta_info_file, wrong color."""

    names = ['a.png', 'b.png']
    root = str(folder.parent / 'gt.lmdb')
    make_lmdb_from_imgs(str(folder), root, names, ['a', 'b'])
    result = build(root, 'NoisyImageDataset', io_backend=dict(type='lmdb'))
    expected = build(folder, 'NoisyImageDataset')
    for index in (0, 1):
        assert torch.equal(result[index]['lq'], expected[index]['lq'])

    (folder.parent / 'meta_info.txt').write_text('b.png (40,50,1)\n')
    dataset = build(folder, 'NoisyImageDataset', meta_info_file=str(folder.parent / 'meta_info.txt'))
    assert dataset.paths == [str(folder / 'b.png')]
    with pytest.raises(ValueError):
        build(folder, 'NoisyImageDataset', color='yuv')
