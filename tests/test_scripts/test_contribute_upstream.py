"""The pull-request series, made on BasicSR's source archive and on the checkout that BASICSR_CHECKOUT names.

BASICSR_LINT names the folder of other lint tools (those that BasicSR pins need Python 3.8), BASICSR_PYTHON38 a Python
3.8. All subprocesses run without the plug-in.
"""
import cv2
import importlib.util
import itertools
import numpy as np
import os
import pytest
import re
import shutil
import subprocess
import sys
import tarfile
import torch
from pathlib import Path

from basicsr.utils.registry import ARCH_REGISTRY

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location('contribute_upstream', ROOT / 'scripts' / 'contribute_upstream.py')
contribute = importlib.util.module_from_spec(spec)
spec.loader.exec_module(contribute)
BRANCHES = list(contribute.STEPS)

# A CPU build of torch may lie beside the CUDA build of torchvision, whose operators BasicSR does not use.
TORCHVISION = '''
import torch
library = torch.library.Library('torchvision', 'FRAGMENT')
for name in ('nms', 'qnms'):
    library.define(name + '(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')
'''

# Trains with every option file of the series, made small, and writes the results of the trained networks.
TRAIN = '''
import glob, os, sys, torch, yaml
from basicsr.archs import build_network
from basicsr.train import train_pipeline
from basicsr.utils.logger import initialized_logger
SMALL = dict(num_feat=8, num_block=2, num_recursion=2, scale_unetfeats=4, scale_orsnetfeats=4, num_cab=1)
for path in glob.glob('options/train/Mem*Net/*.yml') + glob.glob('options/train/MPRNet/*.yml'):
    with open(path) as f:
        opt = yaml.safe_load(f)
    name = opt['name']
    assert os.path.basename(path) == name + '.yml'
    opt.update(num_gpu=0)
    opt['logger'].update(use_tb_logger=False, print_freq=1)
    opt['train'].update(total_iter=3, warmup_iter=-1)
    opt['train']['optim_g']['type'] = 'Adam'  # 1.4.2 has no AdamW
    opt['val']['val_freq'] = 3
    net = opt['network_g']
    net.update({k: v for k, v in SMALL.items() if k in net or k == 'num_cab' and net['type'] != 'MemNet'})
    for phase, dataset in opt['datasets'].items():
        dataset.update(dataroot_gt=sys.argv[1], io_backend=dict(type='disk'))
        if 'dataroot_lq' in dataset:
            dataset.update(dataroot_lq=sys.argv[1])
        if phase == 'train':
            dataset.update(gt_size=16, num_worker_per_gpu=0, batch_size_per_gpu=2, dataset_enlarge_ratio=2)
    with open(name + '.yml', 'w') as f:
        yaml.safe_dump(opt, f)
    initialized_logger.clear()  # each run has a log file
    argv, sys.argv = sys.argv, ['train.py', '-opt', name + '.yml']
    train_pipeline('.')
    sys.argv = argv
    state = torch.load('experiments/' + name + '/models/net_g_latest.pth')
    state = state.get('params_ema', state['params'])
    trained = build_network(net).eval()
    trained.load_state_dict(state)
    img = torch.rand(1, 1 if net['type'] == 'MemNet' else 3, 13, 18)
    with torch.no_grad():
        outputs = [trained(img)] + ([trained.reconstruct(img)] if net['type'] == 'MemoryNet' else [])
    torch.save(dict(net=net, state=state, img=img, outputs=outputs), name + '.pth')
assert not [v for v in sys.modules if v.startswith('memnet_basicsr.')]
'''

# Imports BasicSR with stand-ins for the libraries, which need not be installed for this Python.
IMPORT = '''
import importlib.abc, importlib.machinery, sys, types
class Anything(type):
    def __getattr__(cls, name):
        return Thing
class Thing(metaclass=Anything):
    def __init__(self, *args, **kwargs):
        pass
    def __call__(self, function):
        return function
    def __getattr__(self, name):
        return Thing()
    def __setitem__(self, key, value):
        pass
class Module(types.ModuleType):
    __path__ = []
    def __getattr__(self, name):
        return Thing
class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    names = ('torch', 'torchvision', 'cv2', 'numpy', 'scipy', 'lmdb', 'PIL', 'tqdm', 'yaml', 'requests', 'skimage')
    def find_spec(self, name, path, target=None):
        return importlib.machinery.ModuleSpec(name, self) if name.split('.')[0] in self.names else None
    def create_module(self, spec):
        return Module(spec.name)
    def exec_module(self, module):
        pass
sys.meta_path.insert(0, Finder())
import basicsr
print(*sorted(v for v in sys.modules if v.startswith('basicsr.')))
'''


