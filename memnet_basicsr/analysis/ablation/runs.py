"""The trainings of an ablation: processes that run side by side, and that can be stopped and taken up again."""
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
    """One training of an ablation.

    Args:
        name (str): Its name.
        opt (dict): Its options.
        output (str): Folder of the ablation: ``experiments/<name>`` in it is what the training writes,
            ``<name>.yml``, ``<name>.txt`` and ``<name>.json`` in its ``runs`` are options, printed text and seconds.
    """
    name: str
    opt: dict
    output: str

    @property
    def folder(self):
        """What the training writes."""
        return osp.join(self.output, 'experiments', self.name)

    def file(self, ending):
        """A file beside it."""
        return osp.join(self.output, 'runs', f'{self.name}.{ending}')

    @property
    def total(self):
        """Iterations."""
        return self.opt['train']['total_iter']

    def state(self):
        """Seconds of CPU time so far, and whether it ended well."""
        try:
            with open(self.file('json'), encoding='utf-8') as f:
                return json.load(f)
        except (OSError, ValueError):
            return dict(cpu_seconds=0., finished=False)

    def finished(self):
        """Whether it has ended well, with these options, and its figures are there."""
        return self.state()['finished'] and not self.changed() and osp.isfile(osp.join(self.folder, 'metrics.jsonl'))

    def changed(self):
        """Whether it was begun with other options."""
        return osp.isdir(self.folder) and _read(self.file('yml')) != option_text(self.opt).encode()

    def iteration(self):
        """The last iteration that it has told of."""
        found = _ITERATION.findall(_read(self.file('txt'), 4000))
        return int(found[-1].replace(b',', b'')) if found else 0

    def needs(self, runs):
        """Runs whose results its options name."""
        paths = [v for v in self.opt['path'].values() if isinstance(v, str)]
        return [r for r in runs if any(v.startswith(f'experiments/{r.name}/') for v in paths)]

    def metrics(self):
        """Figures of the last validation: (metric, data set) -> value."""
        return {
            (metric, name): points[-1][1]
            for metric, sets in read_validations(self.folder).items()
            for name, points in sets.items()
        }


def train_all(runs, jobs=1, threads=1, overwrite=False):
    """Train what is not finished.

    Each is a process of ``python -m memnet_basicsr.train`` in the output folder; one that was stopped goes on with
    ``--auto_resume``. A failing run is told, and the others go on. SIGTERM and Ctrl-C stop the processes, which save.

    Args:
        runs (list[Run]): Trainings; one that names another's results waits for it.
        jobs (int): Processes at once. Default: 1.
        threads (int): Threads of each. Default: 1.
        overwrite (bool): Whether runs that were begun with other options start anew. Default: False.

    Returns:
        dict[str, str]: Names of the failed runs -> last line of what they printed.

    Raises:
        UsageError: Options of a run that has begun are others now; another ablation works in the folder.
    """
    changed = [run for run in runs if run.changed()]
    if changed and not overwrite:
        raise UsageError(f'{len(changed)} run(s) were begun with other options than those of now ({changed[0].name}, '
                         '...): choose another --output, or say --overwrite to train them anew')
    output = runs[0].output
    os.makedirs(osp.join(output, 'runs'), exist_ok=True)
    with _locked(output) as lock:
        for run in changed:
            shutil.rmtree(run.folder)
            for ending in ('txt', 'json'):
                with contextlib.suppress(FileNotFoundError):
                    os.remove(run.file(ending))
        return _Queue(runs, jobs, threads, lock).work()


class _Queue:

    def __init__(self, runs, jobs, threads, lock):
        self.all, self.jobs, self.threads, self.lock = runs, jobs, threads, lock
        self.waiting = [run for run in runs if not run.finished()]
        self.working, self.failed = {}, {}
        self.stopped = 0

    def work(self):
        before = {v: signal.signal(v, self._stop) for v in (signal.SIGINT, signal.SIGTERM)}
        done = sum(run.total for run in self.all if run not in self.waiting)
        total = sum(run.total for run in self.all)
        if self.waiting:
            print(f'{len(self.all)} runs, {len(self.all) - len(self.waiting)} of them finished')
        try:
            with tqdm(total=total, initial=done, unit='it', disable=not self.waiting, mininterval=1) as bar:
                while self.working or (self.waiting and not self.stopped):
                    self._start_more()
                    time.sleep(0.2)
                    for process, run in list(self.working.items()):
                        self._look_at(process, run)
                    ended = sum(r.total for r in self.all if r not in self.waiting and r not in self.working.values())
                    bar.set_postfix_str(', '.join(r.name for r in self.working.values()), refresh=False)
                    bar.update(max(0, ended + sum(r.iteration() for r in self.working.values()) - bar.n))
        finally:
            for process in self.working:  # after an error of our own
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
            # a session of its own: Ctrl-C reaches it once, from here; the lock stays while one of them lives
            process = subprocess.Popen(command_of(run), cwd=run.output, env=environment, stdout=text, stderr=text,
                                       start_new_session=True, pass_fds=[self.lock])  # yapf: disable
        self.working[process] = run

    def _look_at(self, process, run):
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if not pid:
            return
        process.returncode = os.waitstatus_to_exitcode(status)  # Popen would wait for it otherwise
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
    """What starts a run, or takes it up."""
    return [sys.executable, '-m', 'memnet_basicsr.train', '-opt', osp.abspath(run.file('yml')), '--auto_resume']


@contextlib.contextmanager
def _locked(folder):
    """One ablation at a time in a folder; what a killed one has left running counts."""
    import fcntl  # not on Windows
    with open(osp.join(folder, 'runs', '.lock'), 'w') as f:
        try:
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UsageError(
                f'output {folder}: another ablation works there, or a training that one has left; wait for '
                'it') from None
        yield f.fileno()


def _read(path, last=None):
    """Bytes of a file, or its last ones; none where there is no file."""
    try:
        with open(path, 'rb') as f:
            if last:
                f.seek(max(0, os.fstat(f.fileno()).st_size - last))
            return f.read()
    except FileNotFoundError:
        return b''
