from dataclasses import replace
from pathlib import Path

from memnet_basicsr.analysis.benchmark.jobs import (CONVOLUTIONS, OURS, OURS_COMPILED, OURS_DEPLOY, PEAK, PLAIN,
                                                    PLAIN_COMPILED, PLAIN_LAST, Job, operations)
from memnet_basicsr.analysis.benchmark.process import Result
from memnet_basicsr.analysis.benchmark.report import growth_rows
from memnet_basicsr.analysis.benchmark.suite import Case, engine_verdicts, growth_cases, make_cases, verdicts

ROOT = Path(__file__).resolve().parents[3]
NETWORKS, TASKS = ['memnet', 'memorynet'], ['infer', 'train']


def result_of(form, precision, time, peak=float('nan'), task='infer', device='cpu'):
    job = Job('memnet', task, form, precision, (1, 1, 321, 481), 'reference', device=device)
    return Result(job, [2 * time, time, time / 2], [time], peak)


def test_verdicts():
    results = [result_of(*v) for v in ((PLAIN, 'fp32', 10., 100.), (PLAIN_LAST, 'fp32', 8., 100.),
                                       (PLAIN_COMPILED, 'fp32', 5.), (OURS, 'fp32', 4., 50.),
                                       (OURS_DEPLOY, 'fp32', 2., 30.), (CONVOLUTIONS, 'fp32', 1.),
                                       (PLAIN_LAST, 'bf16', 4.), (OURS_DEPLOY, 'bf16', 1.))]  # yapf: disable
    results.append(Result(replace(results[0].job, form='plain, OpenVINO'), skipped='not installed'))
    case = Case('memnet', 'infer', 'none', tuple(v.job for v in results))
    assert verdicts(case,
                    results) == [('time, ours, deploy, fp32, to plain fp32', .2, .3),
                                 ('time, ours, deploy, fp32, to the fastest other (plain, torch.compile)', .4, .8),
                                 ('time, ours, deploy, bf16, to plain fp32', .1, .12),
                                 ('time, ours, deploy, bf16, to the fastest other (plain, channels_last)', .25, .8),
                                 ('memory, ours, deploy, fp32, to plain fp32', .3, .35),
                                 ('time, ours, deploy, fp32, to the convolutions alone', 2., 1.5)]


def test_verdicts_of_the_engines():
    rival, ours, runtime = 'plain, OpenVINO', 'ours, OpenVINO', 'ours, ONNX Runtime'
    measured = [(PLAIN, 'fp32', 10., 100.), (rival, 'fp32', 5., 80.), (ours, 'fp32', 4., 20.),
                (runtime, 'fp32', 4.5, 10.), (rival, 'bf16', 2., 80.), (OURS_DEPLOY, 'bf16', 3., 8.),
                (ours, 'bf16', 2., 40.), (ours, 'int8', 1., 40.)]  # yapf: disable
    results = [result_of(*v) for v in measured]
    assert [v[1:] for v in engine_verdicts(results)] == [(.8, .85), (.25, .4), (1., .85), (.5, .4), (1.5, 1.), (.5, .6)]


def test_operations():
    narrow = Job(
        'memnet', 'infer', 'ours, OpenVINO', 'int8', (2, 1, 8, 8), str(ROOT / 'tests' / 'reference'), narrow=True)
    # 8 channels, 2 blocks of 2 recursions, gates of 3 and 4 sources, 1 convolution in and 2 out
    per_pixel = 9 * 8 + 8 * 9 * 64 + (3 + 4) * 64 + 2 * 9 * 8
    assert operations(narrow) == 2 * per_pixel * 2 * 64
    assert operations(replace(narrow, task='train', form=OURS)) == 3 * operations(narrow)
    assert operations(replace(narrow, form=PEAK)) == 4 * 2 * 1024**3


def test_verdict_on_a_gpu():
    results = [result_of(form, 'bf16', time, task='train', device='cuda')
               for form, time in ((PLAIN, 4.), (PLAIN_COMPILED, 3.), (OURS_COMPILED, 1.5))]  # yapf: disable
    case = Case('memnet', 'train', 'none', tuple(v.job for v in results))
    assert [v[1:] for v in verdicts(case, results)] == [(.5, .667)]


def test_cases():
    cases = make_cases('reference', NETWORKS, TASKS, ['bf16'], 'cpu', 2, with_compile=True, with_engines=True)
    assert [v.title for v in cases] == [
        'MemNet inference, 321x481', 'MemNet training step, 16 of 31x31',
        'MemoryNet (memory: released) inference, 256x256', 'MemoryNet (memory: none) inference, 256x256',
        'MemoryNet (memory: feature) inference, 256x256', 'MemoryNet (memory: released) training step, 2 of 128x128'
    ]
    # all ratios refer to this job
    assert all((v.jobs[0].form, v.jobs[0].precision) == (PLAIN, 'fp32') for v in cases)
    assert PLAIN_COMPILED in [v.form for v in cases[0].jobs]


def test_growth():
    cases = growth_cases('reference', NETWORKS, TASKS, 'cpu', 1)
    largest = [v.jobs for v in cases if v.jobs[0].shape[2:] == (720, 1280)]
    assert [[v.tile for v in jobs] for jobs in largest] == [[None, 256]] * 2  # the plain network would take too long
    assert [v.jobs[0].shape[0] for v in cases if v.network == 'memorynet' and v.task == 'train'] == [1, 2, 4, 8]
    job = largest[0][1]
    row, = growth_rows(Case('memnet', 'infer', 'none', (job, )), [Result(job, [9.216], [9.216], 921.6 * 2**20)])
    assert row[1:] == ['ours, deploy, tiles of 256', '9.22', '10', '921.6', '1000']
