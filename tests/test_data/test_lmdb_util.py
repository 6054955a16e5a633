import cv2
import lmdb
import multiprocessing
import numpy as np
import os
import pytest
import sys

import memnet_basicsr  # noqa: F401
from basicsr.data.data_util import paths_from_lmdb
from basicsr.utils import FileClient, imfrombytes
from memnet_basicsr.data.lmdb_util import close_lmdb, lmdb_images, make_key, read_lmdb, write_lmdb
from memnet_basicsr.errors import UsageError
from tests.conftest import ROOT, run


def _images(number=3, seed=0):
    rng = np.random.RandomState(seed)
    for i in range(number):
        shape = (10 + i, 12, 3) if i % 2 == 0 else (10 + i, 12)
        yield f'pic_{i}', rng.randint(0, 256, shape, dtype=np.uint8)


def _write(target, **kwargs):
    return write_lmdb(str(target), _images(), progress=False, **kwargs)


def test_basicsr_reads_what_is_written(tmp_path):
    path = str(tmp_path / 'set' / 'a.lmdb')
    assert _write(path) == 3
    assert paths_from_lmdb(path) == ['pic_0', 'pic_1', 'pic_2']
    client = FileClient('lmdb', db_paths=[path], client_keys=['gt'])
    for key, img in _images():
        assert np.array_equal(imfrombytes(client.get(key, 'gt'), flag='unchanged'), img)
    with open(os.path.join(path, 'meta_info.txt')) as f:
        assert f.read().splitlines() == ['pic_0.png (10,12,3) 1', 'pic_1.png (11,12,1) 1', 'pic_2.png (12,12,3) 1']
    client.client._client['gt'].close()


def test_many_large_images_fit_the_map(tmp_path):
    path = str(tmp_path / 'a.lmdb')
    noise = np.random.RandomState(0).randint(0, 256, (150, 100, 3), dtype=np.uint8)  # does not compress
    assert write_lmdb(path, ((f'k{i:04d}', noise) for i in range(150)), progress=False) == 150
    size = os.path.getsize(os.path.join(path, 'data.mdb'))
    assert 150 * noise.size < size < 1.2 * 150 * noise.size
    env = lmdb.open(path, readonly=True, lock=False)
    assert env.stat()['entries'] == 150 and env.info()['map_size'] < 3 * size
    env.close()


def test_same_signature_is_kept_and_another_one_refused(tmp_path):
    path = tmp_path / 'a.lmdb'
    _write(path, signature='one')
    with pytest.raises(UsageError, match='overwrite'):
        _write(path)  # of unknown origin
    before = (path / 'data.mdb').read_bytes()

    def untouched():
        raise AssertionError('images are read although the LMDB is kept')
        yield

    assert write_lmdb(str(path), untouched(), signature='one', progress=False) == 0
    with pytest.raises(UsageError, match='overwrite'):
        _write(path, signature='two')
    assert (path / 'data.mdb').read_bytes() == before
    key, img = 'other', np.zeros((4, 4), np.uint8)
    assert write_lmdb(str(path), [(key, img)], signature='two', overwrite=True, progress=False) == 1
    assert list(lmdb_images(str(path))) == ['other']
    assert np.array_equal(imfrombytes(read_lmdb(str(path), 'other'), flag='unchanged'), img)
    assert os.listdir(tmp_path) == ['a.lmdb']
    close_lmdb(str(path))


def test_interrupted_writing_leaves_nothing(tmp_path):

    def images():
        yield 'a', np.zeros((4, 4), np.uint8)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_lmdb(str(tmp_path / 'a.lmdb'), images(), progress=False)
    assert os.listdir(tmp_path) == []


def _killed(path):

    def images():
        yield from _images()
        os._exit(9)  # no clean-up, as kill -9

    write_lmdb(path, images(), progress=False)


def test_killed_writing_leaves_no_lmdb_and_the_next_run_sweeps(tmp_path):
    path = str(tmp_path / 'a.lmdb')
    process = multiprocessing.get_context('fork').Process(target=_killed, args=(path, ))
    process.start()
    process.join()
    left = os.listdir(tmp_path)
    assert process.exitcode == 9 and len(left) == 1 and not left[0].endswith('.lmdb')
    assert _write(path) == 3
    assert os.listdir(tmp_path) == ['a.lmdb']


def test_overwriting_keeps_the_old_one_when_it_fails(tmp_path):
    path = str(tmp_path / 'a.lmdb')
    _write(path, signature='one')
    with pytest.raises(UsageError, match='no images'):
        write_lmdb(path, [], signature='two', overwrite=True, progress=False)
    assert len(lmdb_images(path)) == 3 and os.listdir(tmp_path) == ['a.lmdb']


def test_wrong_targets(tmp_path):
    with pytest.raises(UsageError, match=r'end in \.lmdb'):
        _write(tmp_path / 'a')
    (tmp_path / 'b.lmdb').mkdir()
    with pytest.raises(UsageError, match='not an LMDB'):
        _write(tmp_path / 'b.lmdb', overwrite=True)
    twice = [('k', np.zeros((4, 4), np.uint8))] * 2
    with pytest.raises(UsageError, match='the key k'):
        write_lmdb(str(tmp_path / 'c.lmdb'), twice, progress=False)
    assert os.listdir(tmp_path) == ['b.lmdb']


