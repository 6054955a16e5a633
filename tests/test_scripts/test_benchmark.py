import cv2
import importlib.util
import math
import numpy as np
import os
import pytest
import sys
from pathlib import Path

from memnet_basicsr.analysis.benchmark.jobs import (CONVOLUTIONS, ENGINES, OURS, OURS_DEPLOY, OURS_RECOMPUTE, PEAK,
                                                    PLAIN, PLAIN_LAST, load_plain)
from memnet_basicsr.analysis.benchmark.packaged import packaged_rows
from memnet_basicsr.analysis.benchmark.pipeline import measure_pipeline
from memnet_basicsr.analysis.benchmark.process import Result
from memnet_basicsr.analysis.benchmark.suite import make_cases, verdicts
from memnet_basicsr.data.lmdb_util import write_lmdb
from memnet_basicsr.errors import UsageError
from memnet_basicsr.inference.backends import is_installed

ROOT = Path(__file__).resolve().parents[2]
PRECISIONS = ['fp32', 'bf16']
SHORT = ('MemoryNet (memory: none)', 'MemoryNet (memory: feature)')  # fewer forms
QUICK = ('--threads', '1', '--quick', '--repetitions', '1')


@pytest.fixture
def script():
    """Run the main function of the script in this process."""
    spec = importlib.util.spec_from_file_location('benchmark', ROOT / 'scripts' / 'benchmark.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return lambda *args: module.main([str(v) for v in ('--device', 'cpu', *QUICK, *args)])


def cells(text, title):
    """Rows of the table of a section, without its header."""
    lines = text.split(f'\n## {title}')[1].split('\n## ')[0].splitlines()
    return [[v.strip() for v in line.strip('|').split('|')] for line in lines if line.startswith('| ')][1:]


def test_quick_run_has_every_row(run_command, tmp_path):
    out = tmp_path / 'out'
    result = run_command(
        sys.executable,
        ROOT / 'scripts' / 'benchmark.py',
        *QUICK,
        '--output',
        out,
        cwd=tmp_path,
        timeout=600,
        PYTHONPATH=str(ROOT))
    assert result.returncode == 0, result.stderr
    rows = cells(result.stdout, 'Time and memory (cpu)')

    forms = {
        'MemNet inference': [PLAIN, PLAIN_LAST, OURS, OURS_DEPLOY, CONVOLUTIONS],
        'MemNet training step': [PLAIN, PLAIN_LAST, OURS, CONVOLUTIONS],
        'Bundled MemNet inference': [PLAIN, PLAIN_LAST, OURS, OURS_DEPLOY, CONVOLUTIONS],
        'Bundled MemNet training step': [PLAIN, PLAIN_LAST, OURS, CONVOLUTIONS],
        'MemoryNet (memory: released) inference': [PLAIN, PLAIN_LAST, OURS, CONVOLUTIONS],
        'MemoryNet (memory: none) inference': [PLAIN, OURS],
        'MemoryNet (memory: feature) inference': [PLAIN, OURS],
        'MemoryNet (memory: released) training step': [PLAIN, PLAIN_LAST, OURS, OURS_RECOMPUTE, CONVOLUTIONS],
    }
    for memory in ('released', 'none', 'feature'):
        forms[f'MemoryNet (memory: {memory}) inference'].append(OURS_DEPLOY)
    want = {(title, form, precision) for title, own in forms.items() for form in own for precision in PRECISIONS}
    for title in forms:
        want |= {(title, PEAK, v) for v in PRECISIONS if title.split(' inf')[0] not in SHORT}
    assert {(v[0].split(',')[0], v[1], v[2]) for v in rows} == want and len(rows) == len(want)

    for title, form, precision, time, cpu, *ratios, speed, share, memory, memory_ratio in rows:
        assert float(time) > 0 and float(cpu) > 0 and float(speed) >= 0
        assert form != PEAK or float(share) == 1
        assert all(float(v) > 0 for v in ratios if v != '-')
        assert float(ratios[0]) > 0 and float(ratios[1]) > 0
        if form == PLAIN:
            assert float(ratios[1]) == 1 and (precision == 'bf16' or float(ratios[0]) == 1)
        if form == PEAK:
            continue
        if form == CONVOLUTIONS:
            assert float(ratios[2]) == 1 and memory == '-'
        else:
            assert -2 < float(memory) < 2000  # pages of tiny networks
            assert memory_ratio == '-' or math.isfinite(float(memory_ratio))
        assert (ratios[2] == '-') == ('none' in title or 'feature' in title)

    assert (out / 'benchmark.md').read_text() == result.stdout
    assert 'not meaningful' in result.stdout and 'load average' in result.stdout
    assert sorted(os.listdir(out)) == ['benchmark.json', 'benchmark.md']


def test_engines(script, capsys):
    script('--only', 'memnet', '--task', 'infer', '--engines')
    rows = cells(capsys.readouterr().out, 'Time and memory (cpu)')
    precisions = {'onnxruntime': ('fp32', 'int8'), 'openvino': ('fp32', 'bf16', 'int8')}
    want = {(form, v) for form, name in ENGINES.items() if is_installed(name) for v in precisions[name]}
    measured = {(v[1], v[2]): v for v in rows if not v[3].startswith('skipped')}
    assert want | {(PEAK, v) for v in ('fp32', 'bf16', 'int8')} <= measured.keys()
    assert all(float(v) > 0 for key in want for v in measured[key][3:6] + measured[key][9:10])


def test_pipeline(script, tmp_path, capsys):
    images = ((f'p{i}', np.full((70, 80, 3), i, np.uint8)) for i in range(5))
    write_lmdb(str(tmp_path / 'x.lmdb'), images, progress=False)
    script('--only', 'none', '--pipeline', tmp_path / 'x.lmdb')
    text = capsys.readouterr().out
    loader, memory, training, reached = cells(text, 'Pipeline (cpu)')
    assert all(float(v[1]) > 0 for v in (loader, memory, training))
    assert 0 <= float(training[2].rstrip('%')) <= 100 and reached[2] in ('yes', 'no')
    shares = {v[0]: float(v[1].rstrip('%')) for v in cells(text, 'Profile of the training step (cpu)')}
    assert all(0 <= v < 100 for v in shares.values()) and shares['convolutions'] > 0
    *parts, optimizer, average = shares.values()
    assert len(parts) == 7 and sum(parts) == pytest.approx(100, abs=0.5) and optimizer > average


def test_files(script, tmp_path, capsys):
    path = str(tmp_path / 'x.png')
    cv2.imwrite(path, np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8))
    names = ['memorynet_clouds_demo', 'memnet_denoise', 'CDnCNN-B', 'NLM', 'BM3D']
    script('--only', 'none', '--precision', 'fp32', '--packaged', path, *names)
    rows = cells(capsys.readouterr().out, 'Bundled networks (cpu, x.png)')
    backends = ['torch', *(v for v in ('onnxruntime', 'openvino') if is_installed(v))]
    want = [(name, v, 'fp32') for name in names[:3] for v in backends]
    want += [('NLM', 'cv2', 'uint8'), ('BM3D', 'bm3d', 'fp64')]
    assert [tuple(v[:3]) for v in rows] == want[:len(rows)] and len(rows) >= len(want) - 1  # bm3d is optional
    assert all(float(v) > 0 for row in rows for v in row[3:6])
    assert all((row[6] == '-') == (row[1] in ('cv2', 'bm3d')) for row in rows)
    rows = list(packaged_rows(path, names[:1], backends=['torch']))
    assert [v[1:3] for v in rows] == [['torch', 'fp32'], ['torch', 'bf16']]
    with pytest.raises(UsageError, match='cannot be read as an image'):
        next(packaged_rows(str(tmp_path / 'none.png')))


