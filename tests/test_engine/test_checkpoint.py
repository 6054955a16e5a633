import numpy as np
import os
import pytest
import random
import resource
import signal
import tarfile
import torch
from collections import Counter, OrderedDict
from os import path as osp

from basicsr.models import build_model
from memnet_basicsr.engine import checkpoint
from memnet_basicsr.engine.json_lines import append_line, count_lines, keep_lines
from memnet_basicsr.engine.random_state import get_random_state, set_random_state
from memnet_basicsr.errors import UsageError
from tests.test_engine.tiny_runs import assert_same, batch, model_options, options, write_images, write_options


@pytest.fixture
def old_file(tmp_path):
    """A checkpoint that is there already."""
    path = str(tmp_path / 'net.pth')
    checkpoint.save_whole({'a': torch.ones(3)}, path)
    return path


def assert_old_file_is_intact(path):
    assert torch.equal(checkpoint.load(path)['a'], torch.ones(3))
    assert os.listdir(osp.dirname(path)) == [osp.basename(path)]


def test_save_whole_round_trip(tmp_path):
    value = {'a': torch.arange(4.), 'b': [1, 2.5, 'c', None, True], 'd': {'e': torch.zeros(2, dtype=torch.int64)}}
    path = str(tmp_path / 'x.pth')
    checkpoint.save_whole(value, path)
    loaded = torch.load(path, weights_only=True)
    assert torch.equal(loaded['a'], value['a']) and loaded['b'] == value['b']
    assert os.listdir(tmp_path) == ['x.pth']


