"""Each repair: the breakage without it, its absence with it, and that nothing is done where nothing is broken."""
import json
import os
import pytest
import runpy
import socket
import sys
import torch
from os import path as osp
from pathlib import Path

from basicsr import data as stock_data
from basicsr.models import base_model
from basicsr.utils import dist_util
from basicsr.utils import logger as stock_logger
from basicsr.utils import misc
from basicsr.utils import options as stock_options
from memnet_basicsr.errors import UsageError
from memnet_basicsr.plugin import compat, launch

COMPAT = Path(compat.__file__)
no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason='the breakage is that of a machine without a GPU')


@pytest.fixture
def repairs(monkeypatch):
    """The list of repairs, empty."""
    monkeypatch.setattr(compat, 'repairs', [])
    return compat.repairs


# ---- rows 1 and 2: import basicsr -----------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def real_import(wheel_environment, tmp_path_factory):
    """What breaks on this machine, step by step, in a Python without the hook: `import basicsr` and its repairs."""
    folder = tmp_path_factory.mktemp('import')
    (folder / 'steps.py').write_text(f'''
import importlib.util, json, sys
results = dict()

def attempt(name, step):
    try:
        step()
        results[name] = None
    except Exception as error:
        results[name] = f'{{type(error).__name__}}: {{error}}'
    for module in [v for v in sys.modules if v.split('.')[0] == 'basicsr']:
        del sys.modules[module]

def basicsr():
    import basicsr

def torchvision():
    import torchvision

spec = importlib.util.spec_from_file_location('compat', {str(COMPAT)!r})
compat = importlib.util.module_from_spec(spec)
spec.loader.exec_module(compat)
attempt('basicsr at first', basicsr)
attempt('torchvision at first', torchvision)
compat.provide_torchvision_operators()
attempt('torchvision after row 2', torchvision)
attempt('basicsr after row 2', basicsr)
compat.provide_functional_tensor()
attempt('basicsr after row 1', basicsr)
compat.before_basicsr()
from torchvision.transforms import functional
from torchvision.transforms.functional_tensor import rgb_to_grayscale
print(json.dumps([results, compat.repairs, rgb_to_grayscale is functional.rgb_to_grayscale]))
''')
    result = wheel_environment('steps.py', cwd=folder, MEMNET_BASICSR_AUTOLOAD='0')
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def test_row_1_and_2_on_this_machine(real_import):
    results, repairs, _ = real_import
    assert results['basicsr at first'] is not None
    assert results['torchvision after row 2'] is None
    assert results['basicsr after row 1'] is None
    # before_basicsr, called once more, repairs nothing twice
    assert len(repairs) == len(set(repairs)) == 1 + (results['torchvision at first'] is not None)


def test_row_1(real_import):
    results, repairs, same = real_import
    if results['basicsr after row 2'] is None:
        pytest.skip('this torchvision still has functional_tensor')
    assert "No module named 'torchvision.transforms.functional_tensor'" in results['basicsr after row 2']
    assert same and any(v.startswith('row 1: ') for v in repairs)


def test_row_2(real_import):
    results, repairs, _ = real_import
    if results['torchvision at first'] is None:
        assert not any(v.startswith('row 2: ') for v in repairs)
        pytest.skip('torchvision imports on this machine: its build fits that of torch')
    assert 'operator torchvision::nms does not exist' in results['torchvision at first']
    assert any(v.startswith('row 2: ') and 'nms' in v for v in repairs)


@pytest.fixture
def imitation(tmp_path, run_command):
    """Run compat.before_basicsr beside a torchvision, a torch and a BasicSR of a few lines."""
    files = {
        'torchvision/__init__.py': '',
        'torchvision/transforms/__init__.py': '',
        'torchvision/transforms/functional.py': 'def rgb_to_grayscale(): return "gray"',
        'basicsr/__init__.py': '',
        'basicsr/data/__init__.py': '',
        'basicsr/data/degradations.py': 'from torchvision.transforms.functional_tensor import rgb_to_grayscale',
        'torch.py': 'import types\nversion = types.SimpleNamespace(cuda=None, hip=None)\n',
    }

    def call(**changes):
        for name, text in {**files, **changes}.items():
            path = tmp_path / 'path' / name
            if text is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
        code = ('import importlib.util, json, sys\n'
                f'spec = importlib.util.spec_from_file_location("compat", {str(COMPAT)!r})\n'
                'compat = importlib.util.module_from_spec(spec)\nspec.loader.exec_module(compat)\n'
                'compat.before_basicsr()\ncompat.before_basicsr()\n'
                'print(json.dumps([compat.repairs, "torchvision.transforms.functional_tensor" in sys.modules]))\n'
                'import basicsr.data.degradations\n')
        code = f'import sys\nsys.path.insert(0, "{tmp_path}/path")\n{code}'
        result = run_command(sys.executable, '-I', '-S', '-c', code, cwd=tmp_path)
        if result.returncode:
            return result.stderr.rstrip().splitlines()[-1]
        return json.loads(result.stdout)

    return call


