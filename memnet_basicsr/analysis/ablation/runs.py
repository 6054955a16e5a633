"""Training runs of an ablation: concurrent processes that can be interrupted and resumed."""
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from os import path as osp
from tqdm import tqdm

from ...atomic_file import write_atomically
from ...engine.training_log import read_validations
from ...errors import UsageError
from .plan import option_text

_ITERATION = re.compile(rb'iter:\s*([\d,]+), lr:')


@dataclass(frozen=True)
class Run:
    """One training run of an ablation.

    Args:
        name (str): Name.
        opt (dict): Options.
        output (str): Folder of the ablation. The run writes to ``experiments/<name>`` there; ``runs`` holds its
            options (``<name>.yml``), printed text (``<name>.txt``) and state (``<name>.json``).
    """
    name: str
    opt: dict
    output: str

    @property
    def folder(self):
        """Folder that the training writes to."""
        return osp.join(self.output, 'experiments', self.name)

    def file(self, ending):
        """Path of its file in ``runs``."""
        return osp.join(self.output, 'runs', f'{self.name}.{ending}')

    @property
    def total(self):
        """Number of iterations."""
        return self.opt['train']['total_iter']

    def state(self):
        """Return the CPU seconds so far and whether the run has finished."""
        try:
            with open(self.file('json'), encoding='utf-8') as f:
                return json.load(f)
        except (OSError, ValueError):
            return dict(cpu_seconds=0., finished=False)

    def finished(self):
        """Whether the run has finished with these options and has results."""
        return self.state()['finished'] and not self.changed() and osp.isfile(osp.join(self.folder, 'metrics.jsonl'))

    def changed(self):
        """Whether the run was started with other options."""
        return osp.isdir(self.folder) and _read(self.file('yml')) != option_text(self.opt).encode()

    def iteration(self):
        """Last iteration that the run has printed."""
        found = _ITERATION.findall(_read(self.file('txt'), 4000))
        return int(found[-1].replace(b',', b'')) if found else 0

    def needs(self, runs):
        """Runs whose results its options refer to."""
        paths = [v for v in self.opt['path'].values() if isinstance(v, str)]
        return [r for r in runs if any(v.startswith(f'experiments/{r.name}/') for v in paths)]

    def metrics(self):
        """Results of the last validation: (metric, dataset) -> value."""
        return {
            (metric, name): points[-1][1]
            for metric, sets in read_validations(self.folder).items()
            for name, points in sets.items()
        }


def train_all(runs, jobs=1, threads=1, overwrite=False):
    """Train all runs that have not finished.

    Each run is a process of ``python -m memnet_basicsr.train`` in the output folder; interrupted runs continue with
    ``--auto_resume``. Failures are reported and the remaining runs continue. SIGTERM and Ctrl-C stop the processes,
    which save their state.

    Args:
        runs (list[Run]): Runs; a run that refers to the results of another one waits for it.
        jobs (int): Concurrent processes. Default: 1.
        threads (int): Threads of each process. Default: 1.
        overwrite (bool): Whether to restart runs whose options have changed. Default: False.

    Returns:
        dict[str, str]: Name of each failed run -> last line that it printed.

    Raises:
        UsageError: If options of a started run have changed, or another ablation uses the folder.
        KeyboardInterrupt: If the runs were stopped.
    """
    changed = [run for run in runs if run.changed()]
    if changed and not overwrite:
        raise UsageError(
            f'{len(changed)} run(s) were started with other options (first: {changed[0].name}); use another '
            '--output, or --overwrite to restart them')
    output = runs[0].output
    os.makedirs(osp.join(output, 'runs'), exist_ok=True)
    with _locked(output) as lock:
        for run in changed:
            shutil.rmtree(run.folder)
            for ending in ('txt', 'json'):
                with contextlib.suppress(FileNotFoundError):
                    os.remove(run.file(ending))
        return _Queue(runs, jobs, threads, lock).run()