def test_disk_full(old_file):
    """A real failed write: the system refuses to write beyond 64 KiB."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65536, limits[1]))
    try:
        with pytest.raises(OSError, match=rf'cannot write checkpoint {old_file}: .*File too large'):
            checkpoint.save_whole({'a': torch.rand(100000)}, old_file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert_old_file_is_intact(old_file)


@pytest.mark.parametrize('name', ['fsync', 'replace'])
def test_failure_at_the_end(old_file, monkeypatch, name):

    def fail(*args):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(checkpoint.os, name, fail)
    with pytest.raises(OSError, match=f'{old_file}.*No space left on device'):
        checkpoint.save_whole({'a': torch.zeros(3)}, old_file)
    monkeypatch.undo()
    assert_old_file_is_intact(old_file)


def test_ctrl_c_while_writing(old_file, monkeypatch):

    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint.os, 'fsync', interrupt)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save_whole({'a': torch.zeros(3)}, old_file)
    monkeypatch.undo()
    assert_old_file_is_intact(old_file)


def test_no_folder(tmp_path):
    with pytest.raises(OSError, match=r'cannot write checkpoint .*missing/x.pth: .*No such file'):
        checkpoint.save_whole({}, str(tmp_path / 'missing/x.pth'))


def test_a_leftover_of_a_killed_write_is_used_up(old_file):
    with open(f'{old_file}.part', 'w') as f:
        f.write('half')
    checkpoint.save_whole({'a': torch.ones(3)}, old_file)
    assert_old_file_is_intact(old_file)


def test_load_tells_what_is_wrong(tmp_path, old_file):
    with pytest.raises(UsageError, match=r'none\.pth does not exist'):
        checkpoint.load(str(tmp_path / 'none.pth'))
    with open(old_file, 'rb') as f:
        content = f.read()
    for name, damaged in (('short', content[:200]), ('empty', b''), ('text', b'hello')):
        path = tmp_path / name
        path.write_bytes(damaged)
        with pytest.raises(UsageError, match=rf'{path} (is damaged|cannot be loaded)') as error:
            checkpoint.load(str(path))
        assert '\n' not in str(error.value)
    torch.save({'a': os.path.join}, tmp_path / 'code.pth')
    with pytest.raises(UsageError, match=r'code\.pth cannot be loaded safely'):
        checkpoint.load(str(tmp_path / 'code.pth'))


def test_flipped_bytes_are_found(tmp_path):
    """Every byte of a file: either it is refused, or its content is the same."""
    path, value = str(tmp_path / '1.state'), {'iter': 1, 'a': torch.arange(3.), 'b': ['text', 2.5]}
    checkpoint.save_whole(value, path)
    with open(path, 'rb') as f:
        content = f.read()
    refused = 0
    for position in range(len(content)):
        with open(path, 'wb') as f:
            f.write(content[:position] + bytes([content[position] ^ 1]) + content[position + 1:])
        try:
            assert_same(checkpoint.load(path), value)
        except UsageError as error:
            assert '\n' not in str(error)
            refused += 1
    assert refused > 200  # padding does not count
    start = content.index(np.arange(3, dtype=np.float32).tobytes())
    with open(path, 'wb') as f:
        f.write(content[:start] + b'\1' + content[start + 1:])
    with pytest.raises(UsageError, match=r'is damaged: record .*/data/0 fails its checksum'):
        checkpoint.load(path)


def test_tar_archives_of_old_torch_are_refused(tmp_path):
    (tmp_path / 'x').write_bytes(b'pickle')
    with tarfile.open(tmp_path / 'a.pth', 'w') as f:
        f.add(tmp_path / 'x', 'pickle')
    with pytest.raises(UsageError, match=r'of a format that cannot be loaded safely: .* legacy \.tar format$'):
        checkpoint.load(str(tmp_path / 'a.pth'))


def test_files_before_zip_archives_are_loaded(tmp_path):
    torch.save({'a': torch.ones(3)}, tmp_path / 'a.pth', _use_new_zipfile_serialization=False)
    assert torch.equal(checkpoint.load(str(tmp_path / 'a.pth'))['a'], torch.ones(3))


def test_plain_makes_values_that_weights_only_loads(tmp_path):
    value = {'a': np.float64(1.5), 'b': [np.int64(2), (np.bool_(True), )], 'c': Counter([3, 3]), 'd': OrderedDict(e=1)}
    plain = checkpoint.plain(value)
    assert plain == {'a': 1.5, 'b': [2, (True, )], 'c': {3: 2}, 'd': {'e': 1}}
    assert type(plain['a']) is float and type(plain['b'][0]) is int and type(plain['b'][1][0]) is bool
    checkpoint.save_whole(plain, str(tmp_path / 'x'))
    assert torch.load(tmp_path / 'x', weights_only=True) == plain


def test_random_state_round_trip():
    draw = lambda: (random.random(), random.gauss(0, 1), np.random.rand(3).tolist(), np.random.randn(),  # noqa: E731
                    torch.rand(3).tolist())  # yapf: disable
    random.gauss(0, 1)
    np.random.randn()  # halves of pairs are waiting
    state = checkpoint.plain(get_random_state())
    first = draw()
    draw()
    set_random_state(state)
    assert draw() == first


def test_json_lines(tmp_path):
    path = str(tmp_path / 'm.jsonl')
    keep_lines(path, 3)
    assert count_lines(path) == 0 and not osp.exists(path)
    for i in range(3):
        append_line(path, {'iter': i, 'psnr': float('nan') if i == 1 else 2.5})
    with open(path, 'a') as f:
        f.write('{"iter": 3, "ps')  # killed while writing
    with open(f'{path}.part', 'w') as f:
        f.write('of a run that was killed here')
    keep_lines(path, 2)
    with open(path) as f:
        assert f.read() == '{"iter": 0, "psnr": 2.5}\n{"iter": 1, "psnr": null}\n'
    assert os.listdir(tmp_path) == ['m.jsonl']


@pytest.fixture
def model(tmp_path):
    model = build_model(model_options(tmp_path, train__keep_last=2, val=None))
    for i in (1, 2):
        model.feed_data(batch(i))
        model.update_learning_rate(i)
        model.optimize_parameters(i)
    return model


def test_only_tensors_and_plain_values_are_written(model, tmp_path):
    model.best_metric_results = {'v': {'psnr': dict(better='higher', val=np.float64(3), iter=np.int64(2))}}
    model.save(0, 2)
    for name in ('net_g_2.pth', '2.state'):
        torch.load(tmp_path / name, weights_only=True)
    assert list(torch.load(tmp_path / 'net_g_2.pth', weights_only=True)) == ['params', 'params_ema']


def test_keep_last(model, tmp_path):
    for i in (2, 10, 9, -1):
        model.save(0, i)
    assert sorted(os.listdir(tmp_path)) == ['10.state', '9.state', 'net_g_10.pth', 'net_g_9.pth', 'net_g_latest.pth']


def test_failing_checkpoint_ends_the_run(server, tmp_path):
    """BasicSR only warns; here the run stops, names the file, and goes on from the one before."""
    write_images(tmp_path)
    write_options(tmp_path, options(datasets__val_2=None))
    assert server.run(tmp_path, hook=['fill_disk', '12.state']) == 1
    log = (tmp_path / 'log').read_text()
    assert 'cannot write checkpoint' in log and '12.state: [Errno 28] No space left on device' in log
    assert sorted(os.listdir(tmp_path / 'experiments/run/training_states')) == ['6.state']
    assert server.run(tmp_path, '-opt', 't.yml', '--auto_resume', log='log2') == 0
    assert 'iter: 6.' in (tmp_path / 'log2').read_text()