def test_row_1_is_repaired_once(imitation):
    (repair, ), supplied = imitation()
    assert repair.startswith('row 1: ') and supplied


def test_row_1_nothing_to_repair_in_an_older_torchvision(imitation):
    assert imitation(**{'torchvision/transforms/functional_tensor.py': 'rgb_to_grayscale = 1'}) == [[], False]


def test_row_1_nothing_to_repair_in_a_mended_basicsr(imitation):
    text = 'from torchvision.transforms.functional import rgb_to_grayscale'
    assert imitation(**{'basicsr/data/degradations.py': text}) == [[], False]


def test_without_basicsr(imitation, tmp_path):
    files = {'basicsr/__init__.py': None, 'basicsr/data/__init__.py': None, 'basicsr/data/degradations.py': None}
    assert imitation(**files) == "ModuleNotFoundError: No module named 'basicsr'"


@pytest.mark.parametrize('error, torch_text', [
    ('RuntimeError("something else")', None),
    ('ImportError("no operator torchvision::nms")', None),
    ('RuntimeError("operator torchvision::nms does not exist")',
     'import types\nversion = types.SimpleNamespace(cuda="13.0", hip=None)'),
    ('RuntimeError("operator torchvision::nms does not exist")',
     'import types\nversion = types.SimpleNamespace(cuda=None, hip="6.0")'),
], ids=['another error', 'another kind', 'CUDA', 'ROCm'])  # yapf: disable
def test_row_2_acts_only_beside_a_cpu_build(imitation, error, torch_text):
    changes = {'torchvision/__init__.py': f'raise {error}'}
    if torch_text:
        changes['torch.py'] = torch_text
    assert error.split('(')[0] in imitation(**changes) and error.split('"')[1] in imitation(**changes)


# ---- row 4: the launcher's spelling ---------------------------------------------------------------------------------


@pytest.mark.parametrize('spelling', [['--local-rank=0'], ['--local-rank', '0']])
def test_row_4(repairs, options, write_options, monkeypatch, capsys, spelling):
    monkeypatch.setattr(sys, 'argv', ['train.py', '-opt', str(write_options(options)), *spelling])
    stock = stock_options.parse_options.__wrapped__
    with pytest.raises(SystemExit):
        stock('/tmp')
    assert 'unrecognized arguments: --local-rank' in capsys.readouterr().err
    _, args = stock_options.parse_options('/tmp')
    assert args.local_rank == 0
    assert [v.split(':')[0] for v in repairs] == ['row 4']


def test_row_4_nothing_to_repair(repairs):
    argv = ['train.py', '-opt', '--local-ranking', '--local_rank=1', '--launcher', 'pytorch']
    before = list(argv)
    compat.accept_local_rank_spelling(argv)
    assert argv == before and repairs == []


# ---- row 5: several processes without a GPU -------------------------------------------------------------------------


@pytest.fixture
def one_process_group(monkeypatch):
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        port = s.getsockname()[1]
    for name, value in dict(RANK=0, WORLD_SIZE=1, MASTER_ADDR='127.0.0.1', MASTER_PORT=port).items():
        monkeypatch.setenv(name, str(value))
    yield
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


@no_gpu
def test_row_5(repairs, one_process_group):
    with pytest.raises(ZeroDivisionError):
        dist_util._init_dist_pytorch.__wrapped__('nccl')
    count, set_device = torch.cuda.device_count, torch.cuda.set_device
    dist_util._init_dist_pytorch('nccl')
    assert (torch.cuda.device_count, torch.cuda.set_device) == (count, set_device)
    assert torch.distributed.get_backend() == 'gloo' and dist_util.get_dist_info() == (0, 1)
    assert [v.split(':')[0] for v in repairs] == ['row 5']

    model = base_model.BaseModel(dict(num_gpu=0, is_train=True, dist=True))
    net = torch.nn.Linear(1, 1, bias=False)
    with pytest.raises(Exception, match=r'CUDA|NVIDIA'):
        type(model).model_to_device.__wrapped__(model, net)
    wrapped = model.model_to_device(net)
    assert isinstance(wrapped, torch.nn.parallel.DistributedDataParallel)
    wrapped(torch.full((1, 1), 3.)).sum().backward()
    assert net.weight.grad.item() == 3
    assert model.get_bare_model(wrapped) is net


