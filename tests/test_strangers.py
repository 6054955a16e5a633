"""An option file that names nothing of ours runs as without the plug-in; names that BasicSR registers too."""
import cv2
import json
import numpy as np
import pytest
import re
import shutil
import torch
from pathlib import Path

import basicsr
from basicsr.utils import registry
from memnet_basicsr.plugin import compat, names
from memnet_basicsr.plugin.strangers import is_ours, lookup, uses_plugin
from tests.conftest import DEPS, ROOT, run

# BasicSR's train.py with a list of all calls of BasicSR's functions; without the plug-in only what `import basicsr`
# needs on this stack is repaired
RECORD = '''
import json, os, runpy, sys
if os.environ.get('MEMNET_BASICSR_AUTOLOAD') == '0':
    import importlib.util
    spec = importlib.util.spec_from_file_location('repairs', {compat!r})
    repairs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(repairs)
    repairs.before_basicsr()
import basicsr
import torch
torch.set_num_threads(1)
folder, calls = os.path.dirname(basicsr.__file__), []

def record(frame, event, arg):
    name = frame.f_code.co_filename
    if event == 'call' and name.startswith((folder, {script!r})):
        calls.append(os.path.basename(name) + ':' + frame.f_code.co_name)

sys.argv = [{script!r}, *sys.argv[1:]]
sys.setprofile(record)
try:
    runpy.run_path({script!r}, run_name='__main__')
finally:
    sys.setprofile(None)
    json.dump(calls, open('calls.json', 'w'))
    json.dump(sorted(v for v in sys.modules if v.startswith('memnet_basicsr')), open('modules.json', 'w'))
'''


@pytest.fixture
def stock_options(tmp_path):
    """A run that needs BasicSR only, and breaks rules of ours: an option that nobody reads, an incomplete batch."""
    for kind in ('lq', 'gt'):
        (tmp_path / kind).mkdir()
        for i in range(5):
            img = np.random.RandomState(i).randint(0, 256, (16, 16, 3), dtype=np.uint8)
            cv2.imwrite(str(tmp_path / kind / f'{i}.png'), img)
    pairs = dict(type='PairedImageDataset', dataroot_gt=str(tmp_path / 'gt'), dataroot_lq=str(tmp_path / 'lq'),
                 io_backend=dict(type='disk'))  # yapf: disable
    return dict(
        name='stock', model_type='SRModel', scale=1, num_gpu=0, manual_seed=0, of_no_use=1,
        datasets=dict(
            train=dict(name='a', gt_size=8, use_hflip=True, use_rot=True, use_shuffle=True, num_worker_per_gpu=0,
                       batch_size_per_gpu=2, **pairs),
            val=dict(name='b', **pairs)),
        network_g=dict(type='EDSR', num_in_ch=3, num_out_ch=3, num_feat=4, num_block=1, upscale=1),
        path=dict(pretrain_network_g=None, resume_state=None),
        train=dict(optim_g=dict(type='Adam', lr=1e-3), total_iter=5, warmup_iter=-1,
                   scheduler=dict(type='MultiStepLR', milestones=[3], gamma=0.5), pixel_opt=dict(type='L1Loss')),
        val=dict(val_freq=2, save_img=False, metrics=dict(psnr=dict(type='calculate_psnr', crop_border=0))),
        logger=dict(print_freq=1, save_checkpoint_freq=2, use_tb_logger=False))  # yapf: disable


def train(folder, options, with_plugin, *args):
    """Run BasicSR's train.py below a folder; return its log without times, its calls and its files."""
    script = folder / 'root' / 'basicsr' / 'train.py'
    script.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(Path(basicsr.__file__).parent / 'train.py', script)
    path = folder.parent / 'stock.yml'
    path.write_text(json.dumps(options))
    record = folder / 'record.py'
    record.write_text(RECORD.format(script=str(script), compat=str(compat.__file__)))
    env = dict(PYTHONPATH=ROOT) if with_plugin else dict(MEMNET_BASICSR_AUTOLOAD='0')
    result = run(DEPS.parents[2] / 'bin' / 'python', record, '-opt', path, *args, cwd=folder, **env)
    log = ''.join(v.read_text() for v in sorted((folder / 'root').glob('experiments/stock/*.log')))
    lines = [re.sub(r'^[\d-]+ [\d:,]+ |, eta: [^,]*, time[^]]*|Time consumed.*|time \(data\)[^)]*\)', '', v)
             for v in log.replace(str(folder), '').splitlines()]  # yapf: disable
    assert (with_plugin and 'memnet_basicsr' in json.loads((folder / 'modules.json').read_text())) or not with_plugin
    return result, lines, json.loads((folder / 'calls.json').read_text())


def test_stock_option_file_runs_as_without_the_plugin(stock_options, tmp_path):
    """Same calls, same weights and states, same log but for one line; also resumed."""
    results = {}
    for with_plugin in (False, True):
        folder = tmp_path / str(with_plugin)
        folder.mkdir()
        result, lines, calls = train(folder, stock_options, with_plugin)
        assert result.returncode == 0, result.stderr
        # reading a registry changes nothing: this is how option files of ours are told from others
        calls = [v for v in calls if v not in ('registry.py:__contains__', 'registry.py:__iter__')]
        files = {v.name: torch.load(v, weights_only=True) for v in (folder / 'root').rglob('*.pth')}
        results[with_plugin] = lines, calls, files, result.stderr
    (without, calls, files, errors), (lines, our_calls, our_files, our_errors) = results[False], results[True]
    assert [v for v in lines if v not in without] == [v for v in lines if v.startswith('memnet_basicsr: ')]
    assert len(lines) == len(without) + 1 and [v for v in lines if 'memnet_basicsr' not in v] == without
    start = calls.index('train.py:train_pipeline')
    assert our_calls[our_calls.index('train.py:train_pipeline'):] == calls[start:] and len(calls) > 300
    assert calls.count('__init__.py:build_dataset') == 2
    assert len(our_errors.splitlines()) == len(errors.splitlines()) + 1  # the log line; nothing else is printed
    assert files.keys() == our_files.keys() and len(files) >= 3
    for name, content in files.items():
        for key, value in content['params'].items():
            assert torch.equal(value, our_files[name]['params'][key]), (name, key)