class _Queue:

    def __init__(self, runs, jobs, threads, lock):
        self.all, self.jobs, self.threads, self.lock = runs, jobs, threads, lock
        self.waiting = [run for run in runs if not run.finished()]
        self.working, self.failed = {}, {}
        self.stopped = 0

    def run(self):
        before = {v: signal.signal(v, self._stop) for v in (signal.SIGINT, signal.SIGTERM)}
        done = sum(run.total for run in self.all if run not in self.waiting)
        total = sum(run.total for run in self.all)
        if self.waiting:
            print(f'{len(self.all)} runs, {len(self.all) - len(self.waiting)} finished')
        try:
            with tqdm(total=total, initial=done, unit='it', disable=not self.waiting, mininterval=1) as bar:
                while self.working or (self.waiting and not self.stopped):
                    self._start_more()
                    time.sleep(0.2)
                    for process, run in list(self.working.items()):
                        self._collect(process, run)
                    ended = sum(r.total for r in self.all if r not in self.waiting and r not in self.working.values())
                    bar.set_postfix_str(', '.join(r.name for r in self.working.values()), refresh=False)
                    bar.update(max(0, ended + sum(r.iteration() for r in self.working.values()) - bar.n))
        finally:
            for process in self.working:  # only after an error in this loop
                process.terminate()
            for number, handler in before.items():
                signal.signal(number, handler)
        if self.stopped:
            raise KeyboardInterrupt
        return self.failed

    def _stop(self, number, frame):
        self.stopped = number
        for process in self.working:
            process.send_signal(signal.SIGTERM)

    def _start_more(self):
        for run in list(self.waiting):
            if self.stopped or len(self.working) >= self.jobs:
                return
            needs = run.needs(self.all)
            lost = [r.name for r in needs if r.name in self.failed]
            if lost:
                self.waiting.remove(run)
                self._fail(run, f'needs {lost[0]}, which failed')
            elif not any(r in self.waiting or r in self.working.values() for r in needs):
                self.waiting.remove(run)
                self._start(run)

    def _start(self, run):
        write_atomically(run.file('yml'), option_text(run.opt).encode())
        environment = dict(os.environ, OMP_NUM_THREADS=str(self.threads), MKL_NUM_THREADS=str(self.threads))
        with open(run.file('txt'), 'wb') as text:
            # In a new session, Ctrl-C does not reach the process twice. It inherits the lock, which outlives us.
            process = subprocess.Popen(command_of(run), cwd=run.output, env=environment, stdout=text, stderr=text,
                                       start_new_session=True, pass_fds=[self.lock])  # yapf: disable
        self.working[process] = run

    def _collect(self, process, run):
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if not pid:
            return
        process.returncode = os.waitstatus_to_exitcode(status)  # otherwise Popen would wait for the process
        del self.working[process]
        seconds = run.state()['cpu_seconds'] + usage.ru_utime + usage.ru_stime
        complete = process.returncode == 0 and bool(run.metrics())
        write_atomically(run.file('json'), json.dumps(dict(cpu_seconds=seconds, finished=complete)).encode())
        if not complete and not self.stopped:
            lines = _read(run.file('txt'), 4000).decode(errors='replace').strip().splitlines()
            self._fail(run, lines[-1] if lines else f'exit code {process.returncode}')

    def _fail(self, run, text):
        self.failed[run.name] = text
        tqdm.write(f'{run.name} failed: {text}', file=sys.stderr)


def command_of(run):
    """Command that starts or resumes a run."""
    return [sys.executable, '-m', 'memnet_basicsr.train', '-opt', osp.abspath(run.file('yml')), '--auto_resume']


@contextlib.contextmanager
def _locked(folder):
    """Allow one ablation per folder, including processes that a killed one has left."""
    import fcntl  # not available on Windows
    with open(osp.join(folder, 'runs', '.lock'), 'w') as f:
        try:
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UsageError(f'output {folder}: is in use by another ablation or by its processes; wait until they '
                             'finish') from None
        yield f.fileno()


def _read(path, last=None):
    """Read a file, or its last bytes; empty if it does not exist."""
    try:
        with open(path, 'rb') as f:
            if last:
                f.seek(max(0, os.fstat(f.fileno()).st_size - last))
            return f.read()
    except FileNotFoundError:
        return b''