class Series:
    """A checkout with the series, on its last branch."""

    def __init__(self, folder, archive, shim):
        self.folder, self.base, self.shim = folder, 'master', shim
        self.is_archive = archive is not None
        if self.is_archive:
            with tarfile.open(archive) as f:
                f.extractall(folder.parent, filter='data')
            (folder.parent / 'basicsr-1.4.2').rename(folder)
            path = folder / 'basicsr' / 'data' / 'degradations.py'  # as on master, where it imports
            path.write_text(path.read_text().replace('transforms.functional_tensor', 'transforms.functional'))
            self.git('init', '--quiet', '--initial-branch', 'master')
        else:
            subprocess.run(['git', 'clone', '--quiet', os.environ['BASICSR_CHECKOUT'], folder], check=True)
            self.git('checkout', '--quiet', '-B', 'master')
            (folder / 'basicsr' / 'version.py').write_text("__version__ = '1.4.2'\n__gitsha__ = 'unknown'\n")
        self.git('config', 'user.name', 'test')
        self.git('config', 'user.email', 'test@example.com')
        if self.is_archive:
            self.git('add', '--all')
            self.git('commit', '--quiet', '--message', 'BasicSR 1.4.2')

    def git(self, *args):
        result = subprocess.run(['git', '-C', self.folder, *args], check=True, capture_output=True, text=True)
        return result.stdout.strip()

    def make(self):
        script = ROOT / 'scripts' / 'contribute_upstream.py'
        command = [sys.executable, script, '--series', '--basicsr', self.folder]
        return subprocess.run(command, capture_output=True, text=True)

    def files(self, *args):
        return self.git('diff', '--name-only', *args).splitlines()

    def python(self, run, *args):
        return run(
            sys.executable,
            *args,
            cwd=self.folder,
            MEMNET_BASICSR_AUTOLOAD='0',
            PYTHONDONTWRITEBYTECODE='1',
            PYTHONPATH=os.pathsep.join([str(self.folder), str(self.shim)]))


@pytest.fixture(scope='module', params=['archive', 'checkout'])
def series(request, tmp_path_factory):
    if request.param == 'checkout' and not os.environ.get('BASICSR_CHECKOUT'):
        pytest.skip('BASICSR_CHECKOUT does not name a checkout of BasicSR')
    archive = request.getfixturevalue('basicsr_archive') if request.param == 'archive' else None
    shim = tmp_path_factory.mktemp('shim')
    if torch.version.cuda is None:
        (shim / 'sitecustomize.py').write_text(TORCHVISION)
    result = Series(tmp_path_factory.mktemp('series') / 'BasicSR', archive, shim)
    result.made = result.make()
    assert result.made.returncode == 0, result.made.stdout + result.made.stderr
    assert result.git('branch', '--show-current') == 'master'
    result.git('checkout', '--quiet', BRANCHES[-1])
    return result


def test_branches_lie_on_top_of_each_other(series):
    below = series.base
    for name, commits in contribute.STEPS.items():
        titles = series.git('log', '--format=%s', '--reverse', f'{below}..{name}').splitlines()
        expected = [v.title.splitlines()[0] for v in commits]
        if series.is_archive:  # 1.4.2 has no self-ensemble
            expected = [v for v in expected if 'test_selfensemble' not in v]
        assert titles == expected
        assert not series.git('log', '--format=%s', f'{name}..{below}')
        below = name
    assert not series.is_archive or 'not in this checkout, skipped: LICENSE/README.md' in series.made.stdout
    assert series.is_archive or 'skipped' not in series.made.stdout
    # nothing refers to the plug-in
    diff = series.git('diff', series.base, BRANCHES[-1])
    assert not re.search(r'memnet_basicsr|UsageError|\.\.(errors|engine|options)', diff)


def test_existing_branches_and_steps_over_budget_are_refused(series, monkeypatch, tmp_path):
    again = series.make()
    assert again.returncode == 1 and f'the branch {BRANCHES[0]} exists' in again.stderr
    other = tmp_path / 'other'
    subprocess.run(['git', 'clone', '--quiet', '--branch', '1-fixes', series.folder, other], check=True)
    commit, = contribute.STEPS['2-memnet']
    monkeypatch.setattr(contribute, 'STEPS', {'2-memnet': [commit._replace(budget=150)]})
    with pytest.raises(SystemExit, match=r'2-memnet: Add MemNet: \d+ lines outside tests/, the budget is 150'):
        contribute.make_series(contribute.Checkout(other))
    status = subprocess.run(['git', '-C', other, 'status', '--porcelain', '--branch'], capture_output=True, text=True)
    assert status.stdout.splitlines() == ['## 1-fixes...origin/1-fixes']


def test_budget_counts_lines_outside_tests(series):
    """The printed numbers, by `git diff --shortstat`."""
    printed = dict(re.findall(r'  (.+): (\d+) of \d+ lines', series.made.stdout))
    for name in BRANCHES[1:]:
        title = series.git('log', '-1', '--format=%s', name)
        stat = series.git('diff', '--shortstat', f'{name}~1', name, '--', '.', ':!tests')
        assert printed[title] == re.search(r'(\d+) insertion', stat)[1]


