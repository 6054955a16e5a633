"""Runs scripts of BasicSR in processes that a server forks, so that imports cost once.

As a script this file is the server: one JSON command a line on its standard input, one JSON answer a line back.
"""
import contextlib
import cv2
import importlib.util
import json
import os
import runpy
import signal
import subprocess
import sys
import time
import torch
import traceback
from os import path as osp

from tests.test_engine import hooks

ROOT = osp.dirname(osp.dirname(osp.dirname(osp.abspath(__file__))))
BASICSR = osp.dirname(importlib.util.find_spec('basicsr').origin)
TRAIN = osp.join(BASICSR, 'train.py')
TEST = osp.join(BASICSR, 'test.py')


class ForkServer:
    """Starts runs in forked processes; each is a session of its own, so that all of it can be signalled."""

    def __init__(self):
        env = dict(os.environ, OMP_NUM_THREADS='1', PYTHONPATH=ROOT, CUDA_VISIBLE_DEVICES='')
        self.process = subprocess.Popen([sys.executable, '-m', 'tests.test_engine.fork_server'],
                                        stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE,
                                        text=True,
                                        env=env,
                                        cwd=ROOT)

    def _ask(self, **command):
        self.process.stdin.write(json.dumps(command) + '\n')
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def start(self, folder, *args, hook=None, env=None, log='log', script=TRAIN):
        """Start a script with arguments in a folder; ``hook`` is a function of hooks.py by name, with its arguments."""
        argv = [script, *(args or ('-opt', 't.yml'))]
        return self._ask(action='start', folder=str(folder), argv=argv, hook=hook, env=env or {}, log=log)

    def wait(self, pid, timeout=60.):
        """Exit status of a run (negative: the signal that ended it), None if it is still running by then."""
        return self._ask(action='wait', pid=pid, timeout=timeout)

    def run(self, folder, *args, timeout=60., **more):
        return self.wait(self.start(folder, *args, **more), timeout)

    def close(self):
        self.process.stdin.close()
        self.process.wait(20)


def run_child(folder, argv, hook, env, log):
    os.setsid()
    os.chdir(folder)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.environ.update(env)
    sys.argv = argv
    code = 0
    try:
        if hook:
            getattr(hooks, hook[0])(*hook[1:])
        runpy.run_path(argv[0], run_name='__main__')
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
        if isinstance(leaving.code, str):
            print(leaving.code, file=sys.stderr)
    except BaseException:
        code = 1
        if sys.excepthook is sys.__excepthook__:
            traceback.print_exc()
        else:
            sys.excepthook(*sys.exc_info())
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def wait_child(pid, timeout):
    end = time.time() + timeout
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)  # workers that it may have left behind
            return os.waitstatus_to_exitcode(status)
        if time.time() > end:
            return None
        time.sleep(0.005)


def serve():
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    children = set()
    for line in sys.stdin:
        command = json.loads(line)
        action = command.pop('action')
        if action == 'start':
            sys.stdout.flush()
            pid = os.fork()
            if not pid:
                run_child(**command)
            children.add(pid)
            answer = pid
        else:
            answer = wait_child(**command)
            if answer is not None:
                children.discard(command['pid'])
        sys.stdout.write(json.dumps(answer) + '\n')
        sys.stdout.flush()
    for pid in children:
        os.killpg(pid, signal.SIGKILL)


if __name__ == '__main__':
    serve()
