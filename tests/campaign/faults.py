"""What all parts of the campaign share: programs in forked processes, tiny runs and images, and the verdict."""
import contextlib
import cv2
import numpy as np
import os
import random
import shutil
import signal
import socket
import time
import torch
from functools import cached_property
from os import path as osp

import memnet_basicsr
from basicsr.archs import build_network
from memnet_basicsr.data.lmdb_util import close_lmdb, write_lmdb
from memnet_basicsr.inference.description import describe
from memnet_basicsr.inference.weights import write_weights
from tests.test_engine.fork_server import ROOT, TEST, TRAIN, ForkServer
from tests.test_engine.tiny_runs import options, write_images, write_options

PACKAGE = osp.dirname(memnet_basicsr.__file__)
RESTORE = osp.join(PACKAGE, 'inference', 'cli.py')
COMMAND = osp.join(PACKAGE, 'plugin', 'command.py')
CREATE_LMDB = osp.join(ROOT, 'scripts', 'data_preparation', 'create_lmdb.py')
LIMITED = osp.join(ROOT, 'tests', 'campaign', 'limited.py')
CANARY = 'executed'  # file that malicious content writes
NETWORK = {'type': 'MemNet', 'num_in_ch': 1, 'num_feat': 4, 'num_block': 1, 'num_recursion': 1}
RESUME = ('-opt', 't.yml', '--auto_resume')
TIMEOUT = 120


class Result:
    """Exit code (None: still running after the time limit) and output of a program, and its folder."""

    def __init__(self, code, log, folder):
        self.code, self.log, self.folder = code, log, folder

    def check(self, codes, *phrases):
        """The program ended with one of the codes, without traceback; its output holds the phrases."""
        assert self.code in codes, f'exit code {self.code} instead of {codes}: {self.log[-400:]}'
        assert 'Traceback' not in self.log, self.log[-600:]
        for phrase in phrases:
            assert phrase in self.log, f'{phrase!r} is not in: {self.log[-400:]}'
        self.check_files()

    def refused(self, *phrases):
        """The program failed with a line that holds the phrases."""
        self.check((1, 2), *phrases)

    def check_files(self):
        """Nothing was executed; no temporary files are left."""
        # BasicSR archives a run that was killed before its first checkpoint as it was
        names = [v for path, _, names in os.walk(self.folder) for v in names if '_archived_' not in path]
        assert CANARY not in names, 'code of the file was executed'
        assert not [v for v in names if v.endswith('.part') or v.startswith('partial-')], names


