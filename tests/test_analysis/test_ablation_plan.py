import json
import numpy as np
import os
import pytest
import sys
import threading
import time
import torch
import yaml
from pathlib import Path
from torch import nn

from memnet_basicsr.analysis.ablation import runs as ablation_runs
from memnet_basicsr.analysis.ablation.plan import Variant, merged, options_of_run, read_variants
from memnet_basicsr.analysis.ablation.report import Row, count_macs, draw, find_baseline, interval, paired, table
from memnet_basicsr.analysis.ablation.runs import Run, train_all
from memnet_basicsr.archs.memnet_arch import MemNet
from memnet_basicsr.errors import UsageError
from memnet_basicsr.plugin.option_file import check_options, load_yaml

PLANS = sorted((Path(__file__).parents[2] / 'options' / 'ablation').glob('memory_*.yml'))
# prints what BasicSR's training prints and writes what RestorationModel writes; 'bad' in the name fails
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


def options(**train):
    return dict(
        name='x',
        model_type='RestorationModel',
        num_gpu=0,
        manual_seed=7,
        datasets=dict(train=dict(type='A', dataroot_gt='data/gt.lmdb', num_worker_per_gpu=3, batch_size_per_gpu=2)),
        network_g=dict(type='MemNet', num_feat=4, num_block=1, num_recursion=1),
        path=dict(pretrain_network_g=None),
        train=dict(
            dict(
                total_iter=1000, recording_iter=100, scheduler=dict(type='WarmupCosineLR', T_max=1000, warmup_iter=50)),
            **train),
        val=dict(val_freq=100, save_img=True),
        logger=dict(print_freq=1, save_checkpoint_freq=1, use_tb_logger=True))


@pytest.fixture
def write(tmp_path):

    def write(name, content):
        path = tmp_path / name
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return str(path)

    return write


@pytest.fixture
def fake_training(tmp_path, monkeypatch):
    script = tmp_path / 'training.py'
    script.write_text(TRAINING)
    monkeypatch.setattr(ablation_runs, 'command_of', lambda run: [sys.executable, str(script),
                                                                  os.path.abspath(run.file('yml'))])  # yapf: disable


def run_of(label, seed, tmp_path, **train):
    return Run(f'{label}_seed{seed}', options_of_run(Variant('', label, options(**train)), seed, 10), str(tmp_path))


# ---- plans ----------------------------------------------------------------------------------------------------------


def test_plan(write):
    write('base.yml', options())
    path = write('plan.yml', dict(option_file='base.yml', variants=dict(
        first=None, second=dict(network_g=dict(num_feat=8), train=dict(recording_iter=None)),
        third=dict(like='second', network_g=dict(num_block=2)))))  # yapf: disable
    first, second, third = read_variants([path])
    assert [v.label for v in (first, second, third)] == ['first', 'second', 'third']
    assert first.opt['network_g'] == options()['network_g']
    assert second.opt['network_g'] == dict(type='MemNet', num_feat=8, num_block=1, num_recursion=1)
    assert 'recording_iter' not in second.opt['train'] and 'recording_iter' in first.opt['train']
    assert third.opt['network_g'] == dict(type='MemNet', num_feat=8, num_block=2, num_recursion=1)
    assert third.run_name(2) == 'plan_third_seed2'


def test_option_files_are_a_group(write):
    variants = read_variants([write('train_a.yml', options()), write('train_b.yml', options())])
    assert [(v.group, v.label) for v in variants] == [('', 'train_a'), ('', 'train_b')]


def test_what_cannot_be_compared_is_refused(write):
    other = options()
    other['datasets']['train']['batch_size_per_gpu'] = 4
    with pytest.raises(UsageError, match='train_b and train_a differ in datasets'):
        read_variants([write('train_a.yml', options()), write('train_b.yml', other)])
    with pytest.raises(UsageError, match='total_iter'):
        read_variants([write('train_a.yml', options()), write('train_b.yml', options(total_iter=5))])


@pytest.mark.parametrize('variants, message', [
    (dict(a=dict(network_g=dict(num_feet=None))), 'num_feet: there is nothing to remove; near: num_feat'),
    (dict(a=dict(like='b'), b=None), 'no variant b stands above'),
    ([1], 'must hold option_file: and variants:'),
])  # yapf: disable
def test_wrong_plans(write, variants, message):
    write('base.yml', options())
    with pytest.raises(UsageError, match=message):
        read_variants([write('plan.yml', dict(option_file='base.yml', variants=variants))])


