import cv2
import importlib.util
import numpy as np
import pytest
import subprocess
import sys
from pathlib import Path

import memnet_basicsr  # noqa: F401
from memnet_basicsr.data.lmdb_preparation import sub_image_starts
from memnet_basicsr.data.lmdb_util import close_lmdb, lmdb_images, read_lmdb
from memnet_basicsr.errors import UsageError

SCRIPT = Path(__file__).parents[2] / 'scripts' / 'data_preparation' / 'create_lmdb.py'


@pytest.fixture
def main():
    spec = importlib.util.spec_from_file_location('create_lmdb', SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


@pytest.fixture
def folder(tmp_path):
    rng = np.random.RandomState(0)
    for name, count in (('a', 3), ('b', 2)):
        (tmp_path / name).mkdir()
        for i in range(count):
            cv2.imwrite(str(tmp_path / name / f'{name}{i}.png'), rng.randint(0, 256, (30, 40, 3), dtype=np.uint8))
    (tmp_path / 'a' / 'notes.csv').write_text('not an image')
    return tmp_path


def _args(folder, *more):
    return [
        '--input', str(folder / 'a'), str(folder / 'b'), '--set', 'Set', '--split', 'train', '--root',
        str(folder / 'datasets'), *more
    ]  # yapf: disable


def test_gray_lmdb_of_two_folders_twice(main, folder, capsys):
    main(_args(folder, '--gray', '--expect', '5'))
    target = folder / 'datasets' / 'Set' / 'train_gray.lmdb'
    assert lmdb_images(str(target)) == dict.fromkeys(('a0', 'a1', 'a2', 'b0', 'b1'), (30, 40, 1))
    img = cv2.imread(str(folder / 'a' / 'a1.png')).astype(float)
    gray = cv2.imdecode(np.frombuffer(read_lmdb(str(target), 'a1'), np.uint8), -1)
    assert np.abs(gray - img @ [.1140, .5870, .2989]).max() <= .5 + 1e-9
    stamp = (target / 'data.mdb').stat().st_mtime_ns
    main(_args(folder, '--gray', '--expect', '5'))
    assert (target / 'data.mdb').stat().st_mtime_ns == stamp
    out = capsys.readouterr().out
    assert '5 images found' in out and 'wrote' in out and 'up to date' in out
    cv2.imwrite(str(folder / 'b' / 'b2.png'), np.zeros((9, 9), np.uint8))
    with pytest.raises(UsageError, match='--overwrite'):
        main(_args(folder, '--gray'))
    main(_args(folder, '--gray', '--overwrite'))
    assert len(lmdb_images(str(target))) == 6
    close_lmdb(str(target))


def test_sub_images_cover_the_image(main, folder):
    main(_args(folder, '--crop-size', '16', '--step', '16'))
    target = str(folder / 'datasets' / 'Set' / 'train_rgb.lmdb')
    images = lmdb_images(target)
    assert len(images) == 5 * 2 * 3 and set(images.values()) == {(16, 16, 3)}
    img = cv2.imread(str(folder / 'b' / 'b0.png'))
    last = cv2.imdecode(np.frombuffer(read_lmdb(target, 'b0_s006'), np.uint8), -1)
    assert np.array_equal(last, img[14:30, 24:40])
    close_lmdb(target)


def test_starts():
    assert sub_image_starts(1280, 512, 256) == [0, 256, 512, 768]
    assert sub_image_starts(720, 512, 256) == [0, 208]  # 4 x 2 sub-images of a GoPro frame
    assert sub_image_starts(30, 40, 7) == [0]


def test_wrong_count_damaged_image_and_same_names_write_nothing(main, folder):
    with pytest.raises(UsageError, match='5 images instead of 6'):
        main(_args(folder, '--expect', '6'))
    (folder / 'b' / 'b0.png').write_bytes(b'damaged')
    with pytest.raises(UsageError, match=r'b0\.png'):
        main(_args(folder))
    (folder / 'b' / 'b0.png').rename(folder / 'b' / 'a0.png')
    with pytest.raises(UsageError, match=r'a0\.png'):
        main(_args(folder))
    assert not list(folder.glob('datasets/*/*'))


def test_command_line_says_one_line(folder):
    run = subprocess.run([sys.executable, str(SCRIPT), '--input', str(folder / 'none'), '--set', 'S', '--split', 't'],
                         capture_output=True, text=True, cwd=SCRIPT.parents[2],
                         env={'PYTHONPATH': str(SCRIPT.parents[2]), 'PATH': '/usr/bin:/bin'})  # yapf: disable
    assert run.returncode == 1
    assert run.stderr.startswith('Error: folder') and run.stderr.count('\n') == 1
