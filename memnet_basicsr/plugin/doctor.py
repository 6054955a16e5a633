"""The command ``memnet doctor``: versions, what is broken, and the command that repairs it.

Only the standard library is imported here, since anything else may be broken. Each check runs in a separate process.
"""
import argparse
import importlib.metadata
import importlib.util
import platform
import re
import shlex
import subprocess
import sys

from _memnet_basicsr_command import load

EPILOG = 'exit code: 0 all works, 1 training does not work, 2 restoring does not work'
BASICSR = 'basicsr>=1.4.2'
RESTORE = '''
import numpy, torch
from memnet_basicsr import load_restorer
out = load_restorer('memnet_denoise', device='cpu')(numpy.zeros((8, 8), numpy.uint8))
assert out.shape == (8, 8), out.shape
gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else 'no GPU'
print(f'torch {torch.__version__}, {gpu}')
'''
TRAIN = '''
import memnet_basicsr, basicsr
from basicsr.utils.registry import MODEL_REGISTRY
from memnet_basicsr.plugin import compat
assert 'RestorationModel' in MODEL_REGISTRY, 'the classes of memnet_basicsr are not registered'
print(f'{len(compat.repairs)} patches')
'''


def main(argv):
    """Run the command.

    Args:
        argv (list[str]): Arguments; there are none but ``--help``.

    Returns:
        int: Exit code.
    """
    argparse.ArgumentParser('memnet doctor', description='Print versions, what is broken, and how to repair it.',
                            epilog=EPILOG).parse_args(argv)  # yapf: disable
    print(f'Python {platform.python_version()}, {platform.platform()}: {sys.executable}')
    print(f'memnet-basicsr {_version("memnet-basicsr") or "not installed, imported from its folder"}')
    missing = missing_requirements()
    for text in missing:
        print(f'missing: {text}')
    if missing:
        _repair(pip_install(*missing))
    restores = _check('restoring', RESTORE, missing)
    if not importlib.util.find_spec('basicsr'):
        print('training: BasicSR is not installed; only training and the preparation of datasets need it')
        for command in install_basicsr():
            _repair(command)
        trains = False
    else:
        trains = _check(f'training, BasicSR {_version("basicsr")}', TRAIN, missing)
    return 0 if restores and trains else 1 if restores else 2


def missing_requirements():
    """Requirements of this package, except BasicSR, that are not installed or too old.

    Returns:
        list[str]: Requirements as pip takes them.
    """
    try:
        wanted = importlib.metadata.requires('memnet-basicsr') or []
    except importlib.metadata.PackageNotFoundError:
        return []
    missing = []
    for line in wanted:
        name, least, extra = re.match(r'([\w.-]+)(?:>=([\d.]+))?[^;]*(?:;(.*))?$', line).groups()
        version = _version(name)
        too_old = version and least and _numbers(version) < _numbers(least)
        if name != 'basicsr' and not extra and (version is None or too_old):
            missing.append(f'{name}>={least}' if least else name)
    return missing


def install_basicsr():
    """Commands that install BasicSR, whose source does not build on Python 3.13 and newer without a patch.

    Returns:
        list[str]: Shell commands.
    """
    if sys.version_info < (3, 13):
        return [pip_install(BASICSR)]
    folder = load('plugin.shipped').folder('scripts', 'basicsr_build')
    setting = f'set "PYTHONPATH={folder}" &&' if sys.platform == 'win32' else f'PYTHONPATH={shlex.quote(folder)}'
    return [pip_install('setuptools', 'wheel'), f'{setting} {pip_install("--no-build-isolation", BASICSR)}']


def pip_install(*args):
    """Shell command that installs into this environment; uv's environments have no pip."""
    installer = [sys.executable, '-m', 'pip', 'install']
    if not importlib.util.find_spec('pip'):
        installer = ['uv', 'pip', 'install', '--python', sys.executable]
    return shlex.join([*installer, *args])


def _check(what, code, missing):
    """Run code in another process; print whether it works, else its last line and a repair. Return whether it does."""
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    if result.returncode == 0:
        print(f'{what}: works ({result.stdout.strip().splitlines()[-1]})')
        return True
    error = (result.stderr.strip().splitlines() or [f'exit code {result.returncode}'])[-1]
    print(f'{what}: broken: {error}')
    absent = re.match(r"ModuleNotFoundError: No module named '([\w]+)", error)
    if absent and not missing:
        _repair(pip_install(absent.group(1)))
    return False


def _repair(command):
    print(f'  repair: {command}')


def _version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _numbers(version):
    return [int(v) for v in re.findall(r'\d+', version)[:3]]