class Campaign:
    """Runs programs with faults.

    Args:
        root (Path): Folder for everything that is written.
        seed (int): Seed of the random faults.
        is_long (bool): Whether all faults are made; else a few of each part.
    """

    def __init__(self, root, seed=0, is_long=False):
        self.root, self.seed, self.is_long = root, seed, is_long
        self.server = ForkServer()
        self.runs = {}

    def close(self):
        self.server.close()

    def generator(self, part):
        """Random numbers of a part, which do not depend on other parts."""
        return random.Random(f'{self.seed} {part}')

    def folder(self, part, number):
        """A new folder with the images of the tiny runs."""
        folder = self.root / f'{part}_{number}'
        folder.mkdir(parents=True)
        os.symlink(self.images / 'pics', folder / 'pics')
        return folder

    def run(self, folder, *args, script=TRAIN, hook=None, log='log', timeout=TIMEOUT, **env):
        """Run a script to its end; by default BasicSR's train.py."""
        env = {'TORCH_HOME': str(folder / 'cache'), 'no_proxy': '*', **env}
        pid = self.server.start(folder, *map(str, args), script=str(script), hook=hook, env=env, log=log)
        code = self.server.wait(pid, timeout)
        if code is None:
            os.killpg(pid, signal.SIGKILL)
            self.server.wait(pid)
        return Result(code, (folder / log).read_text(errors='replace'), folder)

    def kill(self, folder, moment, *args, script=TRAIN, number=signal.SIGKILL):
        """Start a script, and signal it and its workers after some seconds; returns its exit code."""
        pid = self.server.start(folder, *map(str, args), script=str(script))
        time.sleep(moment)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, number)
        return self.server.wait(pid, TIMEOUT)

    def start_two(self, folder, log='log'):
        """Start a training of two processes as torchrun does; returns their process ids."""
        with socket.socket() as s:
            s.bind(('127.0.0.1', 0))
            port = str(s.getsockname()[1])
        env = {'WORLD_SIZE': '2', 'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': port}
        return [self.server.start(folder, *RESUME, '--launcher', 'pytorch', log=f'{log}{rank}',
                                  env={**env, 'RANK': rank, 'LOCAL_RANK': rank}) for rank in '01']  # yapf: disable

    def run_two(self, folder, log):
        """Run a training of two processes to its end."""
        for rank, pid in enumerate(self.start_two(folder, log)):
            code = self.server.wait(pid, TIMEOUT)
            Result(code, (folder / f'{log}{rank}').read_text(errors='replace'), folder).check((0, ))

    def restore(self, folder, *args, weights=None, **more):
        """Run memnet-restore."""
        return self.run(folder, *args, '--weights', weights or self.weights, '--device', 'cpu', script=RESTORE, **more)

    # ---- made once ----------------------------------------------------------------------------------------------

    @cached_property
    def images(self):
        """Folder of pics/train and pics/val."""
        folder = self.root / 'images'
        folder.mkdir(parents=True)
        write_images(folder)
        return folder

    @cached_property
    def weights(self):
        """A weights file of a tiny network."""
        path = str(self.root / 'weights.pth')
        torch.manual_seed(0)
        params = build_network(dict(NETWORK)).state_dict()
        params = {k: 0.1 * v if v.ndim == 4 else v for k, v in params.items()}  # nearly the identity
        write_weights(path, params, describe({'network_g': NETWORK}, 'denoise'))
        return path

    @cached_property
    def lmdb(self):
        """An LMDB of the training images, to be copied."""
        path, folder = str(self.root / 'train.lmdb'), self.images / 'pics' / 'train'
        images = ((v.stem, cv2.imread(str(v), cv2.IMREAD_GRAYSCALE)) for v in sorted(folder.iterdir()))
        write_lmdb(path, images, progress=False)
        close_lmdb(path)
        return path

    def whole(self, name, processes=1, **changes):
        """Folder of an uninterrupted run, and the seconds that it took."""
        if (name, processes) not in self.runs:
            folder, start = self.folder(f'whole_{name}', processes), time.monotonic()
            write_options(folder, options(**changes))
            if processes == 1:
                self.run(folder).check((0, ))
            else:
                self.run_two(folder, 'log')
            self.runs[name, processes] = folder, time.monotonic() - start
        return self.runs[name, processes]

    def many(self, count):
        """A folder of that many images, for programs that can be killed in between."""
        folder = self.root / f'many_{count}'
        if not folder.exists():
            folder.mkdir()
            draw = np.random.RandomState(0)
            for i in range(count):
                cv2.imwrite(str(folder / f'{i:03d}.png'), draw.randint(0, 256, (64, 64), dtype=np.uint8))
        return folder


def copy_lmdb(campaign, folder):
    """A copy of the LMDB in a folder, and its data.mdb."""
    shutil.copytree(campaign.lmdb, folder / 'train.lmdb')
    return folder / 'train.lmdb', folder / 'train.lmdb' / 'data.mdb'


def damaged(content, kind, generator):
    """Bytes with a fault: cut off, a flipped bit, or a block of zeros or of random bytes."""
    content = bytearray(content)
    place = generator.randrange(len(content))
    if kind == 'cut':
        return bytes(content[:place])
    if kind == 'bit':
        content[place] ^= 1 << generator.randrange(8)
    else:
        size = min(generator.choice((16, 512, 4096)), len(content) - place)
        content[place:place + size] = bytes(size) if kind == 'zeros' else generator.randbytes(size)
    return bytes(content)


__all__ = [
    'CANARY', 'COMMAND', 'CREATE_LMDB', 'LIMITED', 'NETWORK', 'RESTORE', 'RESUME', 'ROOT', 'TEST', 'TRAIN', 'Campaign',
    'copy_lmdb', 'damaged'
]
