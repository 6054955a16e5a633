"""A run that is stopped anywhere and resumed ends with the same bits as the run that was never stopped."""
import numpy as np
import os
import pytest
import shutil
import signal
import torch
from os import path as osp

from memnet_basicsr.engine.stop import StopRequest
from tests.test_engine.tiny_runs import (assert_same, assert_same_run, load, options, read_metrics, write_images,
                                         write_options)

# saves and validations at the same iterations, and at others; both schedules; with and without average and workers
VARIANTS = {
    'together':
    dict(datasets__train__num_worker_per_gpu=2),
    'apart':
    dict(
        val__val_freq=4,
        logger__save_checkpoint_freq=7,
        train__ema_decay=None,
        train__scheduler={
            'type': 'MultiStepLR',
            'milestones': [8, 15],
            'gamma': 0.5
        }),
}
LAST = {'together': 18, 'apart': 14}


@pytest.fixture(scope='session')
def never_stopped(server, tmp_path_factory):
    """Folders of the uninterrupted runs."""
    folders = {}
    for name, changes in VARIANTS.items():
        folders[name] = tmp_path_factory.mktemp(name)
        write_images(folders[name])
        write_options(folders[name], options(**changes))
        assert server.run(folders[name]) == 0, (folders[name] / 'log').read_text()
    return folders


@pytest.fixture
def prepared(never_stopped, tmp_path):
    """A folder like that of an uninterrupted run, before it."""

    def prepare(variant):
        write_options(tmp_path, options(**VARIANTS[variant]))
        os.symlink(never_stopped[variant] / 'pics', tmp_path / 'pics')
        return never_stopped[variant], tmp_path

    return prepare


def test_uninterrupted_run_is_complete(never_stopped):
    metrics = read_metrics(never_stopped['together'])
    # the last validation is labelled total_iter
    assert [(v['iter'], v['dataset']) for v in metrics] == [(i, d) for i in (6, 12, 18, 20) for d in ('v1', 'v2')]
    assert list(metrics[0]) == ['iter', 'dataset', 'psnr', 'ssim'] and list(metrics[1]) == ['iter', 'dataset', 'psnr']
    assert [v['iter'] for v in read_metrics(never_stopped['apart'])] == [v for i in range(4, 21, 4) for v in (i, i)]
    best = load(never_stopped['together'], 'training_states/18.state')['memnet_basicsr']['best_metric_results']
    for name in ('v1', 'v2'):
        values = {v['psnr']: v['iter'] for v in metrics if v['dataset'] == name and v['iter'] <= 18}
        assert best[name]['psnr'] == dict(better='higher', val=max(values), iter=values[max(values)])


@pytest.mark.parametrize(
    'variant, place, count, when',
    [
        ('together', 'step', 8, 'after'),  # middle of an epoch, between two checkpoints
        ('apart', 'step', 16, 'before'),
        ('together', 'write', 3, 'before'),  # a network is written and not yet renamed
        ('together', 'write', 4, 'before'),  # the network of 12 is there, its state is not
        ('apart', 'state', 2, 'after'),
        ('together', 'image', 8, 'before'),  # second validation of the first set
        ('together', 'image', 22, 'after'),  # last validation
        ('apart', 'line', 4, 'after'),  # the log is further than the state
    ])
def test_kill_at(server, prepared, variant, place, count, when):
    whole, folder = prepared(variant)
    assert server.run(folder, hook=['send_signal', place, count, when]) == -signal.SIGKILL
    other_workers = {'together': 0, 'apart': 1}  # any number of them gives the same samples
    changes = {**VARIANTS[variant], 'datasets__train__num_worker_per_gpu': other_workers[variant]}
    write_options(folder, options(**changes))
    assert server.run(folder, '-opt', 't.yml', '--auto_resume') == 0, (folder / 'log').read_text()
    assert_same_run(whole, folder, LAST[variant])


