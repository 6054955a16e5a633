"""Checkpoints that appear whole or not at all, in the files of BasicSR: networks and training states."""
import numpy as np
import os
import pickle
import torch
from os import path as osp

from ..atomic_file import replacing
from ..errors import UsageError


def save_whole(obj, path):
    """Write with torch.save to a temporary file, bring it to the disk, and rename it.

    Args:
        obj (dict): Tensors and plain Python values only, so that ``torch.load(weights_only=True)`` reads it.
        path (str): The file. It is the old one or the new one at any time.

    Raises:
        OSError: The write failed (disk full, permission); the file is what it was before.
    """
    try:
        with replacing(path) as f:
            torch.save(obj, f)
    except (OSError, RuntimeError) as error:
        cause = error
        while isinstance(cause, RuntimeError) and cause.__context__:  # torch hides the failed write behind its own
            cause = cause.__context__
        if not isinstance(cause, (OSError, RuntimeError)):  # Ctrl-C, too
            raise
        text = str(cause).splitlines()[0]
        raise OSError(f'cannot write checkpoint {path}: {text} (what was there before is intact)') from error


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
    except OSError as error:
        raise UsageError(f'checkpoint {path} cannot be read: {error.strerror}') from None
    except pickle.UnpicklingError as error:
        raise UsageError(f'checkpoint {path} cannot be loaded safely: {str(error).splitlines()[0]}') from None
    except Exception as error:  # damaged bytes can lead the reader anywhere
        text = str(error).splitlines() or [type(error).__name__]
        raise UsageError(f'checkpoint {path} is damaged: {text[0]}') from None


def newest_state(opt):
    """The newest training state of a run that can be loaded, its networks included.

    Args:
        opt (dict): Options of the run.

    Returns:
        tuple[str | None, list[str]]: Path of the state, and what is wrong with each newer one, which was skipped.
    """
    folder = opt['path']['training_states']
    labels = [key.replace('network_', 'net_') for key in opt if key.startswith('network_')]
    skipped = []
    for iteration in sorted(saved_iterations(folder), reverse=True):
        path = osp.join(folder, f'{iteration}.state')
        try:
            for part in [path] + [network_path(opt, label, iteration) for label in labels]:
                load(part)
            return path, skipped
        except UsageError as error:
            skipped.append(f'{error}: an older one is taken')
    return None, skipped


def saved_iterations(folder):
    """Iterations of which a folder holds training states."""
    names = os.listdir(folder) if osp.isdir(folder) else []
    return [int(name[:-len('.state')]) for name in names if name.endswith('.state') and name[:-len('.state')].isdigit()]


def network_path(opt, label, current_iter):
    """Where BasicSR keeps a network of an iteration (-1: the latest)."""
    return osp.join(opt['path']['models'], f'{label}_{"latest" if current_iter == -1 else current_iter}.pth')


def write_networks(opt, networks, current_iter):
    """Write the networks of an iteration, each with its label to one file.

    Args:
        opt (dict): Options of the run.
        networks (dict[str, dict[str, nn.Module]]): Label -> name of its parameters -> network, not wrapped.
        current_iter (int): Iteration, -1 for the latest.
    """
    for label, nets in networks.items():
        weights = {key: {k: v.cpu() for k, v in net.state_dict().items()} for key, net in nets.items()}
        save_whole(weights, network_path(opt, label, current_iter))


def write_state(opt, state, labels):
    """Write a training state, after its networks: what has a state is complete. Then remove what is too old.

    Args:
        opt (dict): Options of the run; ``train: keep_last`` (int) is how many states stay. Default: all.
        state (dict): The state, with its ``iter``.
        labels (list[str]): Labels of its networks.
    """
    folder = opt['path']['training_states']
    save_whole(plain(state), osp.join(folder, f'{state["iter"]}.state'))
    keep_last = int(opt['train'].get('keep_last') or 0)
    for iteration in sorted(saved_iterations(folder))[:-keep_last] if keep_last else []:
        os.remove(osp.join(folder, f'{iteration}.state'))
        for label in labels:
            if osp.exists(network_path(opt, label, iteration)):
                os.remove(network_path(opt, label, iteration))


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
