"""`memnet options new`: from folders of images to an option file that trains."""
import cv2
import json
import numpy as np
import pytest
import subprocess
import sys
import torch
import yaml

import memnet_basicsr  # noqa: F401
from memnet_basicsr.plugin.command import main
from memnet_basicsr.plugin.option_file import read_option_file
from tests.test_plugin.test_reference import SCHEMA


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """12 color images of 40x32 pixels and noisy ones of the same names."""
    monkeypatch.chdir(tmp_path)
    for kind in ('clean', 'degraded'):
        (tmp_path / kind).mkdir()
        for i in range(12):
            img = np.random.RandomState(i).randint(0, 256, (32, 40, 3), dtype=np.uint8)
            img = cv2.GaussianBlur(img, (0, 0), 2 if kind == 'clean' else 3)
            cv2.imwrite(str(tmp_path / kind / f'p {i}.png'), img)
    return tmp_path


def new(*args):
    return main(['options', 'new', *args])


@pytest.mark.parametrize('task, network', [('denoise', 'MemNet'), ('jpeg', 'MemNet'), ('sr', 'MemNet'),
                                           ('deblur', 'MemoryNet'), ('pairs', 'MemoryNet')])  # yapf: disable
def test_trains_to_a_checkpoint(folders, pipeline, capsys, task, network):
    degraded = ('--degraded', 'degraded') if network == 'MemoryNet' else ()
    assert new('--task', task, '--clean', 'clean', *degraded, '-o', 'my.yml') == 0
    assert 'clean: 12 ' in capsys.readouterr().out
    text = (folders / 'my.yml').read_text()
    assert text.startswith('# yaml-language-server: $schema=')
    opt = read_option_file('my.yml').options
    assert opt['network_g']['type'] == network and opt['network_g']['num_in_ch'] == (1 if task == 'sr' else 3)
    lists = [(folders / f'my_{kind}.txt').read_text().splitlines() for kind in ('train', 'val')]
    assert len(lists[0]) == 11 and len(lists[1]) == 1 and not set(lists[0]) & set(lists[1])
    # the file as written, but tiny
    opt['num_gpu'] = 0
    opt['network_g'].update(
        num_feat=4, num_block=1, num_recursion=1) if network == 'MemNet' else opt['network_g'].update(
            num_feat=8, scale_unetfeats=4, scale_orsnetfeats=4, num_cab=1)
    opt['datasets']['train'].update(num_worker_per_gpu=0, batch_size_per_gpu=2, dataset_enlarge_ratio=1, gt_size=16)
    opt['train'].update(total_iter=2, warmup_iter=-1)
    opt['train']['scheduler'].update(periods=[2])
    opt['val'].update(val_freq=2)
    opt['logger'].update(print_freq=1, save_checkpoint_freq=2)
    (folders / 'my.yml').write_text(yaml.safe_dump(json.loads(json.dumps(opt)), sort_keys=False))
    pipeline(folders / 'my.yml')
    weights = torch.load(folders / 'experiments/my/models/net_g_latest.pth', weights_only=True)['params']
    assert all(torch.isfinite(v).all() for v in weights.values())
    log = next((folders / 'experiments/my').glob('train_*.log')).read_text()
    assert 'Number of train images: 11' in log and 'Validation val' in log and '# psnr' in log


def test_gray_images_and_patch_of_small_images(folders):
    for path in (folders / 'clean').iterdir():
        cv2.imwrite(str(path), cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)[:30, :28])
    assert new('--task', 'denoise', '--clean', 'clean', '--size', 'full', '-o', 'a.yml') == 0
    opt = read_option_file('a.yml').options
    assert opt['network_g']['num_in_ch'] == 1 and opt['datasets']['train']['color'] == 'gray'
    assert opt['datasets']['train']['gt_size'] == 24 and opt['network_g']['num_block'] == 6


@pytest.mark.parametrize('args, wanted', [
    (('--task', 'deblur', '--clean', 'clean'), '--degraded is missing: deblur needs degraded images'),
    (('--task', 'denoise', '--clean', 'clean', '--degraded', 'degraded'), '--degraded: denoise makes degraded images'),
    (('--task', 'denoise', '--clean', 'nowhere'), 'folder nowhere does not exist'),
    (('--task', 'pairs', '--clean', 'clean', '--degraded', 'few'), 'few lacks 11 of the 12 images of clean: p 1.png'),
    (('--task', 'pairs', '--clean', 'few', '--degraded', 'clean'), '1 image; at least 2 are needed'),
    (('--task', 'pairs', '--clean', 'clean', '--degraded', 'other'), 'is 20x20, its clean image 40x32'),
    (('--task', 'denoise', '--clean', 'damaged'), 'bad.png cannot be read'),
])  # yapf: disable
def test_what_does_not_fit(folders, capsys, args, wanted):
    for name in ('few', 'other', 'damaged'):
        (folders / name).mkdir()
    (folders / 'few' / 'p 0.png').write_bytes((folders / 'clean' / 'p 0.png').read_bytes())
    (folders / 'damaged' / 'bad.png').write_bytes(b'bad')
    for i in range(12):
        cv2.imwrite(str(folders / 'other' / f'p {i}.png'), np.zeros((20, 20, 3), np.uint8))
    assert new(*args, '-o', 'a.yml') == 2
    line, = capsys.readouterr().err.splitlines()
    assert wanted in line
    assert not (folders / 'a.yml').exists() and not list(folders.glob('a_*'))


