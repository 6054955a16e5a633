"""Fresh virtual environments with the plug-in, BasicSR's source archive, and tiny runs; shared by the whole suite."""
import copy
import cv2
import json
import logging
import numpy as np
import os
import pytest
import shutil
import signal
import subprocess
import sys
import sysconfig
import tarfile
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DEPS = Path(sysconfig.get_path('purelib'))  # torch and all that; its .pth files are not read from another environment


def clean_env(**more):
    """The environment of a user who has set nothing, on a machine without a GPU."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(('PYTHON', 'MEMNET_', 'RANK', 'WORLD_', 'LOCAL_'))}
    env.update(OMP_NUM_THREADS='1', COLUMNS='200', CUDA_VISIBLE_DEVICES='')
    return {**env, **more}


def run(*command, cwd, timeout=200, **env):
    """Run a command; nothing of this process's settings for Python reaches it, and nothing of it stays behind."""
    command = [str(v) for v in command]
    with subprocess.Popen(command, cwd=cwd, env=clean_env(**env), text=True, start_new_session=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:  # yapf: disable
        try:
            stdout, stderr = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise AssertionError(f'{command} took more than {timeout} s: {process.communicate()}') from None
    return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)


class Environment:
    """A virtual environment with BasicSR in it; what BasicSR needs comes from the running Python's site-packages."""

    def __init__(self, folder):
        subprocess.run([sys.executable, '-m', 'venv', '--without-pip', folder], check=True)
        self.python = folder / 'bin' / 'python'
        self.site_packages = next(folder.glob('lib/python*')) / 'site-packages'
        (self.site_packages / 'dependencies.pth').write_text(f'{DEPS}\n')
        precedence = DEPS / 'distutils-precedence.pth'  # of setuptools, which users have: it brings distutils
        if precedence.is_file() and sys.version_info >= (3, 12):
            (self.site_packages / precedence.name).write_text(precedence.read_text())
        for path in DEPS.glob('basicsr*'):
            shutil.copytree(path, self.site_packages / path.name)

    def __call__(self, *args, cwd, **env):
        return run(self.python, *args, cwd=cwd, **env)

    def pip(self, *args, cwd, **env):
        result = run(sys.executable, '-m', 'pip', '--python', self.python, *args, cwd=cwd, **env)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout + result.stderr

    def install(self, *args, cwd, **env):
        return self.pip('install', '--no-deps', '--no-build-isolation', '--no-index', *args, cwd=cwd, **env)

    def files(self):
        return {str(v.relative_to(self.site_packages)) for v in self.site_packages.rglob('*') if v.is_file()}


def copy_project(target):
    """What is built, so that a build leaves nothing in the working tree."""
    target.mkdir()
    for path in [*ROOT.glob('*.py'), *ROOT.glob('*.pth'), *ROOT.glob('*.toml'), ROOT / 'README.md', ROOT / 'LICENSE']:
        shutil.copy(path, target)
    for name in ('memnet_basicsr', 'options', 'scripts'):
        shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns('__pycache__'))
    return target


@pytest.fixture
def log(caplog, monkeypatch):
    """Lines of BasicSR's logger, whether or not another test has set it up, which stops it from passing them on."""
    logger = logging.getLogger('basicsr')
    monkeypatch.setattr(logger, 'propagate', False)
    logger.addHandler(caplog.handler)
    caplog.set_level(logging.INFO, 'basicsr')
    yield caplog
    logger.removeHandler(caplog.handler)


@pytest.fixture(scope='session')
def run_command():
    return run


@pytest.fixture(scope='session')
def new_environment(tmp_path_factory):
    return lambda: Environment(tmp_path_factory.mktemp('environment') / 'venv')


@pytest.fixture(scope='session')
def new_project(tmp_path_factory):
    return lambda: copy_project(tmp_path_factory.mktemp('project') / 'source')


@pytest.fixture(scope='session')
def wheel_environment(new_environment, new_project):
    """After `pip install .`; not to be changed."""
    environment = new_environment()
    environment.source = new_project()
    environment.install('.', cwd=environment.source)
    return environment


@pytest.fixture(scope='session')
def editable_environment(new_environment, new_project):
    """After `pip install -e .`; not to be changed."""
    environment = new_environment()
    environment.install('-e', '.', cwd=new_project())
    return environment