def test_row_5_nothing_to_repair_with_a_gpu(repairs, monkeypatch):
    calls = []
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    compat._initialise_without_gpu(lambda backend, **kwargs: calls.append((backend, kwargs)))('nccl', port=1)
    model = base_model.BaseModel(dict(num_gpu=0, is_train=True, dist=True))
    compat._model_to_cpu(lambda model, net: calls.append(net))(model, 'net')
    model.opt['dist'] = False
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    compat._model_to_cpu(lambda model, net: calls.append(net))(model, 'one process')
    assert calls == [('nccl', dict(port=1)), 'net', 'one process'] and repairs == []


def test_row_5_is_in_place_once():
    compat.after_basicsr()
    compat.after_basicsr()
    launch.install()
    for function in (dist_util._init_dist_pytorch, dist_util._init_dist_slurm, base_model.BaseModel.model_to_device,
                     stock_options.parse_options, stock_data.build_dataloader,
                     stock_logger.get_env_info):  # yapf: disable
        assert not hasattr(function.__wrapped__, '__wrapped__')


# ---- rows 6 and 7: resuming -----------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Options of a run with states of iterations 9 and 10, in another place than the current directory."""
    root = tmp_path / 'root' / 'experiments' / 'a'
    for name in ('models', 'training_states'):
        (root / name).mkdir(parents=True)
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.Adam([weight])
    weight.sum().backward()
    optimizer.step()
    from basicsr.models.lr_scheduler import MultiStepRestartLR
    schedulers = [MultiStepRestartLR(optimizer, [5, 5, 9]).state_dict()]
    for i in (9, 10):
        state = dict(epoch=i - 8, iter=i, optimizers=[optimizer.state_dict()], schedulers=schedulers)
        torch.save(state, root / 'training_states' / f'{i}.state')
        torch.save(dict(params=dict(weight=weight.data)), root / 'models' / f'net_g_{i}.pth')
    (tmp_path / 'elsewhere').mkdir()
    monkeypatch.chdir(tmp_path / 'elsewhere')
    return dict(name='a', auto_resume=False, manual_seed=0, network_g={}, train={'total_iter': 99},
                root_path=str(tmp_path),
                path=dict(models=str(root / 'models'), training_states=str(root / 'training_states')))  # yapf: disable


@pytest.fixture(scope='module')
def stock():
    """A fresh copy of BasicSR's function (a run in this process would have exchanged it)."""
    import basicsr
    return runpy.run_path(osp.join(osp.dirname(basicsr.__file__), 'train.py'))['load_resume_state']


@no_gpu
def test_row_6(repairs, run, stock):
    run['path']['resume_state'] = osp.join(run['path']['training_states'], '9.state')
    with pytest.raises(Exception, match=r'CUDA|NVIDIA'):
        stock(run)
    state = compat.load_resume_state(run)
    assert state['iter'] == 9 and run['resume_position'] == (1, 9)
    moments = state['optimizers'][0]['state'][0]
    assert moments['exp_avg'].device.type == 'cpu' and torch.allclose(moments['exp_avg'], torch.full((2, ), 0.1))
    assert state['schedulers'][0]['milestones'] == {5: 2, 9: 1}
    assert run['path']['pretrain_network_g'] == osp.join(run['path']['models'], 'net_g_9.pth')
    assert any(v.startswith('row 6: ') for v in repairs)


@no_gpu
def test_row_6_for_runs_that_use_basicsr_only(run, stock):
    """BasicSR's own function, so that states are found where BasicSR looks for them; it works without a GPU."""
    run['path']['resume_state'] = osp.join(run['path']['training_states'], '9.state')
    load, current_device = torch.load, torch.cuda.current_device
    state = compat.resume_without_gpu(stock)(run)
    assert (torch.load, torch.cuda.current_device) == (load, current_device)
    assert state['iter'] == 9 and state['optimizers'][0]['state'][0]['exp_avg'].device.type == 'cpu'
    run['auto_resume'] = True
    assert compat.resume_without_gpu(stock)(run) is None and run['root_path'] != os.getcwd()


