"""Resuming with another option file: what takes effect, what stops; and states that cannot be resumed."""
import math
import os
import pytest
import shutil
import torch

from memnet_basicsr.engine import checkpoint
from memnet_basicsr.engine.optim import build_optimizer, build_scheduler, resume_optimizer, resume_scheduler
from memnet_basicsr.errors import UsageError
from tests.test_engine.tiny_runs import load, options, write_images, write_options

LR = 0.1


def trained(optimizer_type, scheduler, steps, **kwargs):
    """An optimizer and its schedule after some steps; BasicSR steps the schedule before every step but the first."""
    param = torch.nn.Parameter(torch.ones(2))
    optimizer = build_optimizer(optimizer_type, [param], LR, **kwargs)
    schedule = build_scheduler(**scheduler, optimizer=optimizer)
    for i in range(steps):
        if i:
            schedule.step()
        param.grad = torch.ones(2)
        optimizer.step()
    return optimizer, schedule


MULTI_STEP = {'scheduler_type': 'MultiStepLR', 'milestones': [4, 8], 'gamma': 0.5}


@pytest.mark.parametrize(
    'scheduler, expected',
    [
        ({'scheduler_type': 'MultiStepLR', 'milestones': [2, 3, 7], 'gamma': 0.1}, LR * 0.1**2),
        ({'scheduler_type': 'TrueCosineAnnealingLR', 'T_max': 10}, LR * (1 + math.cos(math.pi * 0.6)) / 2),
        ({'scheduler_type': 'CosineAnnealingRestartLR', 'periods': [12], 'eta_min': 0.02},
         0.02 + (LR - 0.02) * (1 + math.cos(math.pi * 0.5)) / 2),
        ({'scheduler_type': 'CosineAnnealingRestartCyclicLR', 'periods': [4, 4], 'restart_weights': [1, 0.5],
          'eta_mins': [0, 0.01]}, 0.01 + 0.5 * (LR - 0.01) * (1 + math.cos(math.pi * 0.5)) / 2),
    ])  # yapf: disable
def test_another_schedule_takes_effect_at_the_same_iteration(scheduler, expected):
    old_optimizer, old_schedule = trained('SGD', MULTI_STEP, 7)
    optimizer, schedule = trained('SGD', scheduler, 0)
    resume_optimizer(optimizer, old_optimizer.state_dict())
    resume_scheduler(schedule, old_schedule.state_dict())
    assert schedule.last_epoch == 6
    assert optimizer.param_groups[0]['lr'] == pytest.approx(expected, rel=1e-12)


def test_the_same_schedule_goes_on_from_the_saved_learning_rate():
    old_optimizer, old_schedule = trained('SGD', MULTI_STEP, 7)
    old_optimizer.param_groups[0]['lr'] = 0.123
    optimizer, schedule = trained('SGD', MULTI_STEP, 0)
    resume_optimizer(optimizer, old_optimizer.state_dict())
    resume_scheduler(schedule, old_schedule.state_dict())
    assert optimizer.param_groups[0]['lr'] == 0.123 and schedule.last_epoch == 6


def test_moments_are_saved_and_hyperparameters_are_those_of_the_option_file():
    old, old_schedule = trained('AdamW', MULTI_STEP, 3, weight_decay=0.1)
    new = build_optimizer('AdamW', [torch.nn.Parameter(torch.ones(2))], 0.2, weight_decay=0.3)
    schedule = build_scheduler(**MULTI_STEP, optimizer=new)
    resume_optimizer(new, old.state_dict())
    resume_scheduler(schedule, old_schedule.state_dict())
    group, = new.param_groups
    assert (group['lr'], group['initial_lr'], group['weight_decay']) == (0.2, 0.2, 0.3)
    state, = new.state.values()
    assert state['step'] == 3 and torch.equal(state['exp_avg'], next(iter(old.state.values()))['exp_avg'])


@pytest.mark.parametrize('names', [('Adam', 'SGD'), ('SGD', 'AdamW'), ('AdamW', 'Muon')])
def test_state_of_another_optimizer(names):
    old, new = (trained(name, MULTI_STEP, 0)[0] for name in names)
    with pytest.raises(UsageError, match=f'does not fit optimizer {names[1]} .*pretrain_network_g'):
        resume_optimizer(new, old.state_dict())


# ---- runs -----------------------------------------------------------------------------------------------------------

SHORT = {
    'val': None,
    'datasets__val_1': None,
    'datasets__val_2': None,
    'train__total_iter': 6,
    'train__scheduler': {'type': 'CosineAnnealingRestartLR', 'periods': [6]},
    'train__warmup_iter': 2,
    'logger__print_freq': 1,
    'logger__save_checkpoint_freq': 3,
}  # yapf: disable
# twice the iterations: told, and needed by most of the runs below
LONGER = {'train__total_iter': 12, 'train__scheduler': {'type': 'CosineAnnealingRestartLR', 'periods': [12]}}