@pytest.mark.parametrize('name, key', [('a.png', 'a'), ('img.v2.png', 'img_v2'), ('sub/übung 1.jpg', 'sub__bung_1')])
def test_keys_survive_basicsr(name, key):
    assert make_key(name) == key


def _read_in_child(path, queue):
    queue.put([read_lmdb(path, 'pic_0') is not None, read_lmdb(path, 'no such key')])


def test_forked_worker_reads_what_the_parent_has_open(tmp_path):
    path = str(tmp_path / 'a.lmdb')
    _write(path)
    code = read_lmdb(path, 'pic_0')
    context = multiprocessing.get_context('fork')
    queue = context.Queue()
    process = context.Process(target=_read_in_child, args=(path, queue))
    process.start()
    assert queue.get(timeout=20) == [True, None]
    process.join()
    assert read_lmdb(path, 'pic_0') == code  # the worker's closing did not touch the parent's
    assert next(_images())[1].tolist() == cv2.imdecode(np.frombuffer(code, np.uint8), -1).tolist()
    close_lmdb(path)


def _damage(path, fault):
    data = path / 'data.mdb'
    content = bytearray(data.read_bytes())
    if fault == 'short':  # beyond the two meta pages: reading would end the process with SIGBUS
        content = content[:8192]
    elif fault == 'half':
        content = content[:len(content) // 2]
    elif fault == 'nothing':
        content = b''
    elif fault == 'text':
        content = b'no database' * 1000
    else:
        content[8192:] = bytes(len(content) - 8192)
    data.write_bytes(content)


@pytest.mark.parametrize('fault', ['short', 'half', 'nothing', 'text', 'zeros'])
def test_damage_is_found_when_a_set_is_opened(tmp_path, fault):
    """In a process of its own: the fault was that it died."""
    path = tmp_path / 'a.lmdb'
    _write(path, signature='one')
    _damage(path, fault)
    code = f'import memnet_basicsr; from memnet_basicsr.data.lmdb_util import lmdb_images as f; f({str(path)!r})'
    result = run(sys.executable, '-c', code, cwd=tmp_path, PYTHONPATH=ROOT)
    line = result.stderr.splitlines()[-1]
    assert result.returncode == 1 and f'UsageError: LMDB {path} is damaged (' in line
    assert line.endswith('copy it or prepare it again')


def test_file_that_lacks_unused_pages_is_in_order(tmp_path):
    """LMDB counts pages that it never wrote."""
    path = tmp_path / 'a.lmdb'
    _write(path)
    content = bytearray((path / 'data.mdb').read_bytes())
    for page in (0, 4096):  # the number of the last page in both meta pages, behind two trees
        place = page + 16 + 8 + 8 + 8 + 2 * 48
        number = int.from_bytes(content[place:place + 8], 'little')
        content[place:place + 8] = (number + 3).to_bytes(8, 'little')
    (path / 'data.mdb').write_bytes(content)
    assert len(lmdb_images(str(path))) == 3 and read_lmdb(str(path), 'pic_0')
    close_lmdb(str(path))


def test_key_that_the_data_lack(tmp_path):
    path = tmp_path / 'a.lmdb'
    _write(path)
    with open(path / 'meta_info.txt', 'a') as f:
        f.write('pic_9.png (1,1,1) 1\n')
    with pytest.raises(UsageError, match=r'lacks image pic_9 of its meta_info.txt; copy it or prepare it again'):
        lmdb_images(str(path))
    close_lmdb(str(path))


def test_damage_while_it_is_read(tmp_path):
    """As in a worker: opened in order, then a page is lost."""
    path = tmp_path / 'a.lmdb'
    _write(path)
    lmdb_images(str(path))
    with open(path / 'data.mdb', 'r+b') as f:
        f.seek(8192)
        f.write(bytes(os.path.getsize(path / 'data.mdb') - 8192))
    with pytest.raises(UsageError, match=r'a\.lmdb is damaged \(.*copy it or prepare it again'):
        read_lmdb(str(path), 'pic_0')
    close_lmdb(str(path))


def test_damaged_target_is_not_kept(tmp_path):
    path = tmp_path / 'a.lmdb'
    _write(path, signature='one')
    close_lmdb(str(path))
    _damage(path, 'zeros')
    assert _write(path, signature='one', overwrite=True) == 3
    assert read_lmdb(str(path), 'pic_0')
    close_lmdb(str(path))


@pytest.mark.parametrize('fault', ['missing', 'name', 'meta', 'data', 'line', 'binary', 'empty'])
def test_unusable_lmdbs_are_told(tmp_path, fault):
    path = tmp_path / 'a.lmdb'
    _write(path)
    if fault == 'name':
        path = path.rename(tmp_path / 'a')
    elif fault == 'meta':
        (path / 'meta_info.txt').unlink()
    elif fault == 'data':
        (path / 'data.mdb').unlink()
    elif fault in ('line', 'empty', 'binary'):
        content = {'line': b'something else\n', 'empty': b'', 'binary': b'\xff\xfe\x00\x80'}[fault]
        (path / 'meta_info.txt').write_bytes(content)
    else:
        path = tmp_path / 'b.lmdb'
    with pytest.raises(UsageError) as error:
        lmdb_images(str(path))
    assert str(path) in str(error.value) and '\n' not in str(error.value)
