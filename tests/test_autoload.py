"""The start-up hook in fresh virtual environments; stand-ins for BasicSR and the plug-in where these are too slow."""
import json
import os
import pytest

HOOKED = 'import sys; print("_memnet_basicsr_autoload" in sys.modules)'
PTH = 'memnet_basicsr_autoload.pth'


def hooked(environment, cwd, **env):
    return environment('-c', HOOKED, cwd=cwd, **env).stdout.strip() == 'True'


@pytest.fixture(scope='module', params=['wheel', 'editable'])
def environment(request):
    return request.getfixturevalue(f'{request.param}_environment')


def test_start_imports_nothing_heavy(environment, tmp_path):
    """A Python that never imports basicsr pays for a module of a few lines, and for nothing that it imports."""
    code = 'import sys; print(*sorted(sys.modules))'
    without = set(environment('-I', '-S', '-c', f'import site; {code}', cwd=tmp_path).stdout.split())
    result = environment('-c', code, cwd=tmp_path)
    assert result.stderr == ''
    added = set(result.stdout.split()) - without
    assert '_memnet_basicsr_autoload' in added
    # the second is Python's own for .pth files, the third setuptools'
    known = {'_memnet_basicsr_autoload', 'encodings.utf_8_sig', '_distutils_hack'}
    assert {v for v in added if not v.startswith('__editable__')} <= known | editable_imports(environment, tmp_path)


def editable_imports(environment, cwd):
    """What setuptools' own file of an editable install imports."""
    finder = [v[:-len('.py')] for v in environment.files() if v.startswith('__editable__') and v.endswith('.py')]
    if not finder:
        return set()
    code = (f'import site, sys; sys.path.append({str(environment.site_packages)!r}); '
            f'import {finder[0]}; print(*sys.modules)')
    return set(environment('-I', '-S', '-c', code, cwd=cwd).stdout.split())


def test_installed_line_is_the_one_that_on_writes(environment):
    from memnet_basicsr.plugin.autoload import LINE, NAME
    assert NAME == PTH
    assert (environment.site_packages / PTH).read_text() == LINE


def test_environment_variable_switches_off(environment, tmp_path):
    code = 'import sys; print([type(v).__module__ for v in sys.meta_path].count("_memnet_basicsr_autoload"))'
    assert environment('-c', code, cwd=tmp_path).stdout == '1\n'
    assert environment('-c', code, cwd=tmp_path, MEMNET_BASICSR_AUTOLOAD='0').stdout == '0\n'


def test_spawned_worker_has_the_plugin(wheel_environment, tmp_path):
    (tmp_path / 'spawn.py').write_text('''
import multiprocessing

def look():
    import sys
    assert 'torch' not in sys.modules
    import basicsr
    from basicsr.utils.registry import ARCH_REGISTRY
    print('MemNet' in ARCH_REGISTRY, basicsr.__spec__.loader is basicsr.__loader__, type(basicsr.__loader__).__name__)

if __name__ == '__main__':
    process = multiprocessing.get_context('spawn').Process(target=look)
    process.start()
    process.join()
''')
    result = wheel_environment('spawn.py', cwd=tmp_path)
    assert result.stdout == 'True True SourceFileLoader\n', result.stderr


@pytest.fixture
def stand_ins(tmp_path):
    """A BasicSR and a plug-in of a few lines that tell what happens to them; found before the installed ones."""
    folder = tmp_path / 'path'
    for name in ('basicsr', 'memnet_basicsr/plugin'):
        (folder / name).mkdir(parents=True)
    tell = 'import builtins\nbuiltins.events = [*getattr(builtins, "events", []), "{}"]\n'
    (folder / 'basicsr' / '__init__.py').write_text(tell.format('basicsr'))
    (folder / 'memnet_basicsr' / '__init__.py').write_text('import basicsr\n' + tell.format('plugin'))
    compat = tell.format('repairs').replace('\n', '\n ')
    (folder / 'memnet_basicsr' / 'plugin' / 'compat.py').write_text(f'def before_basicsr():\n {compat}')
    return folder


