"""Results of the benchmark on disk, so that an interrupted benchmark can continue."""
import json
from os import path as osp

from ...atomic_file import write_atomically
from ...errors import UsageError
from .process import Result, measure


class Store:
    """Measure cases, each only once; results in the file are not measured again.

    Args:
        path (str | None): JSON file, written after every case; None keeps results only in memory.

    Raises:
        UsageError: If the file is not a file of results.
    """

    def __init__(self, path):
        self.path, self.known = path, {}
        if path and osp.exists(path):
            try:
                with open(path, encoding='utf-8') as f:
                    self.known = json.load(f)
            except ValueError:
                raise UsageError(f'{path}: is not a file of results; remove it to measure again') from None

    def measure(self, case, repetitions, quick=False):
        """Return the stored results of the same jobs and repetitions, or measure, see :func:`measure`."""
        key = f'{repetitions} of {case.jobs}'
        if key not in self.known:
            results = measure(case, repetitions, quick)
            self.known[key] = [dict(seconds=v.seconds, cpu=v.cpu, peak=v.peak, skipped=v.skipped) for v in results]
            if self.path:
                write_atomically(self.path, json.dumps(self.known, indent=1).encode())
        return [Result(job, **values) for job, values in zip(case.jobs, self.known[key])]