@pytest.mark.parametrize(
    'variant, place, count, when, number, saved',
    [
        ('together', 'step', 8, 'after', signal.SIGTERM, 8),
        ('apart', 'step', 16, 'before', signal.SIGINT, 16),
        ('together', 'log', 3, 'before', signal.SIGINT, 15),
        ('together', 'image', 8, 'before', signal.SIGTERM,
         12),  # validation of 12, which then waits for the resumed run
        ('apart', 'image', 10, 'after', signal.SIGTERM, 8),  # no checkpoint was to be here
        ('together', 'image', 22, 'before', signal.SIGTERM, 20),
        ('together', 'image', 14, 'before', signal.SIGINT, 18),  # the state is completed when the run is resumed
    ])
def test_sigterm_and_ctrl_c_save_before_leaving(server, prepared, variant, place, count, when, number, saved):
    whole, folder = prepared(variant)
    # workers get the signal too, as from a scheduler or a terminal
    assert server.run(folder, hook=['send_signal', place, count, when, int(number)]) == 128 + number
    log = (folder / 'log').read_text()
    assert f'Stopped by signal {int(number)} after iteration {saved}: state saved' in log
    assert 'Traceback' not in log
    assert osp.isfile(folder / f'experiments/run/training_states/{saved}.state')
    assert server.run(folder, '-opt', 't.yml', '--auto_resume') == 0, (folder / 'log').read_text()
    assert_same_run(whole, folder, LAST[variant])


@pytest.mark.parametrize('workers', [0, 2])
def test_prefetching_and_new_workers_change_nothing(server, prepared, workers):
    """Workers stay from epoch to epoch unless the option file says otherwise."""
    whole, folder = prepared('together')
    changes = dict(datasets__train__prefetch_mode='cpu', datasets__train__num_worker_per_gpu=workers)
    if workers:
        changes['datasets__train__persistent_workers'] = False
    write_options(folder, options(**changes))
    assert server.run(folder, hook=['send_signal', 'step', 8]) == -signal.SIGKILL, (folder / 'log').read_text()
    assert server.run(folder, '-opt', 't.yml', '--auto_resume') == 0, (folder / 'log').read_text()
    assert_same_run(whole, folder, LAST['together'])


def test_second_ctrl_c_ends_at_once():
    handlers = {v: signal.getsignal(v) for v in (signal.SIGTERM, signal.SIGINT)}
    try:
        stop = StopRequest()
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.signal == signal.SIGINT == stop.agreed(None, False)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_signal_to_all_processes_from_outside(server, prepared, number):
    """A scheduler signals the loader's workers too; they must not take the run down before it has saved."""
    whole, folder = prepared('together')
    pid = server.start(folder, hook=['pause', 'step', 8])
    while not osp.isfile(folder / 'paused'):
        assert server.wait(pid, 0.02) is None, (folder / 'log').read_text()
    os.killpg(pid, number)
    assert server.wait(pid) == 128 + number, (folder / 'log').read_text()
    assert f'Stopped by signal {int(number)} after iteration 8: state saved' in (folder / 'log').read_text()
    assert load(folder, 'training_states/8.state')['iter'] == 8
    assert server.run(folder, '-opt', 't.yml', '--auto_resume') == 0, (folder / 'log').read_text()
    assert_same_run(whole, folder, LAST['together'])


def test_ten_kills_one_after_another(server, prepared):
    whole, folder = prepared('together')
    rng = np.random.RandomState(0)
    saved, total = 0, 20
    # the first kill comes after the first checkpoint: BasicSR archives a run without one, two in a second clash
    for count in [7, *rng.randint(1, 10, 9)]:
        hook = ['send_signal', 'step', min(int(count), total - saved), rng.choice(['before', 'after'])]
        assert server.run(folder, '-opt', 't.yml', '--auto_resume', hook=hook) == -signal.SIGKILL
        saved = max(int(v.split('.')[0]) for v in os.listdir(folder / 'experiments/run/training_states'))
    assert saved >= 12, 'the kills left no progress to resume from'
    assert server.run(folder, '-opt', 't.yml', '--auto_resume') == 0, (folder / 'log').read_text()
    assert_same_run(whole, folder, LAST['together'])