def test_stock_option_file_ends_early_as_ever(stock_options, tmp_path):
    """5 images, batch 2: BasicSR drops the last incomplete batch (row 21). The check of that is for our runs only."""
    stock_options['train']['total_iter'] = 40
    (tmp_path / 'run').mkdir()
    result, lines, _ = train(tmp_path / 'run', stock_options, True)
    assert result.returncode == 0, result.stderr
    assert not any('iter:      40' in v for v in lines) and any('End of training' in v for v in lines)


@pytest.mark.parametrize('entry', ['x"];open("executed","w");opt["y=1', 'train:total_iter=[open("executed", "w")]'])
def test_code_in_force_yml_is_refused(stock_options, pipeline, entry, capsys, tmp_path):
    """BasicSR executes it."""
    with pytest.raises(SystemExit):
        pipeline(stock_options, '--force_yml', entry)
    assert f'--force_yml {entry}: ' in capsys.readouterr().err and not (tmp_path / 'executed').exists()


def test_force_yml_makes_a_file_ours(stock_options, pipeline, capsys):
    with pytest.raises(SystemExit):  # our rules hold
        pipeline(stock_options, '--force_yml', 'model_type=RestorationModel')
    assert 'of_no_use: unknown option' in capsys.readouterr().err


def test_uses_plugin(stock_options, monkeypatch):
    assert not uses_plugin(stock_options)
    for place, name in ((['model_type'], 'RestorationModel'), (['network_g', 'type'], 'MemNet'),
                        (['datasets', 'val',
                          'type'], 'PairedMaskedDataset'), (['train', 'pixel_opt',
                                                             'type'], 'PSNRLoss'), (['val', 'metrics', 'psnr',
                                                                                     'type'], 'calculate_lab_error')):
        opt = json.loads(json.dumps(stock_options))
        block = opt
        for key in place[:-1]:
            block = block[key]
        block[place[-1]] = name
        assert uses_plugin(opt), name
    wrapped = dict(stock_options, network_g=dict(type='Unknown', inner=[dict(type='MemoryNet')]))
    assert uses_plugin(wrapped)
    assert not uses_plugin(dict(stock_options, network_g=dict(type='Unknown')))


def test_subclasses_are_ours():
    base = lookup(registry.ARCH_REGISTRY, 'MemNet')
    assert is_ours(base) and is_ours(type('Mine', (base, ), {'__module__': 'mine'}))
    assert not is_ours(lookup(registry.ARCH_REGISTRY, 'EDSR'))
    assert lookup(registry.ARCH_REGISTRY, 'nothing') is None and lookup(registry.ARCH_REGISTRY, None) is None


def test_name_that_basicsr_registers_too(monkeypatch):
    """A class that was merged into BasicSR: ours has the name, BasicSR's stays available, one line names it."""
    known = registry.Registry('test')
    theirs = type('MergedNet', (), {'__module__': 'basicsr.archs.merged_arch'})
    ours = type('MergedNet', (), {'__module__': 'memnet_basicsr.archs.merged_arch'})
    foreign = type('MergedNet', (), {'__module__': 'somebody.archs'})
    monkeypatch.setattr(compat, 'notes', [])
    known.register(theirs)
    with names.ours_first():
        known.register(ours)
        with pytest.raises(AssertionError, match='already registered'):
            known.register(foreign)
    assert known.get('MergedNet') is ours and known.get('MergedNet_basicsr') is theirs
    assert compat.notes == ['MergedNet is registered by BasicSR too: `MergedNet` is the class of memnet_basicsr, '
                            '`MergedNet_basicsr` that of BasicSR']  # yapf: disable
    assert compat.notes[0] in compat.report().splitlines() and '\n' not in compat.report_to_strangers()
    with pytest.raises(AssertionError, match='already registered'):  # outside, BasicSR's rule stands
        known.register(type('MergedNet', (), {'__module__': 'memnet_basicsr.archs.merged_arch'}))


def test_plugin_loads_beside_a_basicsr_that_has_our_network(tmp_path):
    """A whole start of Python: the merged network is registered by BasicSR before the plug-in is imported."""
    code = '''
import importlib.util, sys
spec = importlib.util.spec_from_file_location('repairs', {!r})
repairs = importlib.util.module_from_spec(spec)
spec.loader.exec_module(repairs)
repairs.before_basicsr()
import basicsr
from basicsr.utils.registry import ARCH_REGISTRY
class MemNet:
    __module__ = 'basicsr.archs.memnet_arch'
ARCH_REGISTRY.register(MemNet)
import memnet_basicsr
from memnet_basicsr.plugin import compat
print(ARCH_REGISTRY.get('MemNet').__module__, ARCH_REGISTRY.get('MemNet_basicsr') is MemNet, len(compat.notes))
'''.format(str(compat.__file__))
    result = run(DEPS.parents[2] / 'bin' / 'python', '-c', code, cwd=tmp_path, PYTHONPATH=ROOT,
                 MEMNET_BASICSR_AUTOLOAD='0')  # yapf: disable
    assert result.stdout == 'memnet_basicsr.archs.memnet_arch True 1\n', result.stderr