@pytest.fixture(scope='session')
def six(server, tmp_path_factory):
    """Folder of a run that has ended after six iterations."""
    folder = tmp_path_factory.mktemp('six')
    write_images(folder)
    write_options(folder, options(**SHORT))
    assert server.run(folder) == 0, (folder / 'log').read_text()
    return folder


@pytest.fixture
def resume(server, six, tmp_path):
    """Resume that run with changed options; gives the exit code and the output."""
    folder = tmp_path / 'run'
    shutil.copytree(six, folder)
    (folder / 'log').unlink()

    def call(**changes):
        write_options(folder, options(**{**SHORT, **changes}))
        code = server.run(folder, '-opt', 't.yml', '--auto_resume')
        return code, (folder / 'log').read_text()

    call.folder = folder
    return call


def test_more_iterations(resume):
    code, log = resume(**LONGER, logger__save_checkpoint_freq=4, datasets__train__num_worker_per_gpu=1)
    assert code == 0, log
    for line in ('train: total_iter: 6 then, 12 now', 'train: scheduler: periods: [6] then, [12] now',
                 'logger: save_checkpoint_freq: 3 then, 4 now', 'datasets: train: num_worker_per_gpu: 0 then, 1 now'):
        assert f'Changed since {resume.folder}/experiments/run/training_states/6.state: {line}\n' in log
    assert log.count('Changed since') == 4
    state = load(resume.folder, 'training_states/12.state')
    # iteration 12 is step 11 of the schedule
    lr = 1e-3 * (1 + math.cos(math.pi * 11 / 12)) / 2
    assert state['optimizers'][0]['param_groups'][0]['lr'] == pytest.approx(lr, rel=1e-9)
    before, after = (load(resume.folder, f'models/net_g_{i}.pth')['params'] for i in ('6', '8'))
    assert all((after[k] != before[k]).any() for k in after if before[k].is_floating_point())
    assert state['memnet_basicsr']['options']['train']['total_iter'] == 12  # to be compared next time


def test_schedule_of_a_model_of_basicsr(server, tmp_path):
    """Its states keep no options, and BasicSR goes on with the schedule of the state, or ends in a TypeError."""
    write_images(tmp_path)
    stock = {**SHORT, 'model_type': 'SRModel', 'network_g': {'type': 'TinyNetForTests'},
             'train__pixel_opt': {'type': 'L1Loss'}, 'train__optim_g': {'type': 'Adam', 'lr': 1e-3}}  # yapf: disable
    for total_iter in (6, 12):
        stock.update(
            train__total_iter=total_iter,
            train__scheduler={
                'type': 'CosineAnnealingRestartLR',
                'periods': [total_iter]
            })
        write_options(tmp_path, options(**stock))
        assert server.run(tmp_path, '-opt', 't.yml', '--auto_resume') == 0, (tmp_path / 'log').read_text()
    assert '6.state keeps no options' in (tmp_path / 'log').read_text()
    group, = load(tmp_path, 'training_states/12.state')['optimizers'][0]['param_groups']
    assert group['lr'] == pytest.approx(1e-3 * (1 + math.cos(math.pi * 11 / 12)) / 2)


def test_another_learning_rate(resume):
    code, log = resume(**LONGER, train__optim_g={'type': 'AdamW', 'lr': 0.5, 'weight_decay': 0.25})
    assert code == 0 and 'train: optim_g: lr: 0.001 then, 0.5 now' in log, log
    group, = load(resume.folder, 'training_states/12.state')['optimizers'][0]['param_groups']
    assert group['initial_lr'] == 0.5 and group['weight_decay'] == 0.25
    assert group['lr'] == pytest.approx(0.5 * (1 + math.cos(math.pi * 11 / 12)) / 2)