SHOW = 'import basicsr, json; print(json.dumps(events))'


def test_order_of_events(wheel_environment, stand_ins):

    def events(code, **env):
        result = wheel_environment('-c', code, cwd=stand_ins, **env)
        assert result.stderr == ''
        return json.loads(result.stdout)

    assert events(SHOW) == ['repairs', 'basicsr', 'plugin']
    assert events(f'import memnet_basicsr; {SHOW}') == ['repairs', 'basicsr', 'plugin']
    assert events(SHOW, MEMNET_BASICSR_AUTOLOAD='0') == ['basicsr']
    assert events(f'import basicsr, importlib; importlib.reload(basicsr); {SHOW}') == [
        'repairs', 'basicsr', 'plugin', 'repairs', 'basicsr'
    ]
    find = 'import builtins, importlib.util as u, json; u.find_spec("basicsr"); '
    assert events(f'{find} print(json.dumps(hasattr(builtins, "events")))') is False  # finding alone runs nothing
    assert events(f'{find} {SHOW}') == ['repairs', 'basicsr', 'plugin']


@pytest.mark.parametrize('file, text', [
    ('memnet_basicsr/plugin/compat.py', 'raise RuntimeError("broken")'),
    ('memnet_basicsr/plugin/compat.py', 'def before_basicsr(): 1 / 0'),
    ('memnet_basicsr/plugin/compat.py', None),
    ('memnet_basicsr/__init__.py', 'def f(:'),
    ('memnet_basicsr/__init__.py', 'raise RuntimeError("broken")'),
    ('memnet_basicsr/__init__.py', 'import no_such_module'),
], ids=['compat raises', 'repair raises', 'no compat', 'syntax', 'raises', 'dependency'])  # yapf: disable
def test_broken_plugin_is_told_and_not_raised(wheel_environment, stand_ins, file, text):
    if text is None:
        (stand_ins / file).unlink()
    else:
        (stand_ins / file).write_text(text)
    result = wheel_environment('-c', 'import basicsr; print(events)', cwd=stand_ins)
    assert result.returncode == 0, result.stderr
    assert 'basicsr' in result.stdout
    assert 'memnet_basicsr could not be loaded' in result.stderr
    assert 'MEMNET_BASICSR_AUTOLOAD=0' in result.stderr
    assert 'Traceback' not in result.stderr


def test_broken_basicsr_fails_as_it_would(wheel_environment, stand_ins):
    (stand_ins / 'basicsr' / '__init__.py').write_text('raise RuntimeError("of its own")')
    code = ('import sys\ntry:\n import basicsr\nexcept RuntimeError as error:\n'
            ' print(error, "basicsr" in sys.modules, "memnet_basicsr" in sys.modules)')
    result = wheel_environment('-c', code, cwd=stand_ins)
    assert result.stdout == 'of its own False False\n'
    assert result.stderr == ''


def test_without_basicsr(wheel_environment, stand_ins, tmp_path):
    code = ('import sys; sys.path[:] = [v for v in sys.path if not v.endswith("-packages")]; '
            'import importlib.util as u; print(u.find_spec("basicsr"))\ntry:\n import basicsr\n'
            'except ModuleNotFoundError as error:\n print(error)')
    assert wheel_environment('-c', code, cwd=tmp_path).stdout == "None\nNo module named 'basicsr'\n"


@pytest.mark.parametrize('text', [None, 'raise ImportError', 'def install(): 1 / 0', 'def f(:'])
def test_broken_hook_is_silent(new_environment, project_hook, tmp_path, text):
    """Whatever the hook's module is, a Python that has nothing to do with BasicSR starts as ever."""
    environment = new_environment()
    (environment.site_packages / PTH).write_text(project_hook)
    if text is not None:
        (environment.site_packages / '_memnet_basicsr_autoload.py').write_text(text)
    result = environment('-c', 'print(1)', cwd=tmp_path)
    assert (result.returncode, result.stdout, result.stderr) == (0, '1\n', '')