def test_merging_leaves_the_original():
    opt = options()
    assert merged(opt, dict(val=None), '')['train'] is not opt['train'] and 'val' in opt


def test_budget_scales_all_lengths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    opt = options()
    opt['path']['pretrain_network_memory'] = 'experiments/other_seed{seed}/net.pth'
    opt = options_of_run(Variant('plan', 'a', opt), 3, 200)
    assert opt['name'] == 'plan_a_seed3' and opt['manual_seed'] == 3
    assert opt['train']['total_iter'] == 200 and opt['train']['recording_iter'] == 20
    assert opt['train']['scheduler'] == dict(type='WarmupCosineLR', T_max=200, warmup_iter=10)
    assert opt['val']['val_freq'] == 200 and opt['datasets']['train']['num_worker_per_gpu'] == 0
    assert opt['datasets']['train']['dataroot_gt'] == str(tmp_path / 'data' / 'gt.lmdb')
    assert opt['path']['pretrain_network_memory'] == 'experiments/other_seed3/net.pth'
    lists = options(scheduler=dict(type='MultiStepLR', milestones=[500, 750]))
    assert options_of_run(Variant('', 'a', lists), 0, 100)['train']['scheduler']['milestones'] == [50, 75]


@pytest.mark.parametrize('path', PLANS, ids=lambda p: p.stem)
def test_our_plans_are_in_order(path, tmp_path):
    variants = read_variants([str(path)])
    assert path.read_text().startswith('# ') and find_baseline([Row(v.label, {}, 0, 0) for v in variants], 'widened')
    for variant in variants:
        opt = options_of_run(variant, 0, 100)
        for block in opt['datasets'].values():
            for key in [k for k in block if k.startswith('dataroot_')]:
                block[key] = str(tmp_path / 'data.lmdb')
        (tmp_path / 'data.lmdb').mkdir(exist_ok=True)
        (tmp_path / 'data.lmdb' / 'meta_info.txt').touch()
        check_options(opt, variant.label, is_train=True)


@pytest.mark.parametrize('path', PLANS, ids=lambda p: p.stem)
def test_widened_backbone_has_the_parameters_of_the_memory(path):
    from basicsr.archs import build_network
    variants = {v.label: v.opt['network_g'] for v in read_variants([str(path)])}
    count = {k: sum(p.numel() for p in build_network(v).parameters()) for k, v in variants.items()}
    assert count['memory'] <= count['widened'] <= 1.005 * count['memory']
    assert (count['backbone'], count['widened'], count['memory']) == (99301, 103987, 103724)


# ---- trainings ------------------------------------------------------------------------------------------------------


def test_finished_runs_are_kept_and_failing_ones_told(fake_training, tmp_path, capfd):
    runs = [run_of(label, seed, tmp_path) for seed in (0, 1) for label in ('backbone', 'bad', 'memory')]
    failed = train_all(runs, jobs=2)
    assert failed == dict(bad_seed0='RuntimeError: out of luck', bad_seed1='RuntimeError: out of luck')
    assert [r.finished() for r in runs] == [True, False, True] * 2
    assert runs[2].metrics() == {('psnr', 'val'): 21} and runs[2].state()['cpu_seconds'] > 0
    assert runs[0].iteration() == 10
    (tmp_path / 'order.txt').unlink()
    train_all(runs)
    assert (tmp_path / 'order.txt').read_text().split() == ['bad_seed0', 'bad_seed1']


def test_changed_options_are_noticed(fake_training, tmp_path):
    train_all([run_of('memory', 0, tmp_path)])
    other = run_of('memory', 0, tmp_path, recording_iter=500)
    assert not other.finished()
    with pytest.raises(UsageError, match='begun with other options'):
        train_all([other])
    train_all([other], overwrite=True)
    assert other.finished() and (tmp_path / 'order.txt').read_text().count('memory_seed0') == 2


def test_a_run_waits_for_the_one_it_needs(fake_training, tmp_path):
    source, lost = run_of('source', 0, tmp_path, sleep=0.5), run_of('bad', 0, tmp_path)
    needing, hopeless = run_of('needing', 0, tmp_path), run_of('hopeless', 0, tmp_path)
    needing.opt['path']['pretrain_network_memory'] = f'experiments/{source.name}/models/net_g_latest.pth'
    hopeless.opt['path']['pretrain_network_memory'] = f'experiments/{lost.name}/models/net_g_latest.pth'
    failed = train_all([needing, hopeless, source, lost], jobs=4)
    order = (tmp_path / 'order.txt').read_text().split()
    assert order.index('source_seed0') < order.index('needing_seed0') and needing.finished()
    assert failed['hopeless_seed0'] == 'needs bad_seed0, which failed'


