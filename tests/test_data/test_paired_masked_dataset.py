import cv2
import numpy as np
import pickle
import pytest
import random
import torch

import memnet_basicsr  # noqa: F401
from basicsr.data import build_dataset
from memnet_basicsr.data.lmdb_preparation import folder_images, prepare_lmdb
from memnet_basicsr.errors import UsageError


@pytest.fixture
def roots(tmp_path):
    """lq, gt and mask whose pixels tell their position: red = row, green = column, blue = 10 (lq) or 20 (gt)."""
    for kind in ('lq', 'gt', 'mask'):
        (tmp_path / kind).mkdir()
    for name, (h, w) in (('a', (40, 50)), ('b', (20, 7))):
        rows, columns = np.mgrid[:h, :w].astype(np.uint8)
        for kind, blue in (('lq', 10), ('gt', 20)):
            img = np.stack([np.full_like(rows, blue), columns, rows], axis=2)
            cv2.imwrite(str(tmp_path / kind / f'{name}.png'), img)
        cv2.imwrite(str(tmp_path / 'mask' / f'{name}.png'), rows + columns)
    return tmp_path


def _opt(roots, phase='val', **kwargs):
    opt = {'name': 'set', 'type': 'PairedMaskedDataset', 'phase': phase, 'io_backend': {'type': 'disk'}, 'scale': 1}
    opt.update({f'dataroot_{kind}': str(roots / kind) for kind in ('lq', 'gt', 'mask')})
    if phase == 'train':
        opt.update(gt_size=16, use_hflip=True, use_rot=True)
    return {**opt, **kwargs}


def _lmdb_opt(roots, **kwargs):
    for kind in ('lq', 'gt', 'mask'):
        prepare_lmdb(
            str(roots / f'{kind}.lmdb'),
            folder_images([str(roots / kind)]),
            'gray' if kind == 'mask' else 'rgb',
            progress=False)
    paths = {f'dataroot_{kind}': str(roots / f'{kind}.lmdb') for kind in ('lq', 'gt', 'mask')}
    return _opt(roots, io_backend={'type': 'lmdb'}, **paths, **kwargs)


def test_validation_items(roots):
    item = build_dataset(_opt(roots))[0]
    assert set(item) == {'lq', 'gt', 'mask', 'lq_path', 'gt_path', 'mask_path'}
    rows, columns = np.mgrid[:40, :50]
    for kind, blue in (('lq', 10), ('gt', 20)):
        rgb = np.stack([rows, columns, np.full_like(rows, blue)])
        assert item[kind].dtype == torch.float32 and np.allclose(item[kind].numpy() * 255, rgb, atol=1e-4)
        assert item[f'{kind}_path'] == str(roots / kind / 'a.png')
    assert item['mask'].shape == (1, 40, 50) and np.allclose(item['mask'].numpy()[0] * 255, rows + columns, atol=1e-4)


def test_without_masks(roots):
    assert set(build_dataset(_opt(roots, dataroot_mask=None))[1]) == {'lq', 'gt', 'lq_path', 'gt_path'}


def test_lmdb_gives_the_same_as_folders(roots):
    disk, lmdb = build_dataset(_opt(roots)), pickle.loads(pickle.dumps(build_dataset(_lmdb_opt(roots))))
    assert lmdb[1]['mask_path'] == 'b'
    for i in range(2):
        assert all(torch.equal(lmdb[i][kind], disk[i][kind]) for kind in ('lq', 'gt', 'mask'))


@pytest.mark.parametrize('index', [0, 1])  # the second image is smaller than the patch, and than half of it
def test_training_patches_stay_together(roots, index):
    dataset = build_dataset(_opt(roots, 'train'))
    random.seed(0)
    patches = [dataset[index] for _ in range(30)]
    for item in patches:
        assert item['lq'].shape == item['gt'].shape == (3, 16, 16) and item['mask'].shape == (1, 16, 16)
        assert torch.equal(item['lq'][:2], item['gt'][:2])
        assert torch.allclose(item['gt'][0] + item['gt'][1], item['mask'][0])
    assert len({item['gt'].numpy().tobytes() for item in patches}) > 12
    random.seed(0)
    assert torch.equal(dataset[index]['gt'], patches[0]['gt'])