@pytest.fixture
def project_hook():
    from pathlib import Path
    return (Path(__file__).parent.parent / PTH).read_text()


def test_switch_and_uninstall_wheel(new_environment, new_project, tmp_path):
    """`off` and `on` act, also in the project's folder (where the build has left an egg-info); then nothing is left."""
    environment, project = new_environment(), new_project()
    before = environment.files()
    environment.install('.', cwd=project)
    assert (project / 'memnet_basicsr.egg-info').is_dir()
    assert hooked(environment, tmp_path)

    result = environment('-m', 'memnet_basicsr.plugin.autoload', 'off', cwd=project)
    assert result.stdout.startswith('autoload is off: ') and result.returncode == 0, result.stderr
    assert not hooked(environment, tmp_path)
    result = environment('-m', 'memnet_basicsr.plugin.autoload', 'on', cwd=tmp_path, MEMNET_BASICSR_AUTOLOAD='0')
    assert result.stdout.startswith('autoload is on, but MEMNET_BASICSR_AUTOLOAD=0 is set: '), result.stderr
    assert hooked(environment, tmp_path)

    environment.pip('uninstall', '-y', 'memnet-basicsr', cwd=tmp_path)
    assert environment.files() == before


def test_missing_start_up_file_is_written_and_uninstalled(new_environment, new_project, tmp_path):
    """`on` writes a start-up file that an installation lacks; uninstalling finds it."""
    environment, project = new_environment(), new_project()
    before = environment.files()
    environment.install('-e', '.', cwd=project)
    (environment.site_packages / PTH).unlink()
    record = next(environment.site_packages.glob('memnet_basicsr-*.dist-info/RECORD'))
    record.write_text(''.join(v for v in record.read_text().splitlines(True) if PTH not in v))
    code = ('from memnet_basicsr.plugin import autoload\nprint(autoload.status())\n'
            'for on in (True, False, True):\n autoload.switch(on)\n print(autoload.status())')
    result = environment('-c', code, cwd=tmp_path)
    states = [line.split(':')[0] for line in result.stdout.splitlines()]
    assert states == ['autoload is off (no start-up file)', 'autoload is on', 'autoload is off', 'autoload is on']
    assert hooked(environment, tmp_path)
    assert record.read_text().count(PTH) == 1
    environment.pip('uninstall', '-y', 'memnet-basicsr', cwd=tmp_path)
    assert environment.files() == before


def test_uninstall_editable(new_environment, new_project, tmp_path):
    environment = new_environment()
    before = environment.files()
    environment.install('-e', '.', cwd=new_project())
    assert hooked(environment, tmp_path)
    environment.pip('uninstall', '-y', 'memnet-basicsr', cwd=tmp_path)
    assert environment.files() == before


def test_not_installed_by_pip(monkeypatch, capsys):
    from memnet_basicsr.plugin import autoload
    monkeypatch.setattr(autoload.importlib.metadata, 'distributions', lambda **kwargs: [])
    monkeypatch.setattr('sys.argv', ['autoload', 'off'])
    with pytest.raises(SystemExit, match='error: memnet-basicsr is not installed by pip'):
        autoload.main()


def test_switch_is_whole_or_not_at_all(monkeypatch, tmp_path):
    from memnet_basicsr.plugin import autoload
    record = tmp_path / 'memnet_basicsr-0.1.0.dist-info' / 'RECORD'
    record.parent.mkdir()
    record.write_text('')
    (tmp_path / PTH).write_text('as it was')
    monkeypatch.setattr(autoload, 'pth_file', lambda: (tmp_path / PTH, record))

    def fail(*args):
        raise OSError('disk full')

    monkeypatch.setattr(os, 'replace', fail)
    with pytest.raises(OSError):
        autoload.switch(True)
    assert (tmp_path / PTH).read_text() == 'as it was'