def test_one_ablation_at_a_time(fake_training, tmp_path):
    first = threading.Thread(target=train_all, args=([run_of('a', 0, tmp_path, sleep=1.5)], ))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ablation_runs.signal, 'signal', lambda *args: None)  # the main thread's alone
        first.start()
        while not (tmp_path / 'order.txt').exists():
            time.sleep(0.05)
        with pytest.raises(UsageError, match='another ablation works there'):
            train_all([run_of('b', 0, tmp_path)])
        first.join()


# ---- report ---------------------------------------------------------------------------------------------------------


def row(label, values):
    state = dict(cpu_seconds=2., finished=True)
    run = type('Run', (), dict(state=lambda self: state))()
    return Row(label, dict.fromkeys(values, run), 1234, 5e9, {('psnr', 'val'): values}, dict(entropy_part=.5))


def test_interval_against_a_table():
    # Student's t for 4 degrees of freedom is 2.776
    differences = [.1, .3, .2, .4, .0]
    mean, half = interval(differences)
    assert mean == pytest.approx(.2) and half == pytest.approx(2.776 * np.sqrt(.025) / np.sqrt(5), rel=1e-3)
    assert interval([.3])[1] == float('inf')


def test_differences_are_paired_by_seed():
    one, two = row('a', {0: 20., 1: 30., 2: 25.}), row('b', {2: 26., 1: 30.5})
    assert paired(two, one, ('psnr', 'val')) == [.5, 1.]


def test_table_and_plot():
    rows = [row('backbone', {0: 20., 1: 30., 2: 25.}), row('memory', {0: 20.5, 1: 30.5, 2: 25.6}),
            row('shuffled', {0: 20.5, 1: 29., 2: 25.1}), row('once', {0: 21.})]  # yapf: disable
    text = table('plan', [*rows, Row('never', {}, 1, 1)], find_baseline(rows, 'backbone'))
    assert '| backbone | 3 | 1,234 | 5.000 G | 2 | 25.000 ± 5.000 |' in text
    assert '| memory | psnr | 3 | +0.533 | +0.390 to +0.677 | above zero |' in text
    assert '| shuffled | psnr | 3 | -0.133 | -2.063 to +1.796 | **includes zero** |' in text
    assert '| once | psnr | 1 | +1.000 |  | one seed alone says nothing |' in text
    assert '| memory | 0.500 |' in text and 'No run is finished of: never.' in text
    figure = draw('plan', rows, rows[0])
    assert len(figure.axes) == 2 and len(figure.axes[0].get_yticklabels()) == 4


def test_baseline_by_the_end_of_its_name():
    rows = [Row(v, {}, 0, 0) for v in ('train_RICE1_widened', 'train_RICE1_memory')]
    assert find_baseline(rows, 'widened') is rows[0]
    with pytest.raises(UsageError, match='0 variants'):
        find_baseline(rows, 'wide')


def test_macs_of_a_convolution_and_of_memnet():
    conv = nn.Conv2d(3, 5, 3, padding=1)
    assert count_macs(conv) == 256 * 256 * 3 * 5 * 9
    net = MemNet(num_feat=4, num_block=1, num_recursion=1)
    assert count_macs(net) == 256 * 256 * (4 * 9 + 2 * 16 * 9 + 8 * 4 + 4 * 9)
    assert all(p.device.type == 'cpu' and p.requires_grad for p in net.parameters()) and torch.is_grad_enabled()


def test_state_of_a_run_survives_a_damaged_file(tmp_path):
    run = run_of('a', 0, tmp_path)
    os.makedirs(tmp_path / 'runs')
    Path(run.file('json')).write_text('{"cpu_')
    assert run.state() == dict(cpu_seconds=0., finished=False)
    Path(run.file('json')).write_text(json.dumps(dict(cpu_seconds=3., finished=True)))
    assert run.state()['cpu_seconds'] == 3. and not run.finished()


def test_written_options_are_what_was_asked(fake_training, tmp_path):
    run = run_of('a', 4, tmp_path)
    train_all([run])
    assert load_yaml(run.file('yml')) == run.opt
