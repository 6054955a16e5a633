"""Measuring jobs in turns, each in a process of its own: the side that asks, and the process."""
import multiprocessing
import statistics
import time
import torch
from dataclasses import dataclass, field
from tqdm import tqdm

from ...engine.speed import peak_memory
from ...errors import UsageError
from .jobs import OPTIONAL, Job, prepare


@dataclass
class Result:
    """What came of a job.

    Args:
        job (Job): The job.
        seconds (list[float]): Of every repetition.
        peak (float): Peak memory in bytes, above what the process held when all was built.
        skipped (str | None): Why there are no figures.
    """
    job: Job
    seconds: list = field(default_factory=list)
    peak: float = float('nan')
    skipped: str | None = None

    @property
    def median(self):
        return statistics.median(self.seconds)


class PeakMemory:
    """Largest memory that this process takes from now on, above what it holds now.

    On a CPU the resident set without the code of libraries, which comes in when it is first used; on a GPU what
    tensors take.

    Args:
        device (str): 'cpu' or a GPU.
    """

    def __init__(self, device):
        self.device = torch.device(device)
        if self.device.type == 'cuda':
            torch.cuda.reset_peak_memory_stats()
            self.base = torch.cuda.memory_allocated()
            return
        try:
            with open('/proc/self/clear_refs', 'w') as f:
                f.write('5')  # the high-water mark starts anew; without the right to, the reading is an upper bound
        except OSError:
            pass
        self.base = _status('VmRSS') or peak_memory(self.device)
        self.code = _status('RssFile') or 0

    def read(self):
        """Bytes; not a number where the system does not tell."""
        if self.device.type == 'cuda':
            return torch.cuda.max_memory_allocated() - self.base
        code = (_status('RssFile') or 0) - self.code
        return (_status('VmHWM') or peak_memory(self.device)) - self.base - max(code, 0)  # tiny jobs: of either sign


def _status(key):
    try:
        with open('/proc/self/status') as f:
            return next(int(line.split()[1]) * 1024 for line in f if line.startswith(key))
    except (OSError, StopIteration):
        return None


def serve(connection, job):
    """Main function of a process: prepare a job, run it at every ``go``, and tell the peak memory at the end.

    Sends ('ready', None) or ('failed', reason), after each ``go`` ('seconds', float) or ('failed', reason), and in the
    end ('peak', bytes).

    Args:
        connection (multiprocessing.connection.Connection): To the process that asks.
        job (Job): What to run.
    """
    try:
        torch.set_num_threads(job.threads)
        torch.backends.cudnn.benchmark = True  # as BasicSR trains
        run = prepare(job)
        memory = PeakMemory(job.device)
        connection.send(('ready', None))
        while connection.recv() == 'go':
            connection.send(('seconds', seconds(run, job.device)))
        connection.send(('peak', memory.read()))
    except (EOFError, BrokenPipeError):  # nobody asks any more
        pass
    except Exception as error:  # a compiler can fail in any way; who asks decides whether that matters
        text = str(error).strip() or type(error).__name__
        connection.send(('failed', f'{type(error).__name__}: {text.splitlines()[0][:200]}'))


def seconds(run, device, gpu_runs=10):
    """Seconds of one call; on a GPU, of several behind each other, by its own clock."""
    if torch.device(device).type != 'cuda':
        start = time.perf_counter()
        run()
        return time.perf_counter() - start
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    start.record()
    for _ in range(gpu_runs):
        run()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / 1000 / gpu_runs


def _context(quick):
    methods = multiprocessing.get_all_start_methods()
    if quick and 'forkserver' in methods:
        context = multiprocessing.get_context('forkserver')
        context.set_forkserver_preload([serve.__module__, 'torch._dynamo'])
        return context
    return multiprocessing.get_context('spawn')


class Worker:
    """The process of a job, and what came of it.

    Args:
        job (Job): The job.
        context (multiprocessing.context.BaseContext): How to start it.
    """

    def __init__(self, job, context):
        self.result = Result(job)
        self.connection, other = context.Pipe()
        self.process = context.Process(target=serve, args=(other, job))
        self.process.start()
        other.close()

    def take(self, kind):
        """Wait for an answer; None once the job has failed.

        Raises:
            UsageError: The job has failed and is none that may.
        """
        if self.result.skipped:
            return None
        try:
            answer, value = self.connection.recv()
        except EOFError:
            self.process.join()
            answer, value = 'failed', f'its process ended with {self.process.exitcode} (out of memory?)'
        if answer == kind:
            return value
        self.result = Result(self.result.job, skipped=value)
        if self.result.job.form not in OPTIONAL:
            job = self.result.job
            raise UsageError(f'{job.network}, {job.task}, {job.form}, {job.precision}: {value}')
        return None

    def run(self, timed):
        """Run the job once."""
        if not self.result.skipped:
            self.connection.send('go')
            value = self.take('seconds')
            if timed and value is not None:
                self.result.seconds.append(value)

    def finish(self):
        """Ask for the peak memory; the process ends."""
        if not self.result.skipped:
            self.connection.send('end')
            value = self.take('peak')
            if value is not None:
                self.result.peak = value

    def close(self):
        """End the process, whatever it does."""
        self.connection.close()
        self.process.join(2)
        if self.process.is_alive():
            self.process.terminate()
            self.process.join()


def measure(case, repetitions, quick=False, progress=True):
    """Measure the jobs of a case, in turns: in every round each job runs once.

    All processes live at the same time, idle but one. A round before the first counts for the memory alone.

    Args:
        case (Case): The case.
        repetitions (int): Rounds that are timed.
        quick (bool): Fork the processes from one that has imported everything: faster to start, but their memory does
            not compare with that of others. Default: False.
        progress (bool): Show a bar. Default: True.

    Returns:
        list[Result]: In the order of the jobs.

    Raises:
        UsageError: A job failed that has to work.
    """
    workers, pause = [], 0 if quick else 0.2  # threads that spin while they wait for work must not meet the next job
    with tqdm(total=len(case.jobs) * (repetitions + 2), desc=case.title, unit='run', disable=not progress) as bar:
        try:
            for job in case.jobs:
                workers.append(Worker(job, _context(quick)))
            for worker in workers:
                worker.take('ready')
                bar.update()
            for round_ in range(repetitions + 1):
                for worker in workers:
                    worker.run(timed=round_ > 0)
                    time.sleep(pause)
                    bar.update()
            for worker in workers:
                worker.finish()
        finally:
            for worker in workers:
                worker.close()
    return [v.result for v in workers]