def test_lint(series):
    """BasicSR's lint. No branch changes a Python file of another, so that the last one shows them all."""
    seen = []
    for below, name in itertools.pairwise(BRANCHES):
        seen += [v for v in series.files(below, name) if v.endswith('.py')]
    assert len(seen) == len(set(seen))
    files = [v for v in series.files(series.base, BRANCHES[-1]) if v.endswith('.py')]
    tools = Path(os.environ.get('BASICSR_LINT', Path(sys.executable).parent))
    commands = [['flake8', '--config=setup.cfg', '--ignore=W504,W503'], ['isort', '--check-only', '--diff'],
                ['yapf', '--diff'], ['codespell']]  # yapf: disable
    if (tools / 'double-quote-string-fixer').is_file():
        commands += [['double-quote-string-fixer'], ['trailing-whitespace-fixer'], ['end-of-file-fixer']]
    for tool, *args in commands:
        if not (tools / tool).is_file():
            pytest.skip(f'{tool} is not installed')
        result = subprocess.run([tools / tool, *args, *files], cwd=series.folder, capture_output=True, text=True)
        assert result.returncode == 0, f'{tool}: {result.stdout}{result.stderr}'


def test_new_tests_pass_and_those_of_fixes_fail_without_them(series, run_command):
    new = series.files('--diff-filter=A', series.base, BRANCHES[-1], '--', 'tests')
    pytest_ = ('-m', 'pytest', '-q', '-o', 'addopts=', '-p', 'no:cacheprovider')
    result = series.python(run_command, *pytest_, *new)
    assert result.returncode == 0, result.stdout
    fixes = series.files('--diff-filter=A', series.base, BRANCHES[0], '--', 'tests')
    series.git('checkout', '--quiet', series.base)
    series.git('checkout', '--quiet', BRANCHES[0], '--', 'tests')
    result = series.python(run_command, *pytest_, *fixes)
    series.git('reset', '--quiet', '--hard')
    series.git('checkout', '--quiet', BRANCHES[-1])
    assert {v for v in fixes if f'FAILED {v}' in result.stdout} == set(fixes), result.stdout


def test_networks_train_without_the_plug_in_and_equal_ours(series, run_command, tmp_path):
    for i in range(4):
        img = np.random.RandomState(i).randint(0, 256, (24, 24, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / f'{i}.png'), cv2.GaussianBlur(img, (0, 0), 1))
    result = series.python(run_command, '-c', TRAIN, tmp_path)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    paths = sorted(series.folder.glob('train_*.pth'))
    assert len(paths) == 4
    for path in paths:
        trained = torch.load(path)
        net_type, arguments = trained['net'].pop('type'), trained['net']
        terms = ['l_recon', 'l_contrast', 'l_contrast_encoder'] if net_type == 'MemoryNet' else []
        log, = (series.folder / 'experiments' / path.stem).glob('train_*.log')
        log = log.read_text()
        assert all(f'{term}: ' in log for term in ['l_pix', '# psnr', *terms])
        if net_type == 'MPRNet':
            net_type, arguments = 'MemoryNet', dict(arguments, memory='none')
        net = ARCH_REGISTRY.get(net_type)(**arguments).eval()
        assert set(net.state_dict()) == set(trained['state'])
        net.load_state_dict(trained['state'])
        with torch.no_grad():
            outputs = [net(trained['img'])] + ([net.reconstruct(trained['img'])] if terms else [])
        for ours, theirs in zip(outputs, trained['outputs']):
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_python_3_8(series, run_command):
    """Every file compiles, and basicsr is imported, with stand-ins for torch and other libraries."""
    known = [os.environ.get('BASICSR_PYTHON38'), *Path.home().glob('.pyenv/versions/3.8*/bin/python'), 'python3.8']
    python = next((v for v in known if v and shutil.which(v) and run_command(v, '-V', cwd='/').returncode == 0), None)
    if python is None:
        pytest.skip('no Python 3.8 here; BASICSR_PYTHON38 names one')
    files = [v for v in series.files(series.base, BRANCHES[-1]) if v.endswith('.py')]
    code = 'import sys\nfor v in sys.argv[1:]: compile(open(v).read(), v, "exec")\n'
    result = run_command(python, '-c', code, *files, cwd=series.folder)
    assert result.returncode == 0, result.stderr
    result = run_command(python, '-c', IMPORT, cwd=series.folder, PYTHONDONTWRITEBYTECODE='1')
    assert result.returncode == 0, result.stderr
    wanted = {v[:-3].replace('/', '.') for v in files if v.startswith('basicsr/')} - {'basicsr.data.__init__'}
    assert {v.removesuffix('.__init__') for v in wanted} <= set(result.stdout.split())


def test_every_step_has_its_text():
    text = (ROOT / 'docs' / 'upstream.md').read_text()
    for name, commits in contribute.STEPS.items():
        assert f'## {name}\n' in text
        assert all(v.title.splitlines()[0] in text for v in commits)
