"""The commands of the README, word for word and in their order.

They run in an environment after `pip install .`. With MEMNET_README_BIN, the `bin` folder of an empty environment,
those that install run too.
"""
import cv2
import numpy as np
import os
import pytest
import re
import signal
import subprocess
import time
from pathlib import Path

from tests.conftest import clean_env

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / 'README.md').read_text(encoding='utf-8')
BIN = os.environ.get('MEMNET_README_BIN')
INSTALLS = ('pip install ', 'uvx ')


def commands(text):
    """Commands of the blocks without a language and of the prose, without their comments."""
    fenced = re.findall(r'^```(\w*)\n(.*?)^```', text, re.DOTALL | re.MULTILINE)
    blocks = [v for language, v in fenced if not language and not v.startswith('@')]
    inline = re.findall(r'`(uvx [^`]+|memnet options list)`', text)
    return [re.sub(r' +#.*', '', line) for block in blocks for line in block.splitlines()] + \
        [' '.join(v.split()) for v in inline]


@pytest.fixture(scope='module')
def bin_folder(request):
    return Path(BIN) if BIN else request.getfixturevalue('wheel_environment').python.parent


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """What the README's user has: photographs and the folders of the datasets."""
    folder = tmp_path_factory.mktemp('readme')
    for name in ('photos', 'BSDS500/train', 'BSDS500/test', 'T91', 'BSD68'):
        (folder / name).mkdir(parents=True)
        for i in range(2):
            img = np.random.default_rng(i).integers(0, 256, (48, 56, 3), dtype=np.uint8)
            cv2.imwrite(str(folder / name / f'{name[-4:]}{i}.png'), cv2.GaussianBlur(img, (0, 0), 2))
    return folder


def shell(command, bin_folder, folder):
    """Run a command as a user does; training is interrupted once it runs. Return the exit code and the output."""
    keep = {k: v for k, v in os.environ.items() if k.startswith(('PIP_', 'UV_'))}
    env = clean_env(PATH=f'{bin_folder}:{os.environ["PATH"]}', **keep)
    with subprocess.Popen(['bash', '-c', f'exec {command}'], cwd=folder, env=env, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT) as process:  # yapf: disable
        lines, end = [], time.monotonic() + 1800
        for line in process.stdout:
            lines.append(line)
            if 'Start training' in line:
                process.send_signal(signal.SIGINT)
            assert time.monotonic() < end
    return process.returncode, ''.join(lines)


def test_readme_names_these_commands():
    assert len(commands(README)) >= 9
    assert {v.split()[0] for v in commands(README)} == {'pip', 'uvx', 'memnet', 'python'}


@pytest.mark.parametrize('command', sorted(commands(README), key=lambda v: v.startswith('uvx')))
def test_command(command, bin_folder, folder):
    if command.startswith(INSTALLS) and not BIN:
        pytest.skip('installs; runs with MEMNET_README_BIN')
    code, text = shell(command, bin_folder, folder)
    if command == 'memnet doctor' and code:
        repairs = re.findall(r'^  repair: (.*)', text, re.MULTILINE)
        assert code == 1 and repairs, text
        for repair in repairs:
            assert subprocess.run(['bash', '-c', repair], cwd=folder).returncode == 0
        code, text = shell(command, bin_folder, folder)
    if 'memnet_basicsr.train' in command:
        assert code == 128 + signal.SIGINT and 'Stopped by signal' in text, text
    else:
        assert code == 0, text


def test_python_block(bin_folder, folder):
    block, = re.findall(r'```python\n(.*?)```', README, re.DOTALL)
    code = f'import numpy\nimg = numpy.zeros((24, 20, 3), numpy.uint8)\n{block}\nassert out.shape == img.shape'
    result = subprocess.run([bin_folder / 'python', '-c', code], cwd=folder, env=clean_env())
    assert result.returncode == 0
