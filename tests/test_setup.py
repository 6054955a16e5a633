"""What is installed, the set-up script, and building BasicSR on Python 3.13 and newer (row 3)."""
import os
import pytest
import re
import runpy
import shutil
import subprocess
import sys
import tarfile
import venv
from glob import glob
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / 'scripts' / 'basicsr_build'


def test_wheel_holds_the_whole_package(wheel_environment):
    files = wheel_environment.files()
    source = wheel_environment.source
    wanted = {str(v.relative_to(source)) for v in (source / 'memnet_basicsr').rglob('*') if v.is_file()}
    assert wanted <= files
    beside = {'memnet_basicsr_autoload.pth', *(v.name for v in source.glob('_*.py'))}
    others = {'basicsr', 'dependencies.pth', 'distutils-precedence.pth', '__pycache__'}  # the third is setuptools'
    top = {v.split('/')[0] for v in files} - others
    assert {v for v in top if 'dist-info' not in v} == {'memnet_basicsr', *beside}


def test_source_distribution_can_be_built_from(new_project, run_command):
    """The start-up file travels in the sdist too."""
    project = new_project()
    result = run_command(sys.executable, 'setup.py', '-q', 'sdist', cwd=project)
    assert result.returncode == 0, result.stderr
    with tarfile.open(next((project / 'dist').glob('*.tar.gz'))) as f:
        names = {v.split('/', 1)[-1] for v in f.getnames()}
    assert {'memnet_basicsr_autoload.pth', '_memnet_basicsr_autoload.py', 'README.md', 'setup.py'} <= names


def test_every_requirement_is_pinned():
    text = (ROOT / 'setup.py').read_text()
    lists = re.findall(r'(?:install_requires=|\'tests\':|\'dev\':)\s*\[(.*?)\]', text, flags=re.DOTALL)
    names = {re.split('[<>=]', v)[0].lower() for part in lists for v in re.findall(r"'([^']+)'", part)}
    assert {'torch', 'basicsr', 'pytest'} <= names
    lines = [v for v in (ROOT / 'constraints.txt').read_text().splitlines() if v and not v.startswith('#')]
    assert all(re.fullmatch(r'[\w.-]+==[\w.]+', v) for v in lines)
    assert names <= {v.split('==')[0].lower() for v in lines}


# ---- scripts/setup_venv.py ------------------------------------------------------------------------------------------


@pytest.fixture
def set_up(monkeypatch, tmp_path, capsys):
    """Run the script with the slow parts replaced; returns the commands and the exit message."""
    calls = []

    def call(fail_at=None, create=lambda folder, with_pip: Path(folder).mkdir(exist_ok=True)):
        calls.clear()

        def record(command, cwd, env):
            calls.append((command, cwd, env))
            return subprocess.CompletedProcess(command, int(len(calls) == fail_at))

        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, 'argv', ['setup_venv.py', '.venv'])
        monkeypatch.setattr(venv, 'create', create)
        monkeypatch.setattr(subprocess, 'run', record)
        try:
            runpy.run_path(str(ROOT / 'scripts' / 'setup_venv.py'), run_name='__main__')
        except SystemExit as error:
            return list(calls), str(error)
        return list(calls), None

    return call


def test_set_up(set_up, tmp_path, capsys):
    commands, error = set_up()
    assert error is None
    # pinned, from the project's folder, with the Python of the environment wherever the script is called from
    assert all(v[v.index('-c') + 1] == str(ROOT / 'constraints.txt')
               for v, _, _ in commands) or sys.version_info < (3, 11)
    assert all(cwd == ROOT and v[0] == str(tmp_path / '.venv' / 'bin' / 'python') for v, cwd, _ in commands)
    basicsr, = (i for i, (v, _, _) in enumerate(commands) if 'basicsr' in v)
    assert '--no-build-isolation' in commands[basicsr][0]
    assert commands[basicsr][2]['PYTHONPATH'] == str(BUILD)
    torch, = (i for i, (v, _, _) in enumerate(commands) if 'torch' in v)
    assert torch < basicsr < len(commands) - 1
    assert '-e' in commands[-1][0] and '.[tests,dev]' in commands[-1][0]
    assert 'PYTHONPATH' not in commands[-1][2] or commands[-1][2]['PYTHONPATH'] == os.environ.get('PYTHONPATH')
    assert 'is ready' in capsys.readouterr().out

    assert set_up() == ([], None)
    assert 'is up to date' in capsys.readouterr().out


@pytest.mark.parametrize('number', [1, 2, 3])
def test_set_up_goes_on_after_a_failure(set_up, tmp_path, number):
    commands, error = set_up(fail_at=number)
    assert len(commands) == number
    assert error.startswith('error: pip install ') and 'run the same command again' in error
    assert len(set_up()[0]) == 3
    assert set_up()[0] == []


def test_set_up_of_an_older_state_is_renewed(set_up, tmp_path):
    set_up()
    stamp = tmp_path / '.venv' / 'memnet_basicsr_setup.txt'
    stamp.write_text('of another version')
    commands, error = set_up(fail_at=3)
    assert len(commands) == 3 and error and not stamp.exists()
    assert len(set_up()[0]) == 3


@pytest.mark.parametrize('name', ['setup.py', 'constraints.txt', '_memnet_basicsr_autoload.py',
                                  'memnet_basicsr_autoload.pth', 'scripts/setup_venv.py',
                                  'scripts/basicsr_build/sitecustomize.py'])  # yapf: disable
