"""Several processes on the CPU (gloo): the same training, the same figures, and an end when one of them dies."""
import contextlib
import glob
import json
import os
import pytest
import signal
import socket
import subprocess
import sys
import time

from tests.test_engine.fork_server import ROOT, TEST, TRAIN
from tests.test_engine.tiny_runs import assert_same_run, load, options, read_metrics, write_images, write_options

PLAIN = dict(
    network_g={'type': 'TinyNetForTests'},
    train__pixel_opt={'type': 'L1Loss'},
    train__ema_decay=None,
    datasets__val_2=None,
    datasets__train__batch_size_per_gpu=4)


@pytest.fixture
def run_ranks(server):
    """Run two processes as torchrun starts them, forked; gives their exit codes."""

    def run(folder, *args, hooks=(None, None), script=TRAIN, timeout=60):
        with socket.socket() as s:
            s.bind(('127.0.0.1', 0))
            port = s.getsockname()[1]
        pids = []
        for rank in (0, 1):
            env = dict(
                RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE='2', MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port))
            pids.append(
                server.start(
                    folder,
                    '-opt',
                    't.yml',
                    '--launcher',
                    'pytorch',
                    *args,
                    hook=hooks[rank],
                    env=env,
                    log=f'log{rank}',
                    script=script))
        return [server.wait(pid, timeout) for pid in pids]

    return run


def log_of(folder):
    return (folder / 'log0').read_text() + (folder / 'log1').read_text()


def weights(folder, name='latest'):
    return load(folder, f'models/net_g_{name}.pth')['params']


def largest_relative_difference(a, b):
    return max(((a[k] - b[k]).abs().max() / b[k].abs().max()).item() for k in a)


EDSR = {'type': 'EDSR', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 6, 'num_block': 2, 'upscale': 1}
BATCH_NORM = dict(datasets__train__batch_size_per_gpu=2)  # MemNet, averaged


@pytest.mark.parametrize('changes, hook, bound', [
    (dict(network_g=EDSR, train__optim_g={'type': 'Adam', 'lr': 1e-3}), None, 1e-5),
    (dict(train__optim_g={'type': 'SGD', 'lr': 0.1, 'momentum': 0.9}, train__grad_clip={'norm': 0.5}), None, 1e-5),
    # in fp32 1e-3: Adam divides small gradients by their size and so amplifies their rounding
    (dict(network_g={**EDSR, 'num_feat': 16, 'num_block': 4}, train__optim_g={'type': 'Adam', 'lr': 1e-3}), ['double'],
     1e-12),
])  # yapf: disable
def test_two_processes_with_half_the_batch_are_one(server, run_ranks, tmp_path, changes, hook, bound):
    """100 iterations, no BatchNorm; the halves in two parts each (no_sync)."""
    common = {
        **PLAIN, 'train__total_iter': 100,
        'train__scheduler': {
            'type': 'CosineAnnealingRestartLR',
            'periods': [100]
        },
        'val__val_freq': 100,
        'logger__save_checkpoint_freq': 100,
        **changes
    }
    folders = [tmp_path / v for v in ('one', 'two')]
    for folder, processes in zip(folders, (1, 2)):
        folder.mkdir()
        write_images(folder)
        opt = options(**common)
        opt['datasets']['train']['batch_size_per_gpu'] = 4 // processes
        if 'network_g' in changes:
            for block in opt['datasets'].values():
                block['color'] = 'rgb'
        opt['train']['accumulate'] = processes
        write_options(folder, opt)
    assert server.run(folders[0], hook=hook) == 0, (folders[0] / 'log').read_text()
    assert run_ranks(folders[1], hooks=(hook, hook)) == [0, 0], log_of(folders[1])
    assert 0 < largest_relative_difference(weights(folders[1]), weights(folders[0])) < bound
    (one, ), (two, ) = read_metrics(folders[0]), read_metrics(folders[1])
    assert two['psnr'] == pytest.approx(one['psnr'], rel=1e-4) and two['iter'] == one['iter']


@pytest.fixture(scope='session')
def two_processes(server, tmp_path_factory):
    folder = tmp_path_factory.mktemp('two')
    write_images(folder)
    write_options(folder, options(**BATCH_NORM))
    return folder


def test_sharded_validation_gives_the_figures_of_one_process(server, run_ranks, tmp_path, two_processes):
    """Buffers are those of rank 0, which are the saved ones: one process finds the very same figures with them."""
    assert run_ranks(two_processes) == [0, 0], log_of(two_processes)
    lines = {(v['iter'], v['dataset']): v for v in read_metrics(two_processes)}
    assert len(lines) == 8
    train_opt = options(**BATCH_NORM)
    for iteration in (6, 18):
        network = two_processes / f'experiments/run/models/net_g_{iteration}.pth'
        opt = {
            **train_opt, 'name': f'test{iteration}',
            'path': {
                'pretrain_network_g': str(network),
                'param_key_g': 'params_ema',
                'strict_load_g': True
            },
            'datasets': {
                f'test_{i}': train_opt['datasets'][f'val_{i}']
                for i in (1, 2)
            }
        }
        opt['val']['per_image_csv'] = True
        del opt['train'], opt['logger']
        results = []
        for processes in (1, 2):
            folder = tmp_path / f'{iteration}_{processes}'
            folder.mkdir()
            os.symlink(two_processes / 'pics', folder / 'pics')
            write_options(folder, opt)
            if processes == 1:
                assert server.run(folder, '-opt', 't.yml', script=TEST) == 0, (folder / 'log').read_text()
            else:
                assert run_ranks(folder, script=TEST) == [0, 0], log_of(folder)
            results.append([(folder / f'results/test{iteration}' / v).read_text()
                            for v in ('metrics.jsonl', f'v1_test{iteration}.csv', f'v2_test{iteration}.csv')])
        assert results[0] == results[1]
        for line in results[0][0].splitlines():
            figures = json.loads(line)
            figures['iter'] = iteration
            assert figures == lines[iteration, figures['dataset']]


