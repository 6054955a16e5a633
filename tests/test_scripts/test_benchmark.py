import cv2
import importlib.util
import math
import numpy as np
import os
import pytest
import sys
from dataclasses import replace
from pathlib import Path

from memnet_basicsr.analysis.benchmark import store as benchmark_store
from memnet_basicsr.analysis.benchmark.jobs import (CONVOLUTIONS, OURS, OURS_COMPILED, OURS_DEPLOY, OURS_RECOMPUTE,
                                                    PLAIN, PLAIN_COMPILED, PLAIN_LAST, PLAIN_ONNX, Job,
                                                    executed_convolutions, load_plain, multiplications)
from memnet_basicsr.analysis.benchmark.pipeline import measure_pipeline
from memnet_basicsr.analysis.benchmark.process import Result, measure
from memnet_basicsr.analysis.benchmark.report import growth_rows, rows_of
from memnet_basicsr.analysis.benchmark.store import Store
from memnet_basicsr.analysis.benchmark.suite import Case, growth_cases, make_cases, verdicts
from memnet_basicsr.data.lmdb_util import write_lmdb
from memnet_basicsr.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = str(ROOT / 'tests' / 'reference')
NETWORKS, TASKS, PRECISIONS = ['memnet', 'memorynet'], ['infer', 'train'], ['fp32', 'bf16']
QUICK = ('--threads', '1', '--quick', '--repetitions', '1')
CONV_JOB = Job('memnet', 'infer', CONVOLUTIONS, 'fp32', (1, 1, 321, 481), REFERENCE)


