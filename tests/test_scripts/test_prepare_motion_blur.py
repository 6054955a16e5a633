import cv2
import numpy as np
import pytest
import sys
from pathlib import Path

from memnet_basicsr.data.image_source import ImageSource
from memnet_basicsr.data.lmdb_util import lmdb_images
from memnet_basicsr.data.motion_blur_util import blur, draw_motion, motion_kernel
from memnet_basicsr.errors import UsageError

sys.path.insert(0, str(Path(__file__).parents[2] / 'scripts' / 'data_preparation'))
import prepare_motion_blur


@pytest.fixture
def arguments(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'sharp').mkdir()
    for i in range(3):
        img = np.random.default_rng(i).integers(0, 256, (40 + i, 50, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / 'sharp' / f'p{i}.png'), img)
    return ['--input', 'sharp', '--set', 'Blur', '--split', 'train']


def images(kind):
    source = ImageSource(f'datasets/Blur/train_{kind}.lmdb', {'type': 'lmdb'})
    return {path: source.read(i) for i, path in enumerate(source.paths)}


def test_pairs(arguments, capsys):
    prepare_motion_blur.main([*arguments, '--seed', '4'])
    gt, lq = images('gt'), images('lq')
    assert list(gt) == list(lq) == ['p0', 'p1', 'p2']
    for key, img in gt.items():
        np.testing.assert_array_equal(img, cv2.imread(f'sharp/{key}.png'))
        np.testing.assert_array_equal(lq[key], blur(img, motion_kernel(*draw_motion(key, 4, 5, 15))))
    assert '3 images' in capsys.readouterr().out
    prepare_motion_blur.main([*arguments, '--seed', '4'])
    assert capsys.readouterr().out.count('kept') == 2
    with pytest.raises(UsageError, match='other images or settings'):
        prepare_motion_blur.main([*arguments, '--seed', '5'])


def test_first_ones_cropped(arguments):
    prepare_motion_blur.main([*arguments, '--first', '2', '--crop', '21'])
    assert lmdb_images('datasets/Blur/train_lq.lmdb') == dict.fromkeys(('p0', 'p1'), (21, 21, 3))
    whole = blur(cv2.imread('sharp/p0.png'), motion_kernel(*draw_motion('p0', 0, 5, 15)))
    np.testing.assert_array_equal(images('lq')['p0'], whole[9:30, 14:35])


@pytest.mark.parametrize('more', [['--min-length', '16'], ['--seed', '-1'], ['--first', '0'], ['--crop', '-3']])
def test_wrong_arguments(arguments, more):
    with pytest.raises(UsageError, match='must be'):
        prepare_motion_blur.main([*arguments, *more])