def test_damaged_newest_state_is_skipped_with_a_warning(server, prepared):
    whole, folder = prepared('apart')
    assert server.run(folder) == 0
    newest = folder / 'experiments/run/training_states/14.state'
    newest.write_bytes(newest.read_bytes()[:1000])
    assert server.run(folder, '-opt', 't.yml', '--auto_resume', log='log2') == 0, (folder / 'log2').read_text()
    log = (folder / 'log2').read_text()
    assert 'Resuming training from epoch: 2, iter: 7' in log
    assert f'{newest} is damaged' in log and 'trying an older training state' in log
    file = sorted((folder / 'experiments/run').glob('train_run_*.log'))[-1]
    assert f'{newest} is damaged' in file.read_text()
    assert_same_run(whole, folder, LAST['apart'])


def test_missing_network_of_newest_state_is_skipped(server, prepared):
    whole, folder = prepared('apart')
    assert server.run(folder) == 0
    os.remove(folder / 'experiments/run/models/net_g_14.pth')
    assert server.run(folder, '-opt', 't.yml', '--auto_resume', log='log2') == 0
    assert 'net_g_14.pth does not exist; trying an older training state' in (folder / 'log2').read_text()
    assert_same_run(whole, folder, LAST['apart'])


def test_resume_without_manual_seed(server, prepared):
    """The seed that was drawn is part of the state."""
    _, folder = prepared('apart')
    opt = options(**VARIANTS['apart'])
    del opt['manual_seed']
    write_options(folder, opt)
    assert server.run(folder, hook=['seed', 1]) == 0
    shutil.copytree(folder / 'experiments', folder / 'whole/experiments')
    os.remove(folder / 'experiments/run/training_states/14.state')
    assert server.run(folder, '-opt', 't.yml', '--auto_resume', hook=['seed', 2]) == 0, (folder / 'log').read_text()
    assert_same_run(folder / 'whole', folder, 14)


def test_state_of_stock_basicsr(server, prepared):
    """A run that SRModel began goes on in RestorationModel from the very weights, moments and learning rate."""
    _, folder = prepared('apart')
    stock = dict(
        model_type='SRModel',
        network_g={
            'type': 'TinyNetForTests',
            'norm': True
        },
        train__optim_g={
            'type': 'Adam',
            'lr': 1e-3
        },
        train__pixel_opt={'type': 'L1Loss'},
        datasets__val_2=None,
        val__quantize=None,
        val__metrics={'psnr': {
            'type': 'calculate_psnr',
            'crop_border': 0
        }})
    changes = {**VARIANTS['apart'], **stock, 'train__ema_decay': 0.9}
    write_options(folder, options(**changes))
    assert server.run(folder) == 0, (folder / 'log').read_text()
    os.remove(folder / 'experiments/run/training_states/14.state')
    before = load(folder, 'training_states/7.state')
    assert 'memnet_basicsr' not in before
    write_options(folder, options(**{**changes, 'model_type': 'RestorationModel', 'train__total_iter': 8}))
    assert server.run(
        folder, '-opt', 't.yml', '--auto_resume', log='log2',
        hook=['record_resumed']) == 0, (folder / 'log2').read_text()
    log = (folder / 'log2').read_text()
    assert 'Resuming training from epoch: 2, iter: 7' in log
    assert 'was written by BasicSR and has no random states or best metrics' in log
    resumed = torch.load(folder / 'resumed.pth', weights_only=True)
    saved = load(folder, 'models/net_g_7.pth')
    assert_same(dict(resumed['params']), dict(saved['params']))
    assert_same(dict(resumed['params_ema']), dict(saved['params_ema']))
    assert_same(resumed['optimizer'], before['optimizers'][0])
    assert resumed['scheduler']['last_epoch'] == before['schedulers'][0]['last_epoch']
    # what we save in turn, SRModel loads
    write_options(folder, options(**{**changes, 'train__total_iter': 20}))
    assert server.run(folder, '-opt', 't.yml', '--auto_resume', log='log3') == 0, (folder / 'log3').read_text()
