"""Measure jobs in turns, each in its own process."""
import contextlib
import multiprocessing
import statistics
import time
import torch
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from tqdm import tqdm

from ...engine.speed import peak_memory
from ...errors import UsageError
from .jobs import OPTIONAL, Job, prepare


@dataclass
class Result:
    """Measurement of a job.

    Args:
        job (Job): The job.
        seconds (list[float]): Seconds of every repetition.
        cpu (list[float]): CPU seconds of every repetition, over all threads; empty on a GPU.
        peak (float): Peak memory in bytes, above what the process held after building the network.
        skipped (str | None): Reason if the job could not be measured.
    """
    job: Job
    seconds: list = field(default_factory=list)
    cpu: list = field(default_factory=list)
    peak: float = float('nan')
    skipped: str | None = None

    @property
    def median(self):
        """Median of the CPU seconds, which other programs disturb less; on a GPU, of the seconds."""
        return statistics.median(self.cpu or self.seconds)

    @property
    def wall(self):
        """Median of the seconds."""
        return statistics.median(self.seconds)


class PeakMemory:
    """Peak memory of this process from now on, above what it holds now.

    On a CPU, the resident set without library code, which is loaded on first use; on a GPU, the memory of tensors.

    Args:
        device (str): 'cpu' or a GPU.
    """

    def __init__(self, device):
        self.device = torch.device(device)
        if self.device.type == 'cuda':
            torch.cuda.reset_peak_memory_stats()
            self.base = torch.cuda.memory_allocated()
            return
        # Reset the high-water mark; without permission, the reading is an upper bound.
        with contextlib.suppress(OSError), open('/proc/self/clear_refs', 'w') as f:
            f.write('5')
        self.base = _status('VmRSS') or peak_memory(self.device)
        self.code = _status('RssFile') or 0

    def read(self):
        """Return the peak in bytes; NaN if the system does not report it."""
        if self.device.type == 'cuda':
            return torch.cuda.max_memory_allocated() - self.base
        code = (_status('RssFile') or 0) - self.code
        return (_status('VmHWM') or peak_memory(self.device)) - self.base - max(code,
                                                                                0)  # may be negative for tiny jobs


def _status(key):
    try:
        with open('/proc/self/status') as f:
            return next(int(line.split()[1]) * 1024 for line in f if line.startswith(key))
    except (OSError, StopIteration):
        return None


def seconds_of(run, device, gpu_runs=10):
    """Seconds and CPU seconds of one call; on a GPU the mean of several, by CUDA events, and None."""
    if torch.device(device).type != 'cuda':
        start, start_cpu = time.perf_counter(), time.process_time()
        run()
        return time.perf_counter() - start, time.process_time() - start_cpu
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    start.record()
    for _ in range(gpu_runs):
        run()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / 1000 / gpu_runs, None


class Failure(Exception):
    """A job failed; the message is one line. Unlike other exceptions, it can always be pickled."""


_measured = {}  # in the process of a job: what it runs, and its PeakMemory


@contextlib.contextmanager
def _failures():
    try:
        yield
    except Exception as error:
        text = str(error).strip() or type(error).__name__
        raise Failure(f'{type(error).__name__}: {text.splitlines()[0][:200]}') from None


def _prepare(job):
    with _failures():
        torch.set_num_threads(job.threads)
        torch.backends.cudnn.benchmark = True  # as in BasicSR's training
        _measured.update(run=prepare(job), memory=PeakMemory(job.device))


def _run(device):
    with _failures():
        return seconds_of(_measured['run'], device)


def _peak():
    return _measured['memory'].read()


class Worker:
    """Process of a job, and its result."""

    def __init__(self, job, context):
        self.result = Result(job)
        self.executor = ProcessPoolExecutor(1, mp_context=context)
        self.ready = self.executor.submit(_prepare, job)

    def wait(self):
        """Wait until the job is prepared."""
        self._value_of(self.ready)

    def run(self, timed):
        """Run the job once."""
        value = self._call(_run, self.result.job.device)
        if timed and value is not None:
            seconds, cpu = value
            self.result.seconds.append(seconds)
            self.result.cpu += [] if cpu is None else [cpu]

    def read_peak(self):
        """Read the peak memory."""
        value = self._call(_peak)
        if value is not None:
            self.result.peak = value

    def close(self):
        """End the process."""
        self.executor.shutdown(wait=False, cancel_futures=True)

    def _call(self, function, *args):
        return None if self.result.skipped else self._value_of(self.executor.submit(function, *args))

    def _value_of(self, future):
        """Return the result of a call; None if an optional job failed.

        Raises:
            UsageError: If a job failed that is not optional.
        """
        try:
            return future.result()
        except Failure as error:
            reason = str(error)
        except BrokenProcessPool:
            reason = 'its process ended (out of memory?)'
        job = self.result.job
        if job.form not in OPTIONAL:
            raise UsageError(f'{job.network}, {job.task}, {job.form}, {job.precision}: {reason}')
        self.result = Result(job, skipped=reason)
        return None


def _context(quick):
    if quick and 'forkserver' in multiprocessing.get_all_start_methods():
        context = multiprocessing.get_context('forkserver')
        # torch._dynamo: imported by the first optimizer step, which takes seconds in each process otherwise
        context.set_forkserver_preload([__name__, 'torch._dynamo'])
        return context
    return multiprocessing.get_context('spawn')


def measure(case, repetitions, quick=False, progress=True):
    """Measure the jobs of a case in turns: each job runs once per round.

    All processes exist at the same time, but only one is busy. The first round counts only for the memory.

    Args:
        case (Case): The case.
        repetitions (int): Timed rounds.
        quick (bool): Fork the processes from one that has imported everything. This starts faster, but their memory is
            not comparable with other measurements. Default: False.
        progress (bool): Whether to show a progress bar. Default: True.

    Returns:
        list[Result]: In the order of the jobs.

    Raises:
        UsageError: If a job failed that is not optional.
    """
    workers, context = [], _context(quick)
    pause = 0 if quick else 0.2  # lets threads that spin while they wait for work go to sleep
    with tqdm(total=len(case.jobs) * (repetitions + 2), desc=case.title, unit='run', disable=not progress) as bar:
        try:
            workers += [Worker(job, context) for job in case.jobs]
            for worker in workers:
                worker.wait()
                bar.update()
            for round_ in range(repetitions + 1):
                for worker in workers:
                    worker.run(timed=round_ > 0)
                    time.sleep(pause)
                    bar.update()
            for worker in workers:
                worker.read_peak()
        finally:
            for worker in workers:
                worker.close()
    return [v.result for v in workers]