@pytest.fixture(scope='session')
def basicsr_archive(tmp_path_factory):
    """The source archive of BasicSR 1.4.2 from the package index."""
    folder = tmp_path_factory.mktemp('archive')
    result = run(sys.executable, '-m', 'pip', 'download', '--no-deps', '--no-binary', 'basicsr',
                 '--no-build-isolation', 'basicsr==1.4.2', cwd=folder,
                 PYTHONPATH=ROOT / 'scripts' / 'basicsr_build')  # yapf: disable
    if result.returncode:
        pytest.skip(f'the package index gives no source of basicsr 1.4.2: {result.stderr.strip().splitlines()[-1]}')
    return next(folder.glob('*.tar.gz'))


@pytest.fixture(scope='session')
def basicsr_checkout(basicsr_archive, tmp_path_factory):
    """The archive, unpacked as a user has it."""
    folder = tmp_path_factory.mktemp('checkout')
    with tarfile.open(basicsr_archive) as f:
        f.extractall(folder, filter='data')
    return folder / 'basicsr-1.4.2'


@pytest.fixture(scope='session')
def images(tmp_path_factory):
    """A folder of 11 gray images of 24x24 pixels, all different."""
    folder = tmp_path_factory.mktemp('data') / 'images'
    folder.mkdir()
    for i in range(11):
        img = np.random.RandomState(i).randint(0, 256, (24, 24), dtype=np.uint8)
        cv2.imwrite(str(folder / f'p{i:02d}.png'), cv2.GaussianBlur(img, (0, 0), 1))
    return folder


@pytest.fixture
def options(images, tmp_path):
    """A run of a tiny MemNet over two iterations, as a nested dict to be changed."""
    train = dict(name='tiny', type='NoisyImageDataset', dataroot_gt=str(images), io_backend=dict(type='disk'),
                 sigma=50, gt_size=12, use_hflip=True, use_rot=True, num_worker_per_gpu=0, batch_size_per_gpu=2,
                 dataset_enlarge_ratio=1)  # yapf: disable
    return copy.deepcopy(dict(
        name='tiny_run', model_type='RestorationModel', scale=1, num_gpu=0, manual_seed=0, datasets=dict(train=train),
        network_g=dict(type='MemNet', num_in_ch=1, num_feat=4, num_block=1, num_recursion=1),
        path=dict(pretrain_network_g=None, strict_load_g=True, resume_state=None),
        train=dict(optim_g=dict(type='Adam', lr=1e-3), total_iter=2, warmup_iter=-1,
                   scheduler=dict(type='MultiStepLR', milestones=[1000], gamma=0.5),
                   pixel_opt=dict(type='MultiSupervisedLoss', loss_weight=1.0)),
        logger=dict(print_freq=1, save_checkpoint_freq=1000, use_tb_logger=False)))  # yapf: disable


@pytest.fixture
def write_options(tmp_path):
    """Write an option file (JSON is YAML)."""

    def write(opt, name='options.yml'):
        path = tmp_path / name
        path.write_text(json.dumps(opt, indent=1))
        return path

    return write


@pytest.fixture
def pipeline(tmp_path, monkeypatch, write_options):
    """Call BasicSR's train_pipeline or test_pipeline in this process, below tmp_path, and clear away what it leaves."""
    import torch

    from basicsr.test import test_pipeline
    from basicsr.train import train_pipeline
    from basicsr.utils import logger as stock_logger
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'excepthook', sys.excepthook)
    monkeypatch.setattr(threading, 'excepthook', threading.excepthook)
    handlers = {v: signal.getsignal(v) for v in (signal.SIGINT, signal.SIGTERM)}
    stock_logger.initialized_logger.clear()  # a test that only built a dataset leaves a logger without a file

    def call(opt, *args, test=False):
        path = write_options(opt) if isinstance(opt, dict) else opt
        monkeypatch.setattr(sys, 'argv', ['train.py', '-opt', str(path), *args])
        (test_pipeline if test else train_pipeline)(str(tmp_path))

    yield call
    for number, handler in handlers.items():
        signal.signal(number, handler)
    stock_logger.initialized_logger.clear()
    for handler in logging.getLogger('basicsr').handlers[:]:
        logging.getLogger('basicsr').removeHandler(handler)
        handler.close()