def test_row_7(repairs, run, stock):
    run['auto_resume'] = True
    assert stock(run) is None
    state = compat.load_resume_state(run)
    assert state['iter'] == 10  # the newest by number, not by name
    assert run['path']['resume_state'] == osp.join(run['path']['training_states'], '10.state')
    assert any(v.startswith('row 7: ') for v in repairs)


def test_row_7_nothing_to_repair(repairs, run, monkeypatch, tmp_path):
    """Where the current directory is the root."""
    monkeypatch.chdir(tmp_path / 'root')
    run['auto_resume'] = True
    assert compat.load_resume_state(run)['iter'] == 10
    assert not any(v.startswith('row 7: ') for v in repairs)


def test_nothing_to_resume(repairs, run, tmp_path):
    assert compat.load_resume_state(run) is None
    run['auto_resume'] = True
    run['path']['training_states'] = str(tmp_path / 'none')
    assert compat.load_resume_state(run) is None
    assert repairs == [] and 'resume_position' not in run


@pytest.mark.parametrize('content', [None, b'', b'damaged'])
def test_named_state_that_cannot_be_loaded(run, tmp_path, content):
    path = tmp_path / '3.state'
    if content is not None:
        path.write_bytes(content)
    run['path']['resume_state'] = str(path)
    with pytest.raises(UsageError, match=r'3\.state'):
        compat.load_resume_state(run)


# ---- report ---------------------------------------------------------------------------------------------------------


def test_report(wheel_environment, tmp_path, real_import):
    """`python -m memnet_basicsr.plugin.compat` tells the version and each repair, and nothing else."""
    result = wheel_environment('-m', 'memnet_basicsr.plugin.compat', cwd=tmp_path)
    assert result.returncode == 0 and result.stderr == ''
    first, count, *lines = result.stdout.splitlines()
    assert first == 'memnet_basicsr: 0.1.0'
    assert count == f'\tRepairs made for BasicSR: {len(real_import[1])}'
    assert sorted(v.strip() for v in lines) == sorted(real_import[1])


def test_report_without_installation(monkeypatch, repairs):

    def version(name):
        raise compat.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(compat.importlib.metadata, 'version', version)
    repairs.append('row 0: something')
    assert compat.report().splitlines()[:3] == [
        'memnet_basicsr: not installed, imported from its folder', '\tRepairs made for BasicSR: 1',
        '\t\trow 0: something'
    ]


def test_distutils_where_python_has_none(monkeypatch, repairs):
    """From Python 3.12 on, without setuptools: the breakage is `import distutils` itself."""
    for name in [v for v in sys.modules if v.split('.')[0] == 'distutils']:
        monkeypatch.delitem(sys.modules, name)
    find_spec = compat.importlib.util.find_spec
    monkeypatch.setattr(compat.importlib.util, 'find_spec',
                        lambda name, *args: None if name == 'distutils' else find_spec(name, *args))  # yapf: disable
    monkeypatch.setattr(sys, 'modules', dict(sys.modules))
    compat.provide_distutils()
    version = sys.modules['distutils.version'].LooseVersion
    assert version('0.9.0') < version('0.13.0') <= version('0.28.0+cpu')
    assert len(repairs) == 1 and 'distutils' in repairs[0]


def test_distutils_is_left_alone_where_it_exists(monkeypatch, repairs):
    monkeypatch.setattr(compat.importlib.util, 'find_spec', lambda name, *args: object())
    compat.provide_distutils()
    assert repairs == []


def test_two_runs_are_archived_within_a_second(monkeypatch, tmp_path):
    """Found by a training that was killed twice before its first state, within a second."""
    times = []
    monkeypatch.setattr(misc, 'get_time_str', lambda: times.pop(0) if len(times) > 1 else times[0])
    run = tmp_path / 'run'
    for number, times[:] in enumerate((['a'], ['a'], ['a', 'a', 'b'])):
        if run.exists():
            (run / 'file').write_text(str(number))
        misc.mkdir_and_rename(str(run))
    assert [(tmp_path / f'run_archived_{v}' / 'file').read_text()
            for v in 'ab'] == ['1', '2'] and not list(run.iterdir())
    with pytest.raises(OSError, match='not empty'):
        (run / 'file').touch()
        misc.mkdir_and_rename.__wrapped__(str(run))
