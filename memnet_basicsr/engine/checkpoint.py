"""Checkpoints that appear whole or not at all, and what a run needs to go on exactly where it stopped."""
import numpy as np
import os
import pickle
import random
import signal
import threading
import torch
from os import path as osp

from basicsr.utils import get_root_logger
from ..errors import UsageError


def save_whole(obj, path):
    """Write with torch.save to a temporary file, bring it to the disk, and rename it.

    Args:
        obj (dict): Tensors and plain Python values only, so that ``torch.load(weights_only=True)`` reads it.
        path (str): The file. It is the old one or the new one at any time.

    Raises:
        OSError: The write failed (disk full, permission); the file is what it was before.
    """
    temporary = f'{path}.part-{os.getpid()}'
    try:
        with open(temporary, 'wb') as f:
            torch.save(obj, f)
            f.flush()
            os.fsync(f.fileno())
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:  # torch reports a failed write as RuntimeError
        if osp.exists(temporary):
            os.remove(temporary)
        raise OSError(f'cannot write checkpoint {path}: {error} (the previous one is intact)') from error


def load(path):
    """Read a checkpoint's tensors and plain values to the CPU.

    Args:
        path (str): The file.

    Returns:
        dict: Its content.

    Raises:
        UsageError: It does not exist, is damaged, or holds more than tensors and plain values.
    """
    try:
        return torch.load(path, map_location='cpu', weights_only=True)
    except FileNotFoundError:
        raise UsageError(f'checkpoint {path} does not exist') from None
    except pickle.UnpicklingError as error:
        raise UsageError(f'checkpoint {path} cannot be loaded safely: {str(error).splitlines()[0]}') from None
    except (RuntimeError, EOFError, ValueError, KeyError) as error:
        raise UsageError(f'checkpoint {path} is damaged: {str(error).splitlines()[0]}') from None


def newest_state(opt):
    """The newest training state of a run that can be loaded, its networks included; damaged ones are named and skipped.

    Args:
        opt (dict): Options of the run.

    Returns:
        str | None: Path of the state.
    """
    folder = opt['path']['training_states']
    for iteration in sorted(saved_iterations(folder), reverse=True):
        path = osp.join(folder, f'{iteration}.state')
        try:
            load(path)
            for name in (key for key in opt if key.startswith('network_')):
                load(network_path(opt, name.replace('network_', 'net_'), iteration))
            return path
        except UsageError as error:
            get_root_logger().warning(f'{error}: an older one is taken')
    return None


def saved_iterations(folder):
    """Iterations of which a folder holds training states."""
    names = os.listdir(folder) if osp.isdir(folder) else []
    return [int(name[:-len('.state')]) for name in names if name.endswith('.state') and name[:-len('.state')].isdigit()]


def network_path(opt, label, current_iter):
    """Where BasicSR keeps a network of an iteration (-1: the latest)."""
    return osp.join(opt['path']['models'], f'{label}_{"latest" if current_iter == -1 else current_iter}.pth')


def remove_older(opt, labels, keep_last):
    """Remove all but the newest training states and their networks.

    Args:
        opt (dict): Options of the run.
        labels (list[str]): Networks, for example ['net_g'].
        keep_last (int): How many stay.
    """
    for iteration in sorted(saved_iterations(opt['path']['training_states']))[:-keep_last]:
        os.remove(osp.join(opt['path']['training_states'], f'{iteration}.state'))
        for label in labels:
            path = network_path(opt, label, iteration)
            if osp.exists(path):
                os.remove(path)


def check_fits(net, state, path):
    """Check that a state dict fits a network, before anything is loaded.

    Args:
        net (nn.Module): The network.
        state (dict[str, Tensor]): Parameters and buffers by name.
        path (str): The file, for the message.

    Raises:
        UsageError: One line that names missing, unexpected and misshapen entries (the first three of each).
    """
    own = net.state_dict()
    faults = []
    for title, names in (('missing', own.keys() - state.keys()), ('unexpected', state.keys() - own.keys())):
        if names:
            faults.append(f'{title} {_few(sorted(names))}')
    shapes = [
        f'{name} {tuple(state[name].shape)} instead of {tuple(own[name].shape)}' for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    if shapes:
        faults.append(f'shape of {_few(shapes)}')
    if faults:
        raise UsageError(f'checkpoint {path} is of another configuration than {type(net).__name__} of the option file: '
                         f'{"; ".join(faults)}')


def _few(names):
    return ', '.join(names[:3]) + (f' and {len(names) - 3} more' if len(names) > 3 else '')


def plain(value):
    """The same value without numpy scalars, which ``weights_only`` loading refuses."""
    if isinstance(value, dict):
        return {key: plain(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(plain(v) for v in value)
    return value.item() if isinstance(value, np.generic) else value


def get_random_state():
    """States of all global generators of this process, as tensors and plain values."""
    version, words, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state()
    return {
        'python': [version, torch.tensor(words, dtype=torch.int64), gauss],
        'numpy': [name, torch.from_numpy(keys.astype(np.int64)),
                  int(position), int(has_gauss),
                  float(cached)],
        'torch': torch.get_rng_state(),
        'cuda': torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_random_state(state):
    """Take up what :func:`get_random_state` gave."""
    version, words, gauss = state['python']
    random.setstate((version, tuple(words.tolist()), gauss))
    name, keys, position, has_gauss, cached = state['numpy']
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state['torch'])
    if len(state['cuda']) == (torch.cuda.device_count() if torch.cuda.is_available() else 0):
        torch.cuda.set_rng_state_all(state['cuda'])


class StopRequest:
    """Remembers SIGTERM and Ctrl-C, so that the run can save before it leaves; a second Ctrl-C ends it at once."""

    def __init__(self):
        self.signal = 0
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, self._note)

    def _note(self, number, frame):
        if self.signal and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = int(number)

    def agreed(self, device, distributed):
        """The signal that some process has received, 0 for none; all processes must ask together."""
        if not distributed:
            return self.signal
        flag = torch.tensor(self.signal, device=device)
        torch.distributed.all_reduce(flag, torch.distributed.ReduceOp.MAX)
        return int(flag)


def keep_lines(path, count):
    """Cut a log to its first lines (those that the resumed state knows of), whole or not at all."""
    if not osp.isfile(path):
        return
    with open(path, encoding='utf-8') as f:
        lines = f.readlines()[:count]
    with open(f'{path}.part', 'w', encoding='utf-8') as f:
        f.writelines(lines)
    os.replace(f'{path}.part', path)
