import json
import os
import pytest
import sys
import threading
import time
from example_options import options
from pathlib import Path

from memnet_basicsr.analysis.ablation import runs as ablation_runs
from memnet_basicsr.analysis.ablation.plan import Variant, options_of_run
from memnet_basicsr.analysis.ablation.runs import Run, train_all
from memnet_basicsr.errors import UsageError
from memnet_basicsr.plugin.option_file import load_yaml

# Prints like BasicSR's training and writes like RestorationModel; fails if the name contains 'bad'.
TRAINING = """
import json, os, sys, time, yaml
opt = yaml.safe_load(open(sys.argv[1]))
name, total = opt['name'], opt['train']['total_iter']
os.makedirs(f'experiments/{name}', exist_ok=True)
with open('order.txt', 'a') as f:
    f.write(name + '\\n')
text = f'[epoch: 0, iter: {total:,d}, lr:(1e-3,)] l_pix: 1e-1 '
print(text, flush=True)
open(f'experiments/{name}/train_{name}.log', 'w').write(text)
time.sleep(opt['train'].get('sleep', 0))
if 'bad' in name:
    sys.exit('RuntimeError: out of luck')
value = 20 + opt['manual_seed'] + ('memory' in name)
open(f'experiments/{name}/metrics.jsonl', 'w').write(
    json.dumps(dict(iter=total, dataset='val', psnr=value)) + '\\n')
"""


@pytest.fixture
def fake_training(tmp_path, monkeypatch):
    script = tmp_path / 'training.py'
    script.write_text(TRAINING)
    monkeypatch.setattr(ablation_runs, 'command_of', lambda run: [sys.executable, str(script),
                                                                  os.path.abspath(run.file('yml'))])  # yapf: disable


def run_of(label, seed, tmp_path, **train):
    return Run(f'{label}_seed{seed}', options_of_run(Variant('', label, options(**train)), seed, 10), str(tmp_path))


def test_finished_runs_are_kept_and_failures_reported(fake_training, tmp_path, capfd):
    runs = [run_of(label, seed, tmp_path) for seed in (0, 1) for label in ('backbone', 'bad', 'memory')]
    failed = train_all(runs, jobs=2)
    assert failed == dict(bad_seed0='RuntimeError: out of luck', bad_seed1='RuntimeError: out of luck')
    assert [r.finished() for r in runs] == [True, False, True] * 2
    assert runs[2].metrics() == {('psnr', 'val'): 21} and runs[2].state()['cpu_seconds'] > 0
    assert runs[0].iteration() == 10
    (tmp_path / 'order.txt').unlink()
    train_all(runs)
    assert (tmp_path / 'order.txt').read_text().split() == ['bad_seed0', 'bad_seed1']


def test_changed_options_are_refused(fake_training, tmp_path):
    train_all([run_of('memory', 0, tmp_path)])
    other = run_of('memory', 0, tmp_path, recording_iter=500)
    assert not other.finished()
    with pytest.raises(UsageError, match='started with other options'):
        train_all([other])
    train_all([other], overwrite=True)
    assert other.finished() and (tmp_path / 'order.txt').read_text().count('memory_seed0') == 2


def test_run_waits_for_the_runs_it_refers_to(fake_training, tmp_path):
    source, lost = run_of('source', 0, tmp_path, sleep=0.5), run_of('bad', 0, tmp_path)
    needing, hopeless = run_of('needing', 0, tmp_path), run_of('hopeless', 0, tmp_path)
    needing.opt['path']['pretrain_network_memory'] = f'experiments/{source.name}/models/net_g_latest.pth'
    hopeless.opt['path']['pretrain_network_memory'] = f'experiments/{lost.name}/models/net_g_latest.pth'
    failed = train_all([needing, hopeless, source, lost], jobs=4)
    order = (tmp_path / 'order.txt').read_text().split()
    assert order.index('source_seed0') < order.index('needing_seed0') and needing.finished()
    assert failed['hopeless_seed0'] == 'needs bad_seed0, which failed'


def test_one_ablation_per_folder(fake_training, tmp_path):
    first = threading.Thread(target=train_all, args=([run_of('a', 0, tmp_path, sleep=1.5)], ))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ablation_runs.signal, 'signal', lambda *args: None)  # works only in the main thread
        first.start()
        while not (tmp_path / 'order.txt').exists():
            time.sleep(0.05)
        with pytest.raises(UsageError, match='in use by another ablation'):
            train_all([run_of('b', 0, tmp_path)])
        first.join()


def test_damaged_state_counts_as_unfinished(tmp_path):
    run = run_of('a', 0, tmp_path)
    os.makedirs(tmp_path / 'runs')
    Path(run.file('json')).write_text('{"cpu_')
    assert run.state() == dict(cpu_seconds=0., finished=False)
    Path(run.file('json')).write_text(json.dumps(dict(cpu_seconds=3., finished=True)))
    assert run.state()['cpu_seconds'] == 3. and not run.finished()


def test_option_file_of_a_run(fake_training, tmp_path):
    run = run_of('a', 4, tmp_path)
    train_all([run])
    assert load_yaml(run.file('yml')) == run.opt
