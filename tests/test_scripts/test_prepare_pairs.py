"""The preparation scripts of GoPro, ISTD, SRD, RainDrop and RICE on tiny sets in the layouts as distributed."""
import cv2
import importlib.util
import numpy as np
import pytest
from pathlib import Path

import memnet_basicsr  # noqa: F401
from basicsr.data import build_dataset
from basicsr.data.data_util import paired_paths_from_lmdb
from memnet_basicsr.data.lmdb_util import close_lmdb, lmdb_images, read_lmdb
from memnet_basicsr.errors import UsageError

SCRIPTS = Path(__file__).parents[2] / 'scripts' / 'data_preparation'


def _script(name):
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _fill(folder, names, shape=(20, 30, 3), value=None):
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(names):
        img = np.random.RandomState(i).randint(
            0, 256, shape, dtype=np.uint8) if value is None else np.full(shape, value, np.uint8)
        cv2.imwrite(str(folder / name), img)


def _run(name, folder, *args):
    _script(name).main(['--input', str(folder / 'in'), '--root', str(folder / 'out'), *args])
    return {
        str(path.relative_to(folder / 'out')): lmdb_images(str(path))
        for path in sorted((folder / 'out').glob('*/*.lmdb'))
    }


def _pixel(folder, path, key):
    path = str(folder / 'out' / path)
    value = cv2.imdecode(np.frombuffer(read_lmdb(path, key), np.uint8), -1).flat[0]
    close_lmdb(path)
    return value


def _gopro(folder, numbers=('000001', '000002')):
    for split, sequence in (('train', 'GOPR01_00'), ('train', 'GOPR02_00'), ('test', 'GOPR03_00')):
        for kind, value in (('blur', 1), ('blur_gamma', 2), ('sharp', 3)):
            _fill(folder / 'in' / split / sequence / kind, [f'{v}.png' for v in numbers], value=value)


def test_gopro_as_distributed(tmp_path, capsys):
    _gopro(tmp_path)
    crops = ['--crop-size', '16', '--step', '8']
    found = _run('prepare_gopro', tmp_path, '--partial', *crops)
    assert list(found) == [f'GoPro/{split}_{kind}.lmdb' for split in ('test', 'train') for kind in ('gt', 'lq')]
    assert list(found['GoPro/test_lq.lmdb']) == ['GOPR03_00-000001', 'GOPR03_00-000002']
    assert set(found['GoPro/test_lq.lmdb'].values()) == {(20, 30, 3)}
    train = found['GoPro/train_gt.lmdb']
    assert len(train) == 4 * 6 and set(train.values()) == {(16, 16, 3)} and 'GOPR02_00-000001_s006' in train
    assert _pixel(tmp_path, 'GoPro/train_lq.lmdb', 'GOPR01_00-000001_s001') == 1
    roots = [str(tmp_path / 'out' / 'GoPro' / f'train_{kind}.lmdb') for kind in ('lq', 'gt')]
    assert len(paired_paths_from_lmdb(roots, ['lq', 'gt'])) == 24  # BasicSR agrees that they are pairs
    assert '4 pairs found (expected: 2103)' in capsys.readouterr().out
    _run('prepare_gopro', tmp_path, '--partial', *crops)
    out = capsys.readouterr().out
    assert out.count('up to date') == 4 and 'wrote' not in out
    with pytest.raises(UsageError, match='--overwrite'):
        _run('prepare_gopro', tmp_path, '--partial', *crops, '--blur', 'blur_gamma')
    _run('prepare_gopro', tmp_path, '--partial', *crops, '--blur', 'blur_gamma', '--overwrite')
    assert _pixel(tmp_path, 'GoPro/train_lq.lmdb', 'GOPR01_00-000001_s001') == 2


def test_gopro_flat_download(tmp_path):
    for kind in ('input', 'target'):
        _fill(tmp_path / 'in' / 'test' / kind, ['GOPR03_00-000001.png'])
    assert _run('prepare_gopro', tmp_path, '--partial') == {
        f'GoPro/test_{kind}.lmdb': {
            'GOPR03_00-000001': (20, 30, 3)
        }
        for kind in ('gt', 'lq')
    }


