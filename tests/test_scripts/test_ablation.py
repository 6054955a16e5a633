"""The script trains two variants of a plan, is interrupted, continues, and writes its report."""
import cv2
import os
import pytest
import re
import signal
import sys
import threading
import time
import yaml
from pathlib import Path

from memnet_basicsr.errors import UsageError

sys.path.insert(0, str(Path(__file__).parents[2] / 'scripts'))
import ablation


@pytest.fixture
def work(options, images, tmp_path, write_options):
    options['val'] = dict(val_freq=2, save_img=False, metrics=dict(psnr=dict(type='calculate_psnr', crop_border=0)))
    options['datasets']['val'] = dict(name='val', type='NoisyImageDataset', dataroot_gt=str(images), sigma=50,
                                      io_backend=dict(type='disk'))  # yapf: disable
    write_options(options, 'base.yml')
    plan = dict(option_file='base.yml', variants=dict(small=None, wide=dict(network_g=dict(num_feat=6)),
                                                      broken=dict(network_g=dict(num_feet=6))))  # yapf: disable
    (tmp_path / 'plan.yml').write_text(yaml.safe_dump(plan, sort_keys=False))
    return tmp_path


@pytest.fixture
def call(work, monkeypatch):
    """Call the script in this process, below tmp_path; each run is a separate process."""
    monkeypatch.chdir(work)
    return lambda *more: ablation.main(['plan.yml', '--output', 'out', '--baseline', 'small', '--jobs', '2', *more])


def stop_when(found):
    """Send SIGTERM to this process once found() is true."""

    def watch():
        while not found():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def test_interrupt_and_continue(call, work, capsys):
    arguments = ['--seeds', '1', '--iterations', '400']
    stop_when(lambda: list(work.glob('out/experiments/*/training_states/100.state')))
    with pytest.raises(KeyboardInterrupt):
        call(*arguments, '--variants', 'small')
    assert not list(work.glob('out/*.md')) and signal.getsignal(signal.SIGTERM) is not None

    assert call(*arguments) == 1
    out, err = capsys.readouterr()
    assert re.search(r'failed: plan_broken_seed0: .*MemNet has no argument num_feet', err)
    assert '2 of 3 runs are finished' in out and re.search(r'\| wide +\| psnr +\| 1 ', out)
    assert 'No finished run: broken.' in out
    assert [v for v in work.glob('out/runs/*.txt') if 'Resuming training' in v.read_text()]
    assert (work / 'out' / 'plan.md').read_text() in out
    height, width = cv2.imread(str(work / 'out' / 'plan.png')).shape[:2]
    assert width > 1000 and height > 100

    before = {v: v.stat().st_mtime_ns for v in work.glob('out/experiments/*/*.log')}
    assert call(*arguments, '--variants', 'small', 'wide') == 0
    assert {v: v.stat().st_mtime_ns for v in work.glob('out/experiments/*/*.log')} == before


@pytest.mark.parametrize('more, message', [
    (('--variants', 'small2'), '--variants small2: does not exist; closest match: small'),
    (('--seeds', '0'), '--seeds 0: must be at least 1'),
    (('--overwrite', '--jobs', '0'), '--jobs 0'),
])  # yapf: disable
def test_invalid_arguments(call, more, message):
    with pytest.raises(UsageError, match=message):
        call(*more)