@pytest.mark.parametrize('changes, line', [
    (dict(datasets__train__batch_size_per_gpu=2),
     'datasets: train: batch_size_per_gpu: 4 samples per iteration of all processes then, 2 now'),
    (dict(manual_seed=4), 'manual_seed: 3 then, 4 now'),
    (dict(datasets__train__dataroot_gt='pics/val'), "datasets: train: dataroot_gt: 'pics/train' then, 'pics/val' now"),
    (dict(datasets__train__sigma=50), 'datasets: train: sigma: [30, 50] then, 50 now'),
    (dict(datasets__train__gray_prob=0.5, datasets__train__color='rgb', network_g={
        'type': 'MemNet', 'num_in_ch': 3, 'num_feat': 4, 'num_block': 2, 'num_recursion': 1}),
     'network_g: num_in_ch: 1 then, 3 now'),
    (dict(train__pixel_opt={'type': 'MultiSupervisedLoss', 'loss_weight': 2.}),
     'train: pixel_opt: loss_weight: 1.0 then, 2.0 now'),
    (dict(train__precision='bf16'), "train: precision: 'fp32' then, 'bf16' now"),
])  # yapf: disable
def test_another_run(resume, changes, line):
    """Batch, seed, data, network, loss: stops, and nothing is touched."""
    before = sorted(str(v) for v in resume.folder.rglob('experiments/**/*'))
    code, log = resume(**LONGER, **changes)
    state = f'{resume.folder}/experiments/run/training_states/6.state'
    assert code == 1 and f'{line} ({state}); change it back, or add `resume: {{allow_changes: true}}`' in log, log
    assert 'Traceback' not in log
    assert sorted(str(v) for v in resume.folder.rglob('experiments/**/*')) == before


def test_default_that_is_written_out_is_no_change(resume):
    code, log = resume(
        train__pixel_opt={'type': 'MultiSupervisedLoss', 'loss_weight': 1}, train__precision='fp32',
        network_g={'type': 'MemNet', 'num_in_ch': 1, 'num_feat': 4, 'num_block': 2, 'num_recursion': 1,
                   'supervise': 'all'})  # yapf: disable
    assert code == 0 and 'Changed since' not in log, log


def test_changes_are_allowed(resume):
    """With a smaller batch an epoch is longer: if epochs were counted on, the run would end at once."""
    code, log = resume(**LONGER, datasets__train__batch_size_per_gpu=1, resume={'allow_changes': True})
    line = 'batch_size_per_gpu: 4 samples per iteration of all processes then, 1 now (no longer the same run)'
    assert code == 0 and line in log, log
    assert load(resume.folder, 'training_states/12.state')['epoch'] == 0


def test_more_images(resume):
    shutil.copy(resume.folder / 'pics/train/p0.png', resume.folder / 'pics/train/q.png')
    code, log = resume(**LONGER)
    assert code == 1 and 'datasets: train: 6 images then, 7 now' in log, log


def test_another_optimizer(resume):
    code, log = resume(**LONGER, train__optim_g={'type': 'SGD', 'lr': 1e-3}, resume={'allow_changes': True})
    assert code == 1 and 'Traceback' not in log
    assert "train: optim_g: type: 'AdamW' then, 'SGD' now" in log and 'path: pretrain_network_g' in log


def test_fewer_iterations(resume):
    code, log = resume(train__total_iter=4)
    assert code == 1 and 'train: total_iter: 4 is below iteration 6 of' in log and 'Traceback' not in log, log


def test_state_without_options(resume):
    """States of earlier versions keep none."""
    path = resume.folder / 'experiments/run/training_states/6.state'
    state = checkpoint.load(str(path))
    for key in ('options', 'networks', 'batch_size', 'num_images'):
        del state['memnet_basicsr'][key]
    checkpoint.save_whole(state, str(path))
    code, log = resume(**LONGER, manual_seed=5)
    assert code == 0 and f'{path} keeps no options' in log, log
    assert load(resume.folder, 'training_states/12.state')['memnet_basicsr']['manual_seed'] == 3


# ---- states that cannot be resumed ----------------------------------------------------------------------------------


def empty(folder):
    torch.save({}, folder / 'training_states/6.state')
    return '6.state is not a training state: it has no epoch; its keys: none'


def other_content(folder):
    torch.save([1], folder / 'models/net_g_6.pth')
    return 'net_g_6.pth holds a list instead of a dictionary'


def state_as_network(folder):
    shutil.copy(folder / 'training_states/6.state', folder / 'models/net_g_6.pth')
    return 'net_g_6.pth has no params_ema or params'


def network_of_another_run(folder):
    shutil.copy(folder / 'models/net_g_3.pth', folder / 'models/net_g_6.pth')
    return 'net_g_6.pth is not the one that was saved with'


@pytest.mark.parametrize('damage', [empty, other_content, state_as_network, network_of_another_run])
def test_the_next_older_state_is_taken(resume, damage):
    text = damage(resume.folder / 'experiments/run')
    code, log = resume(**LONGER)
    assert code == 0 and text in log and 'trying an older training state' in log and ', iter: 3.' in log, log


def test_no_state_can_be_resumed(resume):
    """Starting at 0 would throw the run away."""
    folder = resume.folder / 'experiments/run/training_states'
    for name in os.listdir(folder):
        (folder / name).write_bytes(b'')
    code, log = resume(**LONGER)
    assert code == 1 and f'{folder}: none of the 2 training states can be resumed' in log and 'Traceback' not in log
    assert '6.state is damaged' in log or '6.state cannot be loaded' in log