def test_istd_with_masks_where_they_are(tmp_path):
    for split, letters in (('train', 'AC'), ('test', 'ABC')):
        for letter in letters:
            shape = (20, 30) if letter == 'B' else (20, 30, 3)
            _fill(tmp_path / 'in' / split / f'{split}_{letter}', ['1-1.png', '1-2.png'], shape, ord(letter))
    found = _run('prepare_istd', tmp_path, '--partial')
    assert [v[5:-5] for v in found] == ['test_gt', 'test_lq', 'test_mask', 'train_gt', 'train_lq']
    assert found['ISTD/test_mask.lmdb'] == {'1-1': (20, 30, 1), '1-2': (20, 30, 1)}
    assert [chr(_pixel(tmp_path, f'ISTD/test_{kind}.lmdb', '1-2')) for kind in ('lq', 'mask', 'gt')] == ['A', 'B', 'C']
    opt = {f'dataroot_{kind}': str(tmp_path / 'out' / 'ISTD' / f'test_{kind}.lmdb') for kind in ('lq', 'gt', 'mask')}
    opt.update(name='ISTD', type='PairedMaskedDataset', phase='val', io_backend={'type': 'lmdb'})
    assert build_dataset(opt)[0]['mask'].shape == (1, 20, 30)


def test_srd(tmp_path):
    _fill(tmp_path / 'in' / 'test' / 'shadow', ['IMG_1.png', 'IMG_2.png'])
    _fill(tmp_path / 'in' / 'test' / 'shadow_free', ['IMG_1_no_shadow.png', 'IMG_2_no_shadow.png'])
    found = _run('prepare_istd', tmp_path, '--set', 'SRD', '--partial')
    assert found.keys() == {'SRD/test_lq.lmdb', 'SRD/test_gt.lmdb'}
    assert found['SRD/test_lq.lmdb'] == found['SRD/test_gt.lmdb'] == dict.fromkeys(['IMG_1', 'IMG_2'], (20, 30, 3))


def _raindrop(folder, split='train', numbers=(0, 1, 10)):
    _fill(folder / 'in' / split / 'data', [f'{v}_rain.png' for v in numbers])
    _fill(folder / 'in' / split / 'gt', [f'{v}_clean.png' for v in numbers])


def test_raindrop(tmp_path):
    _raindrop(tmp_path)
    _raindrop(tmp_path, 'test_b', [7])
    found = _run('prepare_raindrop', tmp_path, '--partial', '--splits', 'train')
    assert list(found) == ['RainDrop/train_gt.lmdb', 'RainDrop/train_lq.lmdb']
    assert all(list(v) == ['0', '1', '10'] for v in found.values())
    found = _run('prepare_raindrop', tmp_path, '--partial')
    assert list(found['RainDrop/test_b_lq.lmdb']) == ['7']


def test_rice_with_and_without_a_split(tmp_path):
    names = ['1.png', '2.png', '3.png']
    for kind in ('cloud', 'label', 'mask'):
        _fill(tmp_path / 'in' / kind, names, (20, 30) if kind == 'mask' else (20, 30, 3))
    with pytest.raises(UsageError, match='--test-list'):
        _run('prepare_rice', tmp_path, '--partial')
    (tmp_path / 'test.txt').write_text('2\n\n3.png\n')
    found = _run('prepare_rice', tmp_path, '--partial', '--set', 'RICE2', '--test-list', str(tmp_path / 'test.txt'))
    assert {k[6:-5]: list(v) for k, v in found.items()} == {
        **{f'test_{kind}': ['2', '3'] for kind in ('gt', 'lq', 'mask')},
        **{f'train_{kind}': ['1'] for kind in ('gt', 'lq', 'mask')},
    }  # yapf: disable
    (tmp_path / 'test.txt').write_text('4\n')
    with pytest.raises(UsageError, match='names 4'):
        _run('prepare_rice', tmp_path, '--partial', '--test-list', str(tmp_path / 'test.txt'))


