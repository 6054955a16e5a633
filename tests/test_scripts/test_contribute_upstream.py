"""The move into BasicSR: what it writes trains, passes its tests and BasicSR's checks without the plug-in; refusals."""
import ast
import cv2
import importlib.util
import json
import numpy as np
import os
import pytest
import re
import shutil
import subprocess
import sys
from pathlib import Path

from memnet_basicsr.data.lmdb_util import write_lmdb

pytest.importorskip('isort')

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / 'scripts' / 'contribute_upstream.py'

# rows 1 and 2 of the breakage list: without them BasicSR 1.4.2 does not import, with or without our files
SITECUSTOMIZE = """
import sys
import types

try:
    import torchvision
except RuntimeError:
    import torch
    for name in [v for v in sys.modules if v.split('.')[0] == 'torchvision']:
        del sys.modules[name]
    library = torch.library.Library('torchvision', 'FRAGMENT')
    for name in ('nms', 'qnms'):
        library.define(f'{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')
from torchvision.transforms import functional

module = types.ModuleType('torchvision.transforms.functional_tensor')
module.rgb_to_grayscale = functional.rgb_to_grayscale
sys.modules[module.__name__] = module
"""

# each run in a fork, as `python basicsr/train.py` would do it, so that the imports are paid for once
RUNS = """
import json, os, runpy, sys
{start}
import basicsr
from basicsr.utils import registry
found = {{k: v.__module__.split('.')[0] for name, known in vars(registry).items() if name.endswith('_REGISTRY')
         for k, v in known}}
print(json.dumps(found), file=open('registered.json', 'w'))
for argv in json.loads(sys.argv[1]):
    child = os.fork()
    if not child:
        status = 1
        try:
            sys.argv = argv
            if argv[0] == 'pytest':
                import pytest
                status = int(pytest.main(argv[1:]))
            else:
                runpy.run_path(argv[0], run_name='__main__')
                status = 0
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            if status:
                sys.excepthook(*sys.exc_info())
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0, argv
"""

SMALL = {
    'MemNet': ['network_g:num_feat=4', 'network_g:num_block=2', 'network_g:num_recursion=1'],
    'MemoryNet': ['network_g:num_feat=8', 'network_g:scale_unetfeats=4', 'network_g:scale_orsnetfeats=4',
                  'network_g:num_cab=1'],
}  # yapf: disable
SHORT = ['train:total_iter=2', 'datasets:train:gt_size=24', 'datasets:train:batch_size_per_gpu=2',
         'datasets:train:num_worker_per_gpu=0', 'datasets:train:dataset_enlarge_ratio=4', 'logger:print_freq=1',
         'logger:use_tb_logger=false', 'num_gpu=0']  # yapf: disable
STOCK = ['model_type=SRModel', 'train:optim_g:type=Adam',
         'train:scheduler=[{"type":"MultiStepLR","milestones":[9]}][0]']  # yapf: disable


