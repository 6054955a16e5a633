"""Set up a virtual environment with the tested versions; skipped when it is up to date.

    python scripts/setup_venv.py .venv

Needs Python 3.10 or newer with venv, and a package index. BasicSR's setup.py is repaired while it is built (it does not
build on Python 3.13 and newer otherwise). Use the folder `scripts/basicsr_build` by hand to do just that:

    pip install setuptools wheel
    PYTHONPATH=$PWD/scripts/basicsr_build pip install --no-build-isolation --no-deps basicsr
"""
import argparse
import hashlib
import os
import subprocess
import sys
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / 'scripts' / 'basicsr_build'


def constraints():
    """File of pinned versions; Python 3.10 has a separate one, since current numpy and scipy do not support it."""
    return ROOT / ('constraints.txt' if sys.version_info >= (3, 11) else '.ci/constraints-py310.txt')


def state():
    """Hash of everything that the environment depends on."""
    copied = [ROOT / '_memnet_basicsr_autoload.py', ROOT / 'memnet_basicsr_autoload.pth']
    files = [ROOT / 'setup.py', constraints(), Path(__file__), BUILD / 'sitecustomize.py', *copied]
    return hashlib.sha256(b'\0'.join([sys.version.encode(), str(ROOT).encode()] + [file.read_bytes()
                                                                                   for file in files])).hexdigest()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('folder', type=Path, help='the environment, for example .venv')
    folder = parser.parse_args().folder.absolute()
    if sys.version_info < (3, 10):
        sys.exit(f'error: Python 3.10 or newer is needed, this is {sys.version.split()[0]}: make PYTHON=python3.11 ...')
    stamp = folder / 'memnet_basicsr_setup.txt'
    if stamp.is_file() and stamp.read_text() == state():
        print(f'{folder} is up to date')
        return
    start = time.time()
    stamp.unlink(missing_ok=True)
    print(f'Setting up {folder} (a few minutes, about 2 GB; more with CUDA)', flush=True)
    try:
        venv.create(folder, with_pip=True)
    except subprocess.CalledProcessError:
        sys.exit(f'error: {sys.executable} cannot make a virtual environment with pip '
                 '(Debian and Ubuntu: apt install python3-venv)')
    python = folder / ('Scripts' if os.name == 'nt' else 'bin') / 'python'

    def pip(*args, **env):
        command = [
            str(python), '-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '-c',
            str(constraints()), *args
        ]
        print('+ pip install', *args, flush=True)
        if subprocess.run(command, cwd=ROOT, env={**os.environ, **env}).returncode:
            sys.exit(f'error: pip install {" ".join(args)} failed (see above); run the same command again to continue')

    pip('setuptools', 'wheel', 'torch', 'torchvision')
    pip('--no-build-isolation', 'basicsr', PYTHONPATH=str(BUILD))
    pip('--no-build-isolation', '-e', '.[tests,dev]')
    stamp.write_text(state())
    print(f'{folder} is ready after {time.time() - start:.0f} s')


if __name__ == '__main__':
    main()
