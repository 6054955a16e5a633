"""Two runs of one name at once: the second one stops, and a killed one is not in the way."""
import os
import pytest
import signal
from os import path as osp

from memnet_basicsr.engine.run_lock import lock_run
from memnet_basicsr.errors import UsageError
from tests.test_engine.fork_server import TEST
from tests.test_engine.tiny_runs import options, write_images, write_options


@pytest.fixture
def paused(server, tmp_path):
    """A run with workers that waits after its second step."""
    write_images(tmp_path)
    write_options(tmp_path, options(datasets__train__num_worker_per_gpu=2, logger__save_checkpoint_freq=1))
    pid = server.start(tmp_path, hook=['pause', 'step', 2])
    while not osp.isfile(tmp_path / 'paused'):
        assert server.wait(pid, 0.02) is None, (tmp_path / 'log').read_text()
    return pid


@pytest.mark.parametrize('resume', [False, True])
def test_second_run_stops(server, tmp_path, paused, resume):
    before = sorted(os.listdir(tmp_path / 'experiments'))
    code = server.run(tmp_path, '-opt', 't.yml', *['--auto_resume'][:resume], log='log2')
    line = f'name: run: {tmp_path}/experiments/run is in use by another run of that name (process {paused} on '
    log = (tmp_path / 'log2').read_text()
    assert code == 2 and line in log and 'Traceback' not in log, log
    assert sorted(os.listdir(tmp_path / 'experiments')) == before  # nothing is archived
    os.kill(paused, signal.SIGTERM)
    assert server.wait(paused) == 128 + signal.SIGTERM


def test_killed_run_is_not_in_the_way(server, tmp_path, paused):
    """Its workers live a little longer."""
    os.kill(paused, signal.SIGKILL)
    while osp.exists(f'/proc/{paused}/fd/0'):
        pass
    write_options(tmp_path, options(train__total_iter=4))
    assert server.run(tmp_path, '-opt', 't.yml', '--auto_resume', log='log2') == 0, (tmp_path / 'log2').read_text()
    assert server.wait(paused) == -signal.SIGKILL


def test_other_names_and_tests_are_free(server, tmp_path, paused):
    opt = options(name='other', train__total_iter=1, train__warmup_iter=-1)
    write_options(tmp_path, opt, 'u.yml')
    assert server.run(tmp_path, '-opt', 'u.yml', log='log2') == 0, (tmp_path / 'log2').read_text()
    opt['datasets'] = {'test': opt['datasets']['val_1']}
    write_options(tmp_path, {**{k: v for k, v in opt.items() if k not in ('train', 'logger')}, 'name': 'run'}, 'v.yml')
    assert server.run(tmp_path, '-opt', 'v.yml', log='log3', script=TEST) == 0, (tmp_path / 'log3').read_text()
    os.kill(paused, signal.SIGTERM)
    server.wait(paused)


def test_folder_that_cannot_be_written(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(UsageError, match=r'file/\.run\.lock cannot be written: '):
        lock_run(tmp_path / 'file/run')