@pytest.fixture(scope='module')
def script():
    spec = importlib.util.spec_from_file_location('contribute_upstream', SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def files_of(folder):
    """Content of all files but git's own."""
    return {
        str(v.relative_to(folder)): v.read_bytes()
        for v in folder.rglob('*') if v.is_file() and '.git' not in v.relative_to(folder).parts[:1]
    }


# ---- the source archive of BasicSR 1.4.2 -----------------------------------------------------------------------------


@pytest.fixture(scope='module')
def tree(basicsr_checkout, tmp_path_factory, script):
    """The unpacked archive with both networks in it, and tiny LMDBs where the option files look for them."""
    folder = tmp_path_factory.mktemp('upstream') / 'basicsr-1.4.2'
    shutil.copytree(basicsr_checkout, folder)
    before = files_of(folder)
    script.main(['--basicsr', str(folder)])
    after = files_of(folder)
    assert {k for k in before if before[k] != after[k]} == {'basicsr/metrics/__init__.py'}
    (folder / 'moved.json').write_text(json.dumps(sorted(k for k in after if after[k] != before.get(k))))
    (folder / 'sitecustomize.py').write_text(SITECUSTOMIZE)
    sets = ('BSDS500/train+test_gray', 'BSD68/test_gray', 'GoPro/train_gt', 'GoPro/train_lq', 'GoPro/test_gt',
            'GoPro/test_lq', 'RICE1/train_gt', 'RICE1/train_lq', 'RICE1/test_gt', 'RICE1/test_lq')  # yapf: disable
    for i, name in enumerate(sets):
        channels = 1 if name.endswith('gray') else 3
        imgs = [np.random.RandomState(10 * i + k).randint(0, 256, (40, 44, channels), np.uint8) for k in range(2)]
        imgs = [cv2.GaussianBlur(v, (0, 0), 1.5).reshape(40, 44, channels) for v in imgs]
        write_lmdb(
            str(folder / 'datasets' / f'{name}.lmdb'), [(f'p{k}', v) for k, v in enumerate(imgs)], progress=False)
    return folder


@pytest.fixture(scope='module')
def python(tree, run_command):
    """Run Python in the tree, without the plug-in."""

    def call(*args, path=(), autoload='0'):
        path = os.pathsep.join(str(v) for v in (tree, *path))
        done = run_command(sys.executable, *args, cwd=tree, PYTHONPATH=path, MEMNET_BASICSR_AUTOLOAD=autoload)
        assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
        return done.stdout

    return call


def moved(tree, *suffixes):
    return [v for v in json.loads((tree / 'moved.json').read_text()) if v.endswith(suffixes)]


def command(name, *changes):
    """Arguments of a run with one of the moved option files, made small."""
    network = name.split('_')[1]
    return ['basicsr/train.py', '-opt', f'options/train/{network}/{name}.yml', '--force_yml', *SMALL[network], *SHORT,
            *changes]  # yapf: disable


def check_log(tree, name, model):
    log = next((tree / 'experiments' / name).glob('train_*.log')).read_text()
    assert f'Model [{model}] is created.' in log and 'iter:       2,' in log and 'Validation ' in log
    return log


def test_basicsr_alone(tree, python):
    """Both networks train in the stock SRModel and in the model that moved, the first as a user types it; tests pass.

    Of the moved tests a fast part is run; all of them take a quarter of a minute.
    """
    python(*command('train_MemNet_Denoise_BSD'))
    check_log(tree, 'train_MemNet_Denoise_BSD', 'RestorationModel')
    fast = ['test_losses', 'test_metrics', 'test_archs/test_memnet_arch.py::test_published_vector',
            'test_archs/test_memorynet_arch.py::test_released_vectors']  # yapf: disable
    # addopts: BasicSR's setup.cfg would add all tests
    tests = ['pytest', '-q', '-o', 'addopts=', '-p', 'no:cacheprovider', *[f'tests/{v}' for v in fast]]
    runs = [command('train_MemNet_Denoise_BSD', 'name=stock', *STOCK), command('train_MemoryNet_GoPro_stock'),
            command('train_MemoryNet_RICE1'), tests]  # yapf: disable
    out = python('-c', RUNS.format(start=''), json.dumps(runs))
    assert int(out.split(' passed')[0].split()[-1]) > 90
    check_log(tree, 'stock', 'SRModel')
    check_log(tree, 'train_MemoryNet_GoPro_stock', 'SRModel')
    log = check_log(tree, 'train_MemoryNet_RICE1', 'MemoryNetModel')
    assert 'l_reconstruction' in log and 'l_contrast' in log and 'memnet_basicsr' not in log.split('name: train_')[0]

    registered = json.loads((tree / 'registered.json').read_text())
    assert set(registered.values()) == {'basicsr'} and {'MemNet_basicsr', 'MemoryNet_basicsr'} <= set(registered)
    # every class that an option file names is there, under its own name or with the suffix
    for path in moved(tree, '.yml'):
        text = (tree / path).read_text()
        types = [v.split('type:')[1].split('#')[0].strip(' ,}') for v in text.splitlines() if 'type: ' in v]
        types = [v for v in types if v not in ('lmdb', 'disk') and not v.endswith('LR') and not v.startswith('Adam')]
        assert types and not [v for v in types if v not in registered and f'{v}_basicsr' not in registered | {
            'SGD_basicsr': ''}], path  # yapf: disable


def test_plugin_wins_where_it_is_installed(tree, python):
    """As after pip install: the start-up file finds the plug-in beside the tree that has its twin."""
    runs = [command('train_MemNet_Denoise_BSD', 'name=both'), command('train_MemoryNet_RICE1', 'name=both_memory')]
    start = (ROOT / 'memnet_basicsr_autoload.pth').read_text()
    python('-c', RUNS.format(start=start), json.dumps(runs), path=[ROOT], autoload='1')
    for name, model in (('both', 'RestorationModel'), ('both_memory', 'MemoryNetModel')):
        assert 'memnet_basicsr: ' in check_log(tree, name, model)  # the plug-in's line among the first
    registered = json.loads((tree / 'registered.json').read_text())
    twins = [v[:-len('_basicsr')] for v in registered if v.endswith('_basicsr') and v[:-len('_basicsr')] in registered]
    assert {'MemNet', 'MemoryNet', 'RestorationModel', 'MultiSupervisedLoss', 'NoisyImageDataset',
            'calculate_lab_error'} <= set(twins)  # yapf: disable
    for name in twins:
        assert (registered[name], registered[f'{name}_basicsr']) == ('memnet_basicsr', 'basicsr'), name


@pytest.mark.parametrize('module, args, suffixes', [
    ('flake8', [], ('.py', )),
    ('isort', ['--check-only', '--diff'], ('.py', )),
    ('yapf', ['--diff', '--parallel'], ('.py', )),
    ('codespell_lib', [], ('.py', '.yml')),
])  # yapf: disable
def test_basicsr_checks(tree, run_command, module, args, suffixes):
    """BasicSR's own checks with its setup.cfg, on what was moved."""
    pytest.importorskip(module)
    done = run_command(sys.executable, '-m', module, *args, *moved(tree, *suffixes), cwd=tree)
    assert done.returncode == 0 and '---' not in done.stdout, done.stdout + done.stderr


def without_imports(text):
    lines = text.splitlines()
    for node in ast.parse(text).body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            lines[node.lineno - 1:node.end_lineno] = [None] * (node.end_lineno - node.lineno + 1)
    return [v for v in lines if v]


def test_text_is_ours(tree, script):
    """Outside imports at the top a file differs in names that move and in the suffix of the registration alone."""
    sources = script.moving_files(tree, list(script.NETWORKS), script.allowed_modules(tree))
    assert len(sources) > 100
    for source in sources:
        if source.suffix == '.py':
            ours, theirs = ((folder / path).read_text() for folder, path in
                            ((ROOT, source), (tree, script.target(source))))  # yapf: disable
            ours, theirs = without_imports(ours), without_imports(theirs)
            assert len(ours) == len(theirs), source
            changed = [old for old, new in zip(ours, theirs) if old != new]
            assert all(re.search(r'\.register\(\)|memnet_basicsr|create_lmdb|from \.', v) for v in changed), source


# ---- git and refusals, on a tree of five files -----------------------------------------------------------------------


def make_tree(folder, checkout=True):
    (folder / 'basicsr' / 'utils').mkdir(parents=True)
    (folder / 'basicsr' / 'metrics').mkdir()
    for name in ('basicsr/train.py', 'basicsr/utils/registry.py', 'basicsr/utils/__init__.py'):
        (folder / name).write_text('')
    (folder / 'basicsr/metrics/__init__.py').write_text(
        "from .niqe import calculate_niqe\nfrom .psnr_ssim import calculate_psnr\n\n"
        "__all__ = ['calculate_psnr', 'calculate_niqe']\n\n\ndef calculate_metric():\n    pass\n")
    (folder / 'setup.cfg').write_text('[isort]\nline_length = 120\nno_lines_before = STDLIB,LOCALFOLDER\n')
    packages = 'lmdb numpy>=1.17 opencv-python Pillow pyyaml scikit-image scipy torch>=1.7 torchvision tqdm'
    (folder / 'requirements.txt').write_text(packages.replace(' ', '\n') + '\n')
    if checkout:
        git(folder, 'init', '-q', '-b', 'master')
        git(folder, 'config', 'user.name', 'Ada')
        git(folder, 'config', 'user.email', 'ada@example.org')
        git(folder, 'add', '-A')
        git(folder, 'commit', '-q', '-m', 'start')
    return folder


def git(folder, *args):
    if shutil.which('git') is None:
        pytest.skip('git is missing')
    env = {k: v for k, v in os.environ.items() if not k.startswith('GIT_')}
    return subprocess.run(['git', '-C', folder, *args], check=True, capture_output=True, text=True, env=env).stdout


@pytest.fixture
def checkout(tmp_path):
    return make_tree(tmp_path / 'BasicSR')


def test_one_commit_on_a_new_branch(checkout, script, capsys):
    script.main(['--basicsr', str(checkout), '--only', 'memnet'])
    assert git(checkout, 'branch', '--show-current') == 'memnet\n'
    assert git(checkout, 'log', '--format=%an: %s').splitlines() == [
        'Ada: add MemNet with losses, data sets, models, options and tests', 'Ada: start']  # yapf: disable
    assert git(checkout, 'status', '--porcelain') == '' and len(git(checkout, 'worktree', 'list').splitlines()) == 1
    listed = set(git(checkout, 'ls-files').split())
    assert {'basicsr/archs/memnet_arch.py', 'basicsr/utils/inference/inference.py', 'basicsr/utils/errors.py',
            'options/train/MemNet/train_MemNet_Denoise_BSD_NL.yml', 'scripts/data_preparation/write_lmdb.py',
            'tests/test_archs/test_memnet_arch.py', 'tests/data/memnet_caffe_m2r3c8.npz'} <= listed  # yapf: disable
    assert not [v for v in listed if 'memory' in v or 'mprnet' in v or 'sampling' in v or 'restorer' in v]
    out = capsys.readouterr().out
    assert 'stays in the plug-in' in out and 'memnet of ' in out and 'amended  basicsr/metrics/__init__.py' in out

    # the second network on top: what both need is there already
    script.main(['--basicsr', str(checkout), '--only', 'memorynet'])
    changed = git(checkout, 'diff', '--name-status', 'memnet').splitlines()
    assert [v for v in changed if not v.startswith('A')] == ['M\tbasicsr/metrics/__init__.py']
    assert 'A\tbasicsr/archs/memorynet_arch.py' in changed and 'A\tbasicsr/utils/errors.py' not in changed
    # both steps together give what one step gives, but for the order of the names in __all__
    together = make_tree(checkout.parent / 'together', checkout=False)
    script.main(['--basicsr', str(together)])
    one, two = files_of(together), files_of(checkout)
    name = 'basicsr/metrics/__init__.py'
    assert sorted(re.findall(rb'\w+', one.pop(name))) == sorted(re.findall(rb'\w+', two.pop(name)))
    assert one == two


def test_without_names_there_is_nothing_to_do_twice(tmp_path, script, capsys):
    folder = make_tree(tmp_path / 'archive', checkout=False)
    script.main(['--basicsr', str(folder), '--dry-run'])
    assert 'new      basicsr/archs/memorynet_arch.py' in capsys.readouterr().out
    assert len(files_of(folder)) == 6
    script.main(['--basicsr', str(folder)])
    files = files_of(folder)
    assert 'basicsr/archs/memorynet_arch.py' in files and not [v for v in files if v.endswith('.part')]
    script.main(['--basicsr', str(folder)])
    assert 'has all of this already' in capsys.readouterr().out
    assert files_of(folder) == files
    names = files['basicsr/metrics/__init__.py'].decode()
    assert names.count('calculate_lab_error') == 2 and 'from .lab_error import calculate_lab_error\n' in names


def not_basicsr(folder):
    (folder / 'basicsr' / 'train.py').unlink()
    return 'is not a tree of BasicSR: it has no basicsr/train.py'


def dirty(folder):
    (folder / 'setup.cfg').write_text('[isort]\n')
    return 'has changes that are not committed (setup.cfg, 1 in all): commit or stash them'


def untracked(folder):
    (folder / 'notes.txt').write_text('mine')
    return 'has changes that are not committed (notes.txt, 1 in all): commit or stash them'


def file_there(folder):
    (folder / 'basicsr' / 'utils' / 'errors.py').write_text('mine = 1\n')
    git(folder, 'add', '-A')
    git(folder, 'commit', '-q', '-m', 'mine')
    return 'basicsr/utils/errors.py is there already with another content (1 such files): move them away or say --force'


def branch_there(folder):
    git(folder, 'branch', 'memnet')
    return 'has a branch memnet already: delete or rename it'


def file_for_folder(folder):
    (folder / 'basicsr' / 'archs').write_text('a file\n')
    git(folder, 'add', '-A')
    git(folder, 'commit', '-q', '-m', 'mine')
    return 'cannot write'


def hook_refuses(folder):
    hook = folder / '.git' / 'hooks' / 'pre-commit'
    hook.parent.mkdir(exist_ok=True)
    hook.write_text('#!/bin/sh\necho no >&2\nexit 1\n')
    hook.chmod(0o755)
    return 'git commit failed in'


@pytest.mark.parametrize('mistake', [
    not_basicsr, dirty, untracked, file_there, branch_there, file_for_folder, hook_refuses
])  # yapf: disable
def test_refusals_change_nothing(checkout, script, mistake):
    message = mistake(checkout)
    before, branches = files_of(checkout), git(checkout, 'branch', '-a')
    with pytest.raises(script.Refused) as refused:
        script.main(['--basicsr', str(checkout), '--only', 'memnet'])
    assert message in str(refused.value) and '\n' not in str(refused.value)
    assert files_of(checkout) == before and git(checkout, 'branch', '-a') == branches
    assert len(git(checkout, 'worktree', 'list').splitlines()) == 1


def test_failed_write_into_an_archive_changes_nothing(tmp_path, script):
    folder = make_tree(tmp_path / 'archive', checkout=False)
    (folder / 'tests').write_text('a file\n')  # the last folder to be written to
    before = files_of(folder)
    with pytest.raises(script.Refused, match='nothing was changed'):
        script.main(['--basicsr', str(folder)])
    assert files_of(folder) == before and not (folder / 'options').exists()


def test_force_overwrites(checkout, script, capsys):
    file_there(checkout)
    script.main(['--basicsr', str(checkout), '--only', 'memnet', '--force'])
    assert 'replaced basicsr/utils/errors.py' in capsys.readouterr().out
    assert 'class UsageError' in (checkout / 'basicsr/utils/errors.py').read_text()


def test_command_line_says_one_line(tmp_path, run_command):
    done = run_command(sys.executable, SCRIPT, '--basicsr', tmp_path, cwd=tmp_path)
    assert done.returncode == 1 and done.stderr.count('\n') == 1
    assert done.stderr.startswith(f'error: {tmp_path} is not a tree of BasicSR')


@pytest.mark.parametrize('path, fault', [
    ('inference/weights.py', 'imports safetensors, which BasicSR does not require'),
    ('inference/export.py', 'imports onnx, which BasicSR does not require'),
    ('demo.py', 'which stays in the plug-in'),
    ('analysis/networks.py', 'imports memnet_basicsr.option_file, which stays in the plug-in'),
])  # yapf: disable
def test_what_cannot_move_is_named(path, fault, tmp_path, script):
    known = script.allowed_modules(make_tree(tmp_path / 'archive', checkout=False))
    with pytest.raises(script.Refused) as refused:
        for source in script.dependencies(Path('memnet_basicsr', path), known):
            script.dependencies(source, known)
    assert fault in str(refused.value)


@pytest.mark.parametrize('name', ['memnet', 'memorynet'])
def test_each_network_needs_only_what_basicsr_requires(name, tmp_path, script):
    """No mmengine, safetensors, launch or compat, also not inside of a function; the files say so by their imports."""
    folder = make_tree(tmp_path / 'archive', checkout=False)
    files = script.moving_files(folder, [name], script.allowed_modules(folder))
    assert Path('memnet_basicsr/models/restoration_model.py') in files
    assert not {Path('memnet_basicsr/inference/restorer.py'), Path('memnet_basicsr/data/sampling.py')} & set(files)
    assert all((ROOT / v).is_file() for v in files)
