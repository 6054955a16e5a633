import os
import pytest
import sys
from dataclasses import replace
from pathlib import Path

from memnet_basicsr.analysis.benchmark.jobs import OURS_DEPLOY, PLAIN, Job
from memnet_basicsr.analysis.benchmark.process import measure
from memnet_basicsr.analysis.benchmark.report import rows_of
from memnet_basicsr.analysis.benchmark.suite import Case
from memnet_basicsr.errors import UsageError

ROOT = Path(__file__).resolve().parents[3]
REFERENCE = str(ROOT / 'tests' / 'reference')


@pytest.mark.skipif(not os.path.exists('/proc/self/clear_refs'), reason='cannot reset the high-water mark')
def test_peak_memory(run_command, tmp_path):
    """A process that held 100 MB before, allocates 64 and then 32: the peak is 64."""
    code = ('import torch; from memnet_basicsr.analysis.benchmark.process import PeakMemory\n'
            'del_me = torch.ones(100 * 2**18); del del_me\n'
            'x = torch.ones(2**18); peak = PeakMemory("cpu")\n'
            'x = torch.ones(64 * 2**18); del x; x = torch.ones(32 * 2**18)\n'
            'print(peak.read() / 2**20)')
    result = run_command(sys.executable, '-c', code, cwd=tmp_path, PYTHONPATH=str(ROOT))
    assert float(result.stdout) == pytest.approx(64, abs=4), result.stderr


def test_memory_of_a_job_is_that_of_its_tensors():
    """MemNet keeps its memories B_0, ..., B_M to the end, so a larger image needs at least that much more memory."""
    small, large = ((1, 1, 64, 64), (1, 1, 512, 512))
    jobs = [Job('memnet', 'infer', OURS_DEPLOY, 'fp32', v, REFERENCE, narrow=True) for v in (small, large)]
    results = measure(Case('memnet', 'infer', 'none', tuple(jobs)), 1, quick=True, progress=False)
    growth = results[1].peak - results[0].peak
    feature = (512**2 - 64**2) * 8 * 4  # bytes of one of 8 channels
    assert 3 * feature < growth < 9 * feature
    assert all(v.seconds[0] > 0 and len(v.seconds) == 1 for v in results)


def test_failing_jobs_are_skipped_or_reported():
    plain = Job('memnet', 'infer', PLAIN, 'fp32', (1, 1, 16, 16), REFERENCE, narrow=True)
    impossible = replace(plain, form='plain, ONNX Runtime', precision='bf16')
    case = Case('memnet', 'infer', 'none', (plain, impossible))
    results = measure(case, 1, quick=True, progress=False)
    assert 'fp32' in results[1].skipped and not results[0].skipped
    assert rows_of(case, results)[1][3].startswith('skipped: UsageError: ')
    wrong = replace(plain, network='memorynet', shape=(1, 3, 12, 12))  # the plain network requires multiples of 8
    with pytest.raises(UsageError, match='memorynet, infer, plain, fp32: '):
        measure(Case('memorynet', 'infer', 'none', (wrong, )), 1, quick=True, progress=False)
