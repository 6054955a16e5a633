"""Restoring where BasicSR is absent, and `memnet doctor`."""
import json
import pytest
import sys
from pathlib import Path

from memnet_basicsr.plugin.command import COMMANDS

ABSENT = '''
import importlib.machinery
find = importlib.machinery.PathFinder.find_spec

def find_spec(name, path=None, target=None):
    return None if name.split('.')[0] == 'basicsr' else find(name, path, target)

importlib.machinery.PathFinder.find_spec = find_spec
'''


@pytest.fixture
def without(wheel_environment, tmp_path):
    """Run `python -c` or a command in an environment without BasicSR, in tmp_path."""
    (tmp_path / 'absent').mkdir()
    (tmp_path / 'absent' / 'sitecustomize.py').write_text(ABSENT)

    def call(*args, **env):
        return wheel_environment(*args, cwd=tmp_path, PYTHONPATH=tmp_path / 'absent', **env)

    return call


RESTORE = '''
import cv2, importlib.util, json, numpy, os, sys
folder = importlib.util.find_spec('memnet_basicsr').submodule_search_locations[0]
weights = os.path.join(folder, 'weights', 'memnet_denoise.pth')  # commands try to import BasicSR for files
cv2.imwrite('noisy.png', numpy.random.default_rng(0).integers(0, 256, (20, 24), dtype=numpy.uint8))
from _memnet_basicsr_command import main
code = main('restore -i noisy.png -o out.png --device cpu --gt noisy.png --weights'.split() + [weights])
print(json.dumps([code, 'basicsr' in sys.modules, cv2.imread('out.png', 0).shape]))
'''


def test_restoring(without):
    result = without('-c', RESTORE)
    assert json.loads(result.stdout.splitlines()[-1]) == [0, False, [20, 24]], result.stderr
    assert 'PSNR inf' in result.stdout


def test_what_needs_basicsr_is_refused_in_one_line(without):
    end = 'error: this needs BasicSR, which is not installed; `memnet doctor` prints the repair'
    memnet = 'import sys; from _memnet_basicsr_command import main; sys.exit(main(sys.argv[1:]))'
    for args in (['-m', 'memnet_basicsr.train', '-opt', 'train_MemNet_SR_291'], ['-c', memnet, 'prepare', 'gopro'],
                 ['-c', memnet, 'options', 'check', 'a.yml']):  # yapf: disable
        result = without(*args)
        line, = result.stderr.splitlines()
        assert result.returncode == 1 and line == end, result.stderr


def test_doctor(without, wheel_environment, tmp_path):
    """Says how to add BasicSR; the patched build on Python 3.13 and newer is tested in test_setup.py."""
    memnet = 'import sys; from _memnet_basicsr_command import main; sys.exit(main(["doctor"]))'
    result = without('-c', memnet)
    assert result.returncode == 1 and 'restoring: works' in result.stdout, result.stdout + result.stderr
    repairs = [v for v in result.stdout.splitlines() if v.startswith('  repair: ')]
    assert repairs[-1].endswith("'basicsr>=1.4.2'") and len(repairs) == (2 if sys.version_info >= (3, 13) else 1)
    result = wheel_environment('-c', memnet, cwd=tmp_path)
    assert result.returncode == 0 and 'training, BasicSR 1.4.2: works' in result.stdout, result.stdout + result.stderr
    result = wheel_environment('-c', memnet, cwd=tmp_path, PYTHONPATH=broken(tmp_path))
    assert result.returncode == 2 and 'restoring: broken: ImportError: no torch here' in result.stdout


def broken(folder):
    (folder / 'broken').mkdir()
    (folder / 'broken' / 'torch.py').write_text('raise ImportError("no torch here")')
    return folder / 'broken'


def test_doctor_on_newer_python(monkeypatch):
    from memnet_basicsr.plugin import doctor
    monkeypatch.setattr(sys, 'version_info', (3, 13, 0))
    tools, build = doctor.install_basicsr()
    folder = Path(build.split()[0].removeprefix('PYTHONPATH='))
    assert (folder / 'sitecustomize.py').is_file() and '--no-build-isolation' in build and tools.endswith('wheel')
    monkeypatch.setattr(doctor.importlib.util, 'find_spec', lambda name: None)  # an environment of uv
    assert doctor.pip_install('torch').startswith('uv pip install --python ')


def test_missing_requirements_are_named(monkeypatch):
    from memnet_basicsr.plugin import doctor
    wanted = ['torch>=99.1', 'no-such-package', 'numpy', 'basicsr>=9; python_version < "3.13"', 'ruff; extra == "dev"']
    monkeypatch.setattr(doctor.importlib.metadata, 'requires', lambda name: wanted)
    assert doctor.missing_requirements() == ['torch>=99.1', 'no-such-package']


def test_every_command_answers_help(capsys):
    from memnet_basicsr.plugin.command import main
    for name in COMMANDS:
        try:
            code = main([name, '--help'])
        except SystemExit as error:
            code = error.code
        assert code == 0 and f'memnet {name}' in capsys.readouterr().out.replace('memnet-', 'memnet ')
    assert main(['option']) == 2 and capsys.readouterr().err == 'memnet: there is no command option; near: options\n'