@pytest.fixture
def script():
    """Run the script's main in this process."""
    spec = importlib.util.spec_from_file_location('benchmark', ROOT / 'scripts' / 'benchmark.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return lambda *args: module.main([str(v) for v in ('--device', 'cpu', *QUICK, *args)])


def cells(text, title):
    """Rows of the table of a section, without its head."""
    lines = text.split(f'\n## {title}')[1].split('\n## ')[0].splitlines()
    return [[v.strip() for v in line.strip('|').split('|')] for line in lines if line.startswith('| ')][2:]


def test_quick_look_has_every_row(run_command, tmp_path):
    out = tmp_path / 'out'
    result = run_command(
        sys.executable, ROOT / 'scripts' / 'benchmark.py', *QUICK, '--output', out, cwd=tmp_path, PYTHONPATH=str(ROOT))
    assert result.returncode == 0, result.stderr
    rows = cells(result.stdout, 'Time and memory (cpu)')

    forms = {
        'MemNet inference': [PLAIN, PLAIN_LAST, OURS, OURS_DEPLOY, CONVOLUTIONS],
        'MemNet training step': [PLAIN, PLAIN_LAST, OURS, CONVOLUTIONS],
        'MemoryNet (memory: released) inference': [PLAIN, PLAIN_LAST, OURS, CONVOLUTIONS],
        'MemoryNet (memory: none) inference': [PLAIN, OURS],
        'MemoryNet (memory: feature) inference': [PLAIN, OURS],
        'MemoryNet (memory: released) training step': [PLAIN, PLAIN_LAST, OURS, OURS_RECOMPUTE, CONVOLUTIONS],
    }
    for memory in ('released', 'none', 'feature'):
        forms[f'MemoryNet (memory: {memory}) inference'].append(OURS_DEPLOY)
    want = {(title, form, precision) for title, own in forms.items() for form in own for precision in PRECISIONS}
    assert {(v[0].split(',')[0], v[1], v[2]) for v in rows} == want and len(rows) == len(want)

    for title, form, precision, time, *ratios, memory, memory_ratio in rows:
        assert float(time) > 0
        assert all(float(v) > 0 for v in ratios if v != '-')
        assert float(ratios[0]) > 0 and float(ratios[1]) > 0
        if form == PLAIN:
            assert float(ratios[1]) == 1 and (precision == 'bf16' or float(ratios[0]) == 1)
        if form == CONVOLUTIONS:
            assert float(ratios[2]) == 1 and memory == '-'
        else:
            assert -2 < float(memory) < 2000  # pages of tiny networks
            assert memory_ratio == '-' or math.isfinite(float(memory_ratio))
        assert (ratios[2] == '-') == ('none' in title or 'feature' in title)

    assert (out / 'benchmark.md').read_text() == result.stdout
    assert 'mean nothing' in result.stdout and 'load average' in result.stdout
    img = cv2.imread(str(out / 'benchmark_cpu.png'))
    assert img.shape[1] == 1000 and img.std() > 10
    assert sorted(os.listdir(out)) == ['benchmark.json', 'benchmark.md', 'benchmark_cpu.png']


def test_pipeline(script, tmp_path, capsys):
    pictures = ((f'p{i}', np.full((70, 80), i, np.uint8)) for i in range(5))
    write_lmdb(str(tmp_path / 'x.lmdb'), pictures, progress=False)
    script('--only', 'memnet', '--task', 'infer', '--precision', 'fp32', '--pipeline', tmp_path / 'x.lmdb')
    loader, memory, training, reached = cells(capsys.readouterr().out, 'Pipeline (cpu)')
    assert all(float(v[1]) > 0 for v in (loader, memory, training))
    assert 0 <= float(training[2].rstrip('%')) <= 100 and reached[2] in ('yes', 'no')


def test_mistakes_are_told(script, tmp_path):
    with pytest.raises(UsageError, match='--threads 0 and --repetitions 1 must be positive'):
        script('--threads', '0')
    with pytest.raises(UsageError, match=r'memnet_plain\.py is missing.*clone'):
        load_plain('memnet', str(tmp_path))
    with pytest.raises(UsageError, match=r'SR.*yml: give the options of a training of MemNet for denoising'):
        measure_pipeline('x.lmdb', str(ROOT / 'options' / 'train_MemNet_SR_291.yml'), 'cpu')


def test_executed_convolutions_of_memnet():
    """M blocks of 2R convolutions, a gate each over R + m sources, one at the start and one for every output."""
    blocks, recursions, feat = 6, 6, 64
    calls = executed_convolutions(CONV_JOB)
    assert len(calls) == 1 + blocks * (2 * recursions + 1) + blocks
    gates = sum(recursions + m for m in range(1, blocks + 1))
    per_pixel = 9 * feat + blocks * 2 * recursions * 9 * feat**2 + gates * feat**2 + blocks * 9 * feat
    assert multiplications(calls) == per_pixel * 321 * 481
    training = executed_convolutions(replace(CONV_JOB, task='train', shape=(2, 1, 9, 9)))
    assert len(training) == 2 * len(calls)


def test_executed_convolutions_of_memorynet():
    """The published 141 GMACs at 256x256."""
    job = replace(CONV_JOB, network='memorynet', shape=(1, 3, 256, 256))
    assert round(multiplications(executed_convolutions(job)) / 1e9) == 141


@pytest.mark.skipif(not os.path.exists('/proc/self/clear_refs'), reason='the high-water mark is not to be had')
def test_peak_memory(run_command, tmp_path):
    """A process that held 100 MB before, takes 64 and then 32: the peak is 64."""
    code = ('import torch; from memnet_basicsr.analysis.benchmark.process import PeakMemory\n'
            'del_me = torch.ones(100 * 2**18); del del_me\n'
            'x = torch.ones(2**18); peak = PeakMemory("cpu")\n'
            'x = torch.ones(64 * 2**18); del x; x = torch.ones(32 * 2**18)\n'
            'print(peak.read() / 2**20)')
    result = run_command(sys.executable, '-c', code, cwd=tmp_path, PYTHONPATH=str(ROOT))
    assert float(result.stdout) == pytest.approx(64, abs=4), result.stderr


def test_memory_of_a_job_is_that_of_its_tensors():
    """MemNet keeps its memories B_0 .. B_M to the end, so that a larger picture takes at least that much more."""
    small, large = ((1, 1, 64, 64), (1, 1, 512, 512))
    jobs = [Job('memnet', 'infer', OURS_DEPLOY, 'fp32', v, REFERENCE, narrow=True) for v in (small, large)]
    results = measure(Case('memnet', 'infer', 'none', tuple(jobs)), 1, quick=True, progress=False)
    growth = results[1].peak - results[0].peak
    feature = (512**2 - 64**2) * 8 * 4  # bytes of one of 8 channels
    assert 3 * feature < growth < 9 * feature
    assert all(v.seconds[0] > 0 and len(v.seconds) == 1 for v in results)


def test_what_fails_is_skipped_or_told():
    plain = replace(CONV_JOB, form=PLAIN, shape=(1, 1, 16, 16), narrow=True)
    impossible = replace(plain, form=PLAIN_ONNX, precision='bf16')
    case = Case('memnet', 'infer', 'none', (plain, impossible))
    results = measure(case, 1, quick=True, progress=False)
    assert 'fp32' in results[1].skipped and not results[0].skipped
    assert rows_of(case, results)[1][3].startswith('skipped: UsageError: ')
    wrong = replace(plain, network='memorynet', shape=(1, 3, 12, 12))  # the plain one takes multiples of 8
    with pytest.raises(UsageError, match='memorynet, infer, plain, fp32: '):
        measure(Case('memorynet', 'infer', 'none', (wrong, )), 1, quick=True, progress=False)


def result_of(form, precision, time, peak=float('nan'), task='infer', device='cpu'):
    job = Job('memnet', task, form, precision, (1, 1, 321, 481), REFERENCE, device=device)
    return Result(job, [2 * time, time, time / 2], peak)


def test_verdicts():
    results = [result_of(*v) for v in ((PLAIN, 'fp32', 10., 100.), (PLAIN_LAST, 'fp32', 8., 100.),
                                       (PLAIN_COMPILED, 'fp32', 5.), (OURS, 'fp32', 4., 50.),
                                       (OURS_DEPLOY, 'fp32', 2., 30.), (CONVOLUTIONS, 'fp32', 1.),
                                       (PLAIN_LAST, 'bf16', 4.), (OURS_DEPLOY, 'bf16', 1.))]  # yapf: disable
    results.append(Result(replace(results[0].job, form=PLAIN_ONNX), skipped='not installed'))
    case = Case('memnet', 'infer', 'none', tuple(v.job for v in results))
    assert verdicts(case,
                    results) == [('time, ours, deploy, fp32, to plain fp32', .2, .3),
                                 ('time, ours, deploy, fp32, to the fastest other (plain, torch.compile)', .4, .8),
                                 ('time, ours, deploy, bf16, to plain fp32', .1, .12),
                                 ('time, ours, deploy, bf16, to the fastest other (plain, channels_last)', .25, .8),
                                 ('memory, ours, deploy, fp32, to plain fp32', .3, .35),
                                 ('time, ours, deploy, fp32, to the convolutions alone', 2., 1.5)]


def test_verdict_on_a_gpu():
    results = [result_of(form, 'bf16', time, task='train', device='cuda')
               for form, time in ((PLAIN, 4.), (PLAIN_COMPILED, 3.), (OURS_COMPILED, 1.5))]  # yapf: disable
    case = Case('memnet', 'train', 'none', tuple(v.job for v in results))
    assert [v[1:] for v in verdicts(case, results)] == [(.5, .667)]


def test_cases():
    cases = make_cases(REFERENCE, NETWORKS, TASKS, ['bf16'], 'cpu', 2, with_compile=True, with_onnx=True)
    assert [v.title for v in cases] == [
        'MemNet inference, 321x481', 'MemNet training step, 16 of 31x31',
        'MemoryNet (memory: released) inference, 256x256', 'MemoryNet (memory: none) inference, 256x256',
        'MemoryNet (memory: feature) inference, 256x256', 'MemoryNet (memory: released) training step, 2 of 128x128'
    ]
    # all ratios refer to this one, whatever is asked for
    assert all((v.jobs[0].form, v.jobs[0].precision) == (PLAIN, 'fp32') for v in cases)
    assert PLAIN_COMPILED in [v.form for v in cases[0].jobs]


def test_growth():
    cases = growth_cases(REFERENCE, NETWORKS, TASKS, 'cpu', 1)
    largest = [v.jobs for v in cases if v.jobs[0].shape[2:] == (720, 1280)]
    assert [[v.tile for v in jobs] for jobs in largest] == [[None, 256]] * 2  # plain ones would take too long
    assert [v.jobs[0].shape[0] for v in cases if v.network == 'memorynet' and v.task == 'train'] == [1, 2, 4, 8]
    job = largest[0][1]
    row, = growth_rows(Case('memnet', 'infer', 'none', (job, )), [Result(job, [9.216], 921.6 * 2**20)])
    assert row[1:] == ['ours, deploy, tiles of 256', '9.22', '10', '921.6', '1000']


def test_a_stopped_benchmark_goes_on(tmp_path, monkeypatch):
    path = str(tmp_path / 'out' / 'benchmark.json')
    job = replace(CONV_JOB, form=PLAIN, shape=(1, 1, 16, 16), narrow=True)
    case, measured = Case('memnet', 'infer', 'none', (job, replace(job, form=OURS))), []

    def fake(case, repetitions, quick):
        measured.append(case)
        return [Result(v, [0.5 * repetitions], 7., 'why' if v.form == OURS else None) for v in case.jobs]

    monkeypatch.setattr(benchmark_store, 'measure', fake)
    first = Store(path).measure(case, 2)
    assert Store(path).measure(case, 2) == first and len(measured) == 1
    assert first[0].median == 1. and first[1].skipped == 'why'
    Store(path).measure(case, 3)
    Store(None).measure(case, 2)
    assert len(measured) == 3
    with open(path, 'w') as f:
        f.write('{')
    with pytest.raises(UsageError, match='is not a file of results'):
        Store(path)
