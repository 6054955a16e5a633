"""Results of the benchmark on disk, so that a benchmark that was stopped goes on where it was."""
import json
import os
from os import path as osp

from ...atomic_file import write_atomically
from ...errors import UsageError
from .process import Result, measure


class Store:
    """Measures cases, each once: what stands in the file is not measured again.

    Args:
        path (str | None): JSON file, written after every case; None keeps nothing.

    Raises:
        UsageError: The file is none of these.
    """

    def __init__(self, path):
        self.path, self.known = path, {}
        if path and osp.exists(path):
            try:
                with open(path, encoding='utf-8') as f:
                    self.known = json.load(f)
            except ValueError:
                raise UsageError(f'{path}: is not a file of results; remove it to start anew') from None

    def measure(self, case, repetitions, quick=False):
        """As :func:`measure`; jobs that are the same, of the same number of repetitions, count as measured."""
        key = f'{repetitions} of {case.jobs}'
        if key not in self.known:
            results = measure(case, repetitions, quick)
            self.known[key] = [dict(seconds=v.seconds, peak=v.peak, skipped=v.skipped) for v in results]
            if self.path:
                os.makedirs(osp.dirname(self.path) or '.', exist_ok=True)
                write_atomically(self.path, json.dumps(self.known, indent=1).encode())
        return [Result(job, **values) for job, values in zip(case.jobs, self.known[key])]