def test_forms_and_targets(script, capsys):
    script('--only', 'bundled', '--precision', 'fp32', '--forms', OURS, OURS_DEPLOY, CONVOLUTIONS)
    rows = cells(capsys.readouterr().out, 'Time and memory (cpu)')
    assert [(v[0].split(',')[0], v[1]) for v in rows] == [
        ('Bundled MemNet inference', OURS), ('Bundled MemNet inference', OURS_DEPLOY),
        ('Bundled MemNet inference', CONVOLUTIONS), ('Bundled MemNet training step', OURS),
        ('Bundled MemNet training step', CONVOLUTIONS)]  # yapf: disable
    assert all(v[5:7] == ['-', '-'] and float(v[7]) > 0 for v in rows)
    case = make_cases(str(ROOT / 'tests' / 'reference'), ['bundled'], ['train'], ['fp32', 'bf16'], 'cpu', 1)[0]
    results = [Result(v, [2.], [4. if v.form == OURS else 3.], 1.) for v in case.jobs]
    ratios = {name: (ratio, limit) for name, ratio, limit in verdicts(case, results)}
    for precision in PRECISIONS:
        assert ratios[f'time, ours, {precision}, to the convolutions alone'] == (4 / 3, 4 / 3)


def test_errors(script, tmp_path):
    with pytest.raises(UsageError, match='--threads 0 and --repetitions 1 must be positive'):
        script('--threads', '0')
    with pytest.raises(UsageError, match=r'memnet_plain\.py is missing.*clone'):
        load_plain('memnet', str(tmp_path))
    with pytest.raises(UsageError, match=r'GoPro.*yml: does not train a RestorationModel on degraded images'):
        measure_pipeline('x.lmdb', str(ROOT / 'options' / 'train_MemoryNet_GoPro.yml'), 'cpu')
