import pytest

from memnet_basicsr.analysis.benchmark import store as benchmark_store
from memnet_basicsr.analysis.benchmark.jobs import OURS, PLAIN, Job
from memnet_basicsr.analysis.benchmark.process import Result
from memnet_basicsr.analysis.benchmark.store import Store
from memnet_basicsr.analysis.benchmark.suite import Case
from memnet_basicsr.errors import UsageError


def test_interrupted_benchmark_continues(tmp_path, monkeypatch):
    path = str(tmp_path / 'out' / 'benchmark.json')
    jobs = [Job('memnet', 'infer', form, 'fp32', (1, 1, 16, 16), 'reference') for form in (PLAIN, OURS)]
    case, measured = Case('memnet', 'infer', 'none', tuple(jobs)), []

    def fake(case, repetitions, quick):
        measured.append(case)
        return [
            Result(v, [0.5 * repetitions], [0.5 * repetitions], 7., 'why' if v.form == OURS else None)
            for v in case.jobs
        ]

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