def test_two_processes_resume_exactly_and_leave_together(server, run_ranks, tmp_path, two_processes):
    """Only rank 1 gets the signal; both save and leave."""
    os.symlink(two_processes / 'pics', tmp_path / 'pics')
    write_options(tmp_path, options(**BATCH_NORM))
    number = int(signal.SIGTERM)
    codes = run_ranks(tmp_path, hooks=(None, ['send_signal', 'step', 8, 'after', number]))
    assert codes == [128 + number] * 2, log_of(tmp_path)
    # in a validation
    codes = run_ranks(tmp_path, '--auto_resume', hooks=(None, ['send_signal', 'image', 1, 'before', number]))
    assert codes == [128 + number] * 2, log_of(tmp_path)
    assert load(tmp_path, 'training_states/12.state')['memnet_basicsr']['due'] == ['v1', 'v2']
    assert run_ranks(tmp_path, '--auto_resume') == [0, 0], log_of(tmp_path)
    assert_same_run(two_processes, tmp_path, 18)


DIES = """
import os
import signal
import sys
import runpy
import torch
import memnet_basicsr
from memnet_basicsr.models.restoration_model import RestorationModel

torch.set_num_threads(1)
stock = RestorationModel.optimize_parameters

def optimize_parameters(self, current_iter):
    if current_iter == 8 and os.environ['RANK'] == '1':
        os.kill(os.getpid(), signal.SIGKILL)
    stock(self, current_iter)

RestorationModel.optimize_parameters = optimize_parameters
sys.argv[0] = TRAIN
runpy.run_path(TRAIN, run_name='__main__')
"""


def processes_in(folder):
    found = []
    for path in glob.glob('/proc/[0-9]*/cwd'):
        with contextlib.suppress(OSError):  # it has ended, or is not ours
            if os.readlink(path) == str(folder):
                found.append(path)
    return found


def test_torchrun_ends_when_a_process_is_killed_and_the_run_resumes(server, run_ranks, tmp_path, two_processes):
    """Its workers end too."""
    os.symlink(two_processes / 'pics', tmp_path / 'pics')
    write_options(tmp_path, options(**BATCH_NORM, datasets__train__num_worker_per_gpu=2))
    (tmp_path / 'dies.py').write_text(DIES.replace('TRAIN', repr(TRAIN)))
    command = [
        sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2', 'dies.py', '-opt', 't.yml',
        '--launcher', 'pytorch'
    ]
    env = dict(os.environ, OMP_NUM_THREADS='1', PYTHONPATH=ROOT, CUDA_VISIBLE_DEVICES='')
    with open(tmp_path / 'log', 'w') as log:
        # starting takes its time; the death itself must not cost a minute
        code = subprocess.run(command, cwd=tmp_path, env=env, stdout=log, stderr=log, timeout=90).returncode
    assert code == 1, (tmp_path / 'log').read_text()
    end = time.monotonic() + 30
    while left := processes_in(tmp_path):
        assert time.monotonic() < end, left
    assert sorted(os.listdir(tmp_path / 'experiments/run/training_states')) == ['6.state']
    assert run_ranks(tmp_path, '--auto_resume') == [0, 0], log_of(tmp_path)
    assert_same_run(two_processes, tmp_path, 18)


def test_the_other_processes_end_without_torchrun_too(run_ranks, tmp_path, two_processes):
    """As under Slurm: whoever is left finds the connection closed."""
    os.symlink(two_processes / 'pics', tmp_path / 'pics')
    write_options(tmp_path, options(**BATCH_NORM))
    codes = run_ranks(tmp_path, hooks=(None, ['send_signal', 'step', 8, 'before']))
    assert codes == [1, -signal.SIGKILL], log_of(tmp_path)


def test_a_bad_loss_in_one_process_skips_the_step_in_all(run_ranks, tmp_path, two_processes):
    os.symlink(two_processes / 'pics', tmp_path / 'pics')
    write_options(tmp_path, options(**BATCH_NORM, train__total_iter=6))
    assert run_ranks(tmp_path, hooks=(None, ['poison', 3])) == [0, 0], log_of(tmp_path)
    assert 'iter 3: the gradient is not finite' in (tmp_path / 'log0').read_text()
    state = load(tmp_path, 'training_states/6.state')
    assert state['memnet_basicsr']['step']['skipped'] == 1
    assert state['optimizers'][0]['state'][0]['step'] == 5


def test_sync_batchnorm_needs_gpus(run_ranks, tmp_path, two_processes):
    os.symlink(two_processes / 'pics', tmp_path / 'pics')
    write_options(tmp_path, options(**BATCH_NORM, train__sync_batchnorm=True))
    assert run_ranks(tmp_path) == [2, 2]
    line = 'train: sync_batchnorm: not supported on the CPU'
    assert line in (tmp_path / 'log0').read_text().splitlines()[-1]


def test_without_manual_seed_processes_agree_on_one(run_ranks, tmp_path, two_processes):
    os.symlink(two_processes / 'pics', tmp_path / 'pics')
    opt = options(**BATCH_NORM, train__total_iter=6)
    del opt['manual_seed']
    write_options(tmp_path, opt)
    assert run_ranks(tmp_path, hooks=(['seed', 1], ['seed_and_record', 2])) == [0, 0], log_of(tmp_path)
    seed = load(tmp_path, 'training_states/6.state')['memnet_basicsr']['manual_seed']
    assert (tmp_path / 'seed').read_text() == str(seed)