def test_existing_file_and_bad_name(folders, capsys):
    (folders / 'a.yml').write_text('mine')
    assert new('--task', 'denoise', '--clean', 'clean', '-o', 'a.yml') == 2
    assert 'already exists; use --overwrite' in capsys.readouterr().err and (folders / 'a.yml').read_text() == 'mine'
    assert new('--task', 'denoise', '--clean', 'clean', '-o', 'a.yml', '--overwrite') == 0
    assert new('--task', 'denoise', '--clean', 'clean', '-o', 'a b.txt') == 2
    assert 'ends in .yml' in capsys.readouterr().err


def test_check_command(folders, capsys, tmp_path):
    assert new('--task', 'denoise', '--clean', 'clean', '-o', 'a.yml') == 0
    text = (folders / 'a.yml').read_text()
    (folders / 'b.yml').write_text(text.replace('total_iter', 'total_itr').replace('num_feat', 'num_feet'))
    (folders / 'c.yml').write_text('name: c\nmodel_type: SRModel\n')
    (folders / 'd.yml').write_text(text.replace('model_type: RestorationModel', 'model_type: ModelOfUser'))
    (folders / 'user_module.py').write_text(
        'from basicsr.utils.registry import MODEL_REGISTRY\n'
        'from memnet_basicsr.models.restoration_model import RestorationModel\n'
        '@MODEL_REGISTRY.register()\nclass ModelOfUser(RestorationModel):\n    pass\n')
    capsys.readouterr()
    assert main(['options', 'check', '--here', 'a.yml', 'b.yml', 'c.yml']) == 2
    out, err = capsys.readouterr()
    assert out.splitlines() == ['a.yml: OK', 'c.yml: skipped, uses no class of memnet_basicsr']
    assert len(err.splitlines()) == 3 and all(v.startswith('b.yml:') for v in err.splitlines())
    assert main(['options', 'check', 'd.yml']) == 2
    code = ('import sys; from memnet_basicsr.plugin.command import main\n'
            'sys.exit(main(["options", "check", "--import", "user_module", "d.yml"]))')
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert result.returncode == 0 and result.stdout.endswith('d.yml: OK\n'), result.stderr
    assert main(['options', 'check', '--import', 'no_such_module', 'a.yml']) == 2
    assert main(['options', 'schema', '-o', 'own.json']) == 0
    assert json.loads((folders / 'own.json').read_text()).keys() == json.loads(SCHEMA.read_text()).keys()


def test_check_imports_neither_compiler_nor_statistics():
    """Each takes as long as torch itself; what BasicSR and torchvision want of them is imported on first use."""
    code = '''
import _memnet_basicsr_command as command, json, sys
code = command.main(['options', 'check', 'train_MemNet_Denoise_BSD'])
heavy = ('torch._dynamo', 'torch._dynamo.utils', 'scipy.stats', 'matplotlib', 'skimage', 'tensorboard')
print(json.dumps([code, [v for v in heavy if v in sys.modules]]))
import numpy
from basicsr.data.degradations import cdf2
from scipy.stats import norm
from torch._dynamo.utils import is_compile_supported
from torchvision.ops import roi_align
wanted = getattr(sys.modules['torchvision.ops.roi_align'], 'is_compile_supported', is_compile_supported)
same = wanted('cpu') == is_compile_supported('cpu')
print(json.dumps([float(cdf2(numpy.eye(2), numpy.zeros((1, 2)))), norm.cdf(0), same]))
'''
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    found, later = map(json.loads, result.stdout.splitlines()[-2:])
    assert found == [0, []] and later == [0.25, 0.5, True]


def test_help_answers_without_heavy_imports():
    code = '''
import _memnet_basicsr_command as command, json, sys
codes = []
for line in ('--help', 'options --help', 'options new --help', 'restore --help', 'prepare --help', 'doctor --help',
             'options list', 'options copy none', 'no', 'options', 'prepare no', ''):
    try:
        codes.append(command.main(line.split()))
    except SystemExit as error:
        codes.append(error.code)
heavy = ('torch', 'numpy', 'cv2', 'basicsr', 'pydantic', 'memnet_basicsr')
print(json.dumps([codes, [v for v in heavy if v in sys.modules]]))
'''
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert json.loads(result.stdout.splitlines()[-1]) == [[0] * 7 + [2] * 5, []]
    assert 'memnet options check my.yml' in result.stdout