def test_training_and_validation_share_lmdbs_with_workers(roots):
    val = build_dataset(_lmdb_opt(roots))
    val[0]
    train = build_dataset({**val.opt, 'phase': 'train', 'gt_size': 16})
    loader = torch.utils.data.DataLoader(train, batch_size=2, num_workers=2, multiprocessing_context='fork')
    assert [batch['mask'].shape for batch in loader] == [(2, 1, 16, 16)]


def test_names_by_template(roots):
    for name in 'ab':
        (roots / 'lq' / f'{name}.png').rename(roots / 'lq' / f'{name}_rain.png')
    with pytest.raises(UsageError, match='lacks a, b'):
        build_dataset(_opt(roots))
    item = build_dataset(_opt(roots, dataroot_mask=None, filename_tmpl='{}_rain'))[1]
    assert item['lq_path'] == str(roots / 'lq' / 'b_rain.png') and item['gt'].shape == (3, 20, 7)


@pytest.mark.parametrize('kind', ['lq', 'mask'])
def test_what_does_not_match_is_named(roots, kind):
    cv2.imwrite(str(roots / kind / 'a.png'), np.zeros((40, 49), np.uint8))
    with pytest.raises(UsageError, match=rf'{kind}.*a\.png is 49x40, its gt 50x40'):
        build_dataset(_opt(roots))[0]
    (roots / kind / 'a.png').rename(roots / kind / 'c.png')
    with pytest.raises(UsageError, match=f'dataroot_{kind}.*lacks a'):
        build_dataset(_opt(roots))
    (roots / 'gt' / 'a.png').unlink()
    with pytest.raises(UsageError, match='without a gt'):
        build_dataset(_opt(roots))


@pytest.mark.parametrize('opt, words', [
    ({'dataroot_lq': None}, 'dataroot_lq: is empty'),
    ({'dataroot_gt': '/none'}, 'dataroot_gt.*does not exist'),
    ({'scale': 2}, 'PairedImageDataset'),
    ({'color': 'lab'}, 'rgb'),
    ({'phase': 'train', 'gt_size': 0}, 'gt_size: 0 is not'),
])  # yapf: disable
def test_wrong_options(roots, opt, words):
    with pytest.raises(UsageError, match=words) as error:
        build_dataset(_opt(roots, **opt))
    assert '\n' not in str(error.value)


def test_shared_gains_and_clean_samples(roots):
    random.seed(0)
    plain = build_dataset(_opt(roots, 'train', use_hflip=False, use_rot=False))
    changed = build_dataset(
        _opt(roots, 'train', use_hflip=False, use_rot=False, exposure_jitter=0.5, color_jitter=0.2, clean_prob=0.25))
    gains, clean = [], 0
    for seed in range(60):
        random.seed(seed)
        before = plain[0]
        random.seed(seed)
        item = changed[0]
        gain = (item['gt'].flatten(1).sum(1) / before['gt'].flatten(1).sum(1))[:, None, None]
        gains.append(gain.flatten())
        is_clean = torch.equal(item['lq'], item['gt'])
        clean += is_clean
        assert torch.allclose(item['gt'], before['gt'] * gain, atol=1e-6)
        assert is_clean or torch.allclose(item['lq'], before['lq'] * gain, atol=1e-6)
        assert torch.equal(item['mask'], before['mask'])
    gains = torch.stack(gains)
    assert 0.5 * 0.8 <= gains.min() < 0.6 and 1.3 < gains.max() <= 1.5 * 1.2
    assert 0.05 < (gains[:, 0] / gains[:, 1] - 1).abs().mean() < 0.4
    assert 5 <= clean <= 25
    assert not torch.equal(build_dataset(_opt(roots))[0]['lq'], build_dataset(_opt(roots))[0]['gt'])