def test_rice_with_a_split(tmp_path):
    for split, names in (('train', ['1.png', '2.png']), ('test', ['3.png'])):
        for kind in ('cloud', 'label'):
            _fill(tmp_path / 'in' / split / kind, names)
    with pytest.raises(UsageError, match='3 images instead of 500'):
        _run('prepare_rice', tmp_path)
    found = _run('prepare_rice', tmp_path, '--partial')
    assert {k[6:-5]: list(v) for k, v in found.items() if 'lq' in k} == {'train_lq': ['1', '2'], 'test_lq': ['3']}


def test_complete_counts_pass_and_others_do_not(tmp_path, monkeypatch):
    _raindrop(tmp_path)
    with pytest.raises(UsageError, match=r'3 pairs found \(expected: 861\).*--partial'):
        _run('prepare_raindrop', tmp_path)
    assert not (tmp_path / 'out').exists()
    script = _script('prepare_raindrop')
    monkeypatch.setitem(script.EXPECTED, 'train', (4, 3))
    script.main(['--input', str(tmp_path / 'in'), '--root', str(tmp_path / 'out')])
    assert len(lmdb_images(str(tmp_path / 'out' / 'RainDrop' / 'train_gt.lmdb'))) == 3


def test_expected_counts_are_the_published_ones():
    assert _script('prepare_gopro').EXPECTED == {'train': 2103, 'test': 1111}
    assert _script('prepare_istd').EXPECTED['ISTD'] == {'train': 1330, 'test': 540}
    assert _script('prepare_istd').EXPECTED['SRD'] == {'train': 2680, 'test': 408}
    assert _script('prepare_raindrop').EXPECTED == {'train': (861, ), 'test_a': (58, ), 'test_b': (249, 239)}
    assert _script('prepare_rice').EXPECTED == {'RICE1': 500, 'RICE2': 450}


@pytest.mark.parametrize('fault, words', [
    ('lq missing', r'1_clean\.png \(gt\) has no matching lq image'),
    ('gt missing', r'1_rain\.png \(lq\) has no matching gt image'),
    ('size', 'differ in size'),
    ('damaged', r'1_rain\.png cannot be read'),
    ('no folder', 'train or test_a or test_b'),
])  # yapf: disable
def test_faults_are_told_before_anything_is_written(tmp_path, fault, words):
    _raindrop(tmp_path)
    lq, gt = tmp_path / 'in' / 'train' / 'data' / '1_rain.png', tmp_path / 'in' / 'train' / 'gt' / '1_clean.png'
    if fault == 'lq missing':
        lq.unlink()
    elif fault == 'gt missing':
        gt.unlink()
    elif fault == 'size':
        cv2.imwrite(str(lq), np.zeros((20, 31, 3), np.uint8))
    elif fault == 'damaged':
        lq.write_bytes(b'damaged')
    else:
        (tmp_path / 'in' / 'train').rename(tmp_path / 'in' / 'other')
    with pytest.raises(UsageError, match=words) as error:
        _run('prepare_raindrop', tmp_path, '--partial')
    assert '\n' not in str(error.value) and not (tmp_path / 'out').exists()


def test_an_interrupted_run_leaves_whole_lmdbs_only(tmp_path, monkeypatch):
    """A image whose header is fine and whose pixels are not: what was being written is gone, the rest is complete."""
    _raindrop(tmp_path)
    gt = tmp_path / 'in' / 'train' / 'gt' / '10_clean.png'
    code = gt.read_bytes()
    gt.write_bytes(code[:60])
    with pytest.raises(UsageError, match=r'10_clean\.png'):
        _run('prepare_raindrop', tmp_path, '--partial')
    folder = tmp_path / 'out' / 'RainDrop'
    assert [v.name for v in folder.iterdir()] == ['train_lq.lmdb']
    gt.write_bytes(code)
    assert all(len(v) == 3 for v in _run('prepare_raindrop', tmp_path, '--partial').values())
