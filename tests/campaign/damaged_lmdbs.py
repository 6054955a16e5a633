"""Training from LMDBs that are damaged: a line with path and remedy, or no effect on any bit of the result."""
import os
from functools import partial

from tests.campaign.faults import copy_lmdb, damaged
from tests.test_engine.tiny_runs import assert_same_run, options, write_options

REMEDY = 'prepare it again'
# what becomes of data.mdb or meta_info.txt, and words of the line
DATA = {
    'nothing': (lambda v: b'', 'is damaged'),
    'a byte': (lambda v: v[:1], 'is damaged'),
    'half a page': (lambda v: v[:2048], 'is damaged'),
    'one page': (lambda v: v[:4096], 'is damaged'),
    'two pages': (lambda v: v[:8192], 'is damaged'),  # SIGBUS
    'half': (lambda v: v[:len(v) // 2], 'is damaged'),
    'zeros': (lambda v: bytes(len(v)), 'is damaged'),
    'zeros behind the head': (lambda v: v[:8192] + bytes(len(v) - 8192), 'is damaged'),
    'text': (lambda v: b'version https://git-lfs.github.com/spec/v1\n' * 200, 'is damaged'),
}  # yapf: disable
META = {
    'nothing': (lambda v: b'', 'is empty'),
    'binary': (lambda v: b'\xff\xfe\x00\x80\n' * 9, 'expected "name.png (h,w,c) level"'),
    'half a line': (lambda v: v[:-10], 'expected "name.png (h,w,c) level"'),
    'another key': (lambda v: v + b'other.png (30,34,1) 1\n', 'lacks image other'),
    'a key that is not ASCII': (lambda v: v + 'größe.png (30,34,1) 1\n'.encode(), 'lacks image gr'),
}  # yapf: disable


def faults(campaign):
    step = 1 if campaign.is_long else 4
    for number, name in enumerate(list(DATA)[::step]):
        yield f'data.mdb: {name}', partial(changed, 'data.mdb', *DATA[name], number % 2)
    for name in list(META)[::step]:
        yield f'meta_info.txt: {name}', partial(changed, 'meta_info.txt', *META[name], 0)
    for kind in ('folder', 'missing', 'link'):
        if campaign.is_long:
            yield f'data.mdb is a {kind}', partial(no_file, kind)
    draw = campaign.generator('lmdbs')
    for i in range(120 if campaign.is_long else 2):
        kind = ('bit', 'zeros', 'noise', 'cut')[i % 4]
        yield f'data.mdb: {kind} at random, {i % 3} workers', partial(random_damage, kind, draw.random(), i % 3)


def run(campaign, folder, workers):
    changes = dict(datasets__train__io_backend={'type': 'lmdb'}, datasets__train__dataroot_gt='train.lmdb')
    write_options(folder, options(**changes, datasets__train__num_worker_per_gpu=workers))
    return campaign.run(folder)


def changed(file, change, words, workers, campaign, folder):
    path, _ = copy_lmdb(campaign, folder)
    (path / file).write_bytes(change((path / file).read_bytes()))
    run(campaign, folder, 2 * workers).refused('train.lmdb', words)
    assert not (folder / 'experiments').exists()  # found before the run begins


def no_file(kind, campaign, folder):
    _, data = copy_lmdb(campaign, folder)
    data.unlink()
    if kind == 'folder':
        data.mkdir()
    elif kind == 'link':
        os.symlink('nowhere', data)
    run(campaign, folder, 0).refused('train.lmdb', REMEDY)


def random_damage(kind, seed, workers, campaign, folder):
    whole, _ = campaign.whole('plain')
    _, data = copy_lmdb(campaign, folder)
    generator = campaign.generator(seed)
    content = data.read_bytes()
    data.write_bytes(damaged(content, kind, generator))
    result = run(campaign, folder, workers)
    if result.code:
        result.refused('train.lmdb')
        assert REMEDY in result.log or 'replace or remove it' in result.log, result.log[-400:]
    else:
        result.check((0, ))
        assert_same_run(whole, folder, 18)