def test_state_depends_on_what_is_copied_or_run(name, tmp_path):
    """The files that an environment has a copy of, or was made by; all else is seen through the editable install."""
    for file in ('setup.py', 'constraints.txt', '_memnet_basicsr_autoload.py', 'memnet_basicsr_autoload.pth',
                 'scripts/setup_venv.py', 'scripts/basicsr_build/sitecustomize.py', '.ci/constraints-py310.txt'):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / file).exists():
            shutil.copy(ROOT / file, tmp_path / file)
    if name == 'constraints.txt' and sys.version_info < (3, 11):
        name = '.ci/constraints-py310.txt'
    state = runpy.run_path(str(tmp_path / 'scripts' / 'setup_venv.py'))['state']
    before = state()
    assert state() == before
    with open(tmp_path / name, 'a') as f:
        f.write('\n')
    assert state() != before


def test_old_python_is_refused(set_up, monkeypatch):
    monkeypatch.setattr(sys, 'version_info', (3, 9, 18))
    commands, error = set_up()
    assert commands == [] and error.startswith('error: Python 3.10 or newer is needed')


def test_python_without_venv(set_up):

    def create(folder, with_pip):
        raise subprocess.CalledProcessError(1, 'ensurepip')

    commands, error = set_up(create=create)
    assert commands == [] and error.startswith('error: ') and 'apt install python3-venv' in error


# ---- row 3 ----------------------------------------------------------------------------------------------------------


def newer_python():
    """An interpreter of 3.13 or newer on this machine, or None."""
    names = [f'python3.{minor}' for minor in range(13, 20)]
    found = [shutil.which(v)
             for v in names] + sorted(glob(os.path.expanduser('~/.pyenv/versions/3.1[3-9]*/bin/python')))
    for python in [sys.executable, *filter(None, found)]:
        code = 'import sys, venv; sys.exit(sys.version_info < (3, 13))'
        if subprocess.run([python, '-c', code], capture_output=True).returncode == 0:
            return python
    return None


def test_basicsr_builds_on_newer_python(basicsr_archive, run_command, tmp_path):
    """Fails without the repair, works with it: what pip does, in the unpacked source (torch is not needed)."""
    python = newer_python()
    if python is None:
        pytest.skip('no Python 3.13 or newer on PATH or in ~/.pyenv')
    import setuptools
    tools = tmp_path / 'tools'
    tools.mkdir()
    for pattern in ('setuptools*', 'pkg_resources', '_distutils_hack', 'wheel*'):
        for path in Path(setuptools.__file__).parent.parent.glob(pattern):
            (tools / path.name).symlink_to(path)
    with tarfile.open(basicsr_archive) as f:
        f.extractall(tmp_path, filter='data')

    def build(*folders):
        code = 'from setuptools import build_meta; build_meta.__legacy__.build_wheel("dist")'
        return run_command(python, '-c', code, cwd=tmp_path / 'basicsr-1.4.2', PYTHONDONTWRITEBYTECODE='1',
                           PYTHONPATH=os.pathsep.join(str(v) for v in folders))  # yapf: disable

    result = build(tools)
    assert result.returncode != 0 and result.stderr.rstrip().endswith("KeyError: '__version__'")
    result = build(BUILD, tools)
    assert result.returncode == 0, result.stderr
    assert list(tmp_path.glob('basicsr-1.4.2/dist/basicsr-1.4.2-*.whl'))


@pytest.fixture
def repair(monkeypatch, tmp_path):
    """Run sitecustomize.py in a folder with a setup.py and see what becomes of it."""

    def call(text, package='basicsr'):
        (tmp_path / package).mkdir(exist_ok=True)
        (tmp_path / 'setup.py').write_text(text)
        monkeypatch.chdir(tmp_path)
        runpy.run_path(str(BUILD / 'sitecustomize.py'))
        return (tmp_path / 'setup.py').read_text()

    return call


GET_VERSION = '''
def get_version():
    with open(version_file, 'r') as f:
        exec(compile(f.read(), version_file, 'exec'))
    return locals()['__version__']
'''


def test_get_version_is_mended(repair, tmp_path):
    """The mended text finds the version where `exec` cannot write to the locals of a function."""
    text = f"version_file = 'basicsr/version.py'\n{GET_VERSION}"
    mended = repair(text)
    assert mended != text
    (tmp_path / 'basicsr' / 'version.py').write_text("__version__ = '1.4.2'\n")
    scope = {}
    exec(mended, scope)
    assert scope['get_version']() == '1.4.2'
    assert 'locals()' not in mended
    assert repair(mended) == mended


def test_archive_has_the_line_that_is_mended(basicsr_archive, repair):
    with tarfile.open(basicsr_archive) as f:
        text = f.extractfile('basicsr-1.4.2/setup.py').read().decode()
    mended = repair(text)
    changed = set(mended.splitlines()) - set(text.splitlines())
    assert [v.strip() for v in sorted(changed, key=mended.index)
            ] == ['scope = {}', "exec(compile(f.read(), version_file, 'exec'), scope)", "return scope['__version__']"]


def test_other_projects_are_left_alone(repair, tmp_path, monkeypatch):
    assert repair(GET_VERSION, package='other') == GET_VERSION
    assert repair('print(1)\n') == 'print(1)\n'
    monkeypatch.chdir(tmp_path / 'other')
    runpy.run_path(str(BUILD / 'sitecustomize.py'))  # nothing there
