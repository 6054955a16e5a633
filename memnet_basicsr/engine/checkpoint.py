"""Atomic checkpoints in BasicSR's file layout: networks and training states."""
import numpy as np
import os
import pickle
import torch
import zipfile
import zlib
from os import path as osp

from ..atomic_file import replacing
from ..errors import UsageError, first_line

_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.complex128, torch.bool,
           torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)  # yapf: disable
EXPORTED = 'is an exported network, which cannot be trained; use the .pth or .safetensors file that it was made from'
# entries of a file that may share memory, such as the units of a recursion
_MOST_SHARED = 100


def save_whole(obj, path):
    """Save with torch.save, atomically: write a temporary file, sync it to disk, and rename it.

    Args:
        obj (dict): Tensors and plain Python values only, so that ``torch.load(weights_only=True)`` reads it.
        path (str): The file. It has either the old or the new content at any time.

    Raises:
        OSError: If the write fails (disk full, permission); the file keeps its old content.
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
        raise OSError(f'cannot write checkpoint {path}: {text} (the previous file is intact)') from error


def load(path):
    """Read a ``.pth`` file or training state to the CPU. Nothing in it is executed.

    Checkpoints are zip archives, whose checksums are verified; only files of torch before 1.6 have none.

    Args:
        path (str): The file.

    Returns:
        dict: Its content.

    Raises:
        UsageError: If it does not exist, is damaged, holds more than tensors and plain values, is no dictionary, or is
            an exported network.
    """
    if str(path).endswith('.onnx'):
        raise UsageError(f'checkpoint {path} {EXPORTED}')
    try:
        if zipfile.is_zipfile(path):
            _check_archive(path)
        # not torch.load: BasicSR's models get this function under that name
        content = torch.serialization.load(path, map_location='cpu', weights_only=True)
    except UsageError:
        raise
    except FileNotFoundError:
        raise UsageError(f'checkpoint {path} does not exist') from None
    except OSError as error:
        raise UsageError(f'checkpoint {path} cannot be read: {error.strerror or error}') from None
    except pickle.UnpicklingError:  # its text advises to load the file unsafely
        raise UsageError(
            f'checkpoint {path} cannot be loaded safely: it is damaged or holds more than tensors and plain values; '
            'save its state dict again') from None
    except Exception as error:  # damaged bytes can make the reader raise anything
        text = first_line(error).split('. ')[0]
        raise UsageError(f'checkpoint {path} is damaged, or of a format that cannot be loaded safely: {text}') from None
    if not isinstance(content, dict):
        raise UsageError(f'checkpoint {path} holds a {type(content).__name__} instead of a dictionary of tensors')
    return content


def _check_archive(path):
    """Refuse damaged zip archives, and records that grow when they are read.

    torch does not verify the checksums itself, and reads nothing from a record with the attribute of a folder.
    """
    with zipfile.ZipFile(path) as archive:
        if any(v.compress_type != zipfile.ZIP_STORED for v in archive.infolist()):
            raise UsageError(f'checkpoint {path} holds compressed records, which torch.save does not write; unpack it')
        folders = [v.filename for v in archive.infolist() if v.external_attr & 0x10]
        wrong = archive.testzip() or next(iter(folders), None)
    if wrong is not None:
        raise UsageError(f'checkpoint {path} is damaged: record {wrong} fails its checksum or is marked as a folder; '
                         'copy or download it again')


def parameters_of(content, path, param_key=None):
    """Select the parameters of a network in a checkpoint, without the prefix ``module.`` of parallel training.

    Args:
        content (dict): See :func:`load`.
        path (str): The file, for messages.
        param_key (str | None): 'params_ema' or 'params'. None: the averaged ones if there are any. Default: None.

    Returns:
        dict[str, Tensor]: Parameters and buffers by name.

    Raises:
        UsageError: If there are none under this key, or they are not plain tensors by name.
    """
    keys = ('params_ema', 'params') if param_key is None else (param_key, )
    params = next((content[key] for key in keys if key in content), None)
    if not isinstance(params, dict):
        raise UsageError(f'checkpoint {path} has no {" or ".join(keys)}; its keys: {few(content) or "none"}')
    if not params or not all(isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in params.items()):
        raise UsageError(f'checkpoint {path}: {" or ".join(keys)} is not a state dict (name -> tensor)')
    wrong = next((k for k, v in params.items() if not _is_plain(v)), None)
    if wrong is not None:
        raise UsageError(
            f'checkpoint {path}: {wrong} is not a plain tensor (but sparse, quantized or without values); convert it')
    storages = {v.untyped_storage().data_ptr(): v.untyped_storage().nbytes() for v in params.values()}
    if sum(v.nbytes for v in params.values()) > _MOST_SHARED * sum(storages.values()):
        raise UsageError(f'checkpoint {path}: its tensors are much larger than the file; save them without expand()')
    return {k.removeprefix('module.'): v for k, v in params.items()}


def _is_plain(value):
    """Whether a tensor is an array of numbers in memory; files may hold any other kind too."""
    in_memory = value.device.type == 'cpu' and value.layout is torch.strided and not value.is_nested
    return in_memory and value.dtype in _DTYPES


def load_state(opt, path):
    """Read a training state, and check it and the networks that belong to it.

    Args:
        opt (dict): Options of the run.
        path (str): The state.

    Returns:
        dict: Its content.

    Raises:
        UsageError: If the state or a network is missing or damaged, or has other content.
    """
    state = load(path)
    for key, kind in (('epoch', int), ('iter', int), ('optimizers', list), ('schedulers', list)):
        if not isinstance(state.get(key), kind):
            raise UsageError(f'{path} is not a training state: it has no {key}; its keys: {few(state) or "none"}')
    saved = state.get('memnet_basicsr', {}).get('networks', {})
    ignored = opt['path'].get('ignore_resume_networks') or ()
    for label in (key.replace('network_', 'net_') for key in opt if key.startswith('network_') and key not in ignored):
        network = network_path(opt, label, state['iter'])
        parameters_of(load(network), network)
        if label in saved and saved[label] != _fingerprint(network):
            raise UsageError(f'checkpoint {network} is not the one that was saved with {path}')
    return state


def newest_state(opt):
    """Find the newest training state of a run that loads, including its networks.

    Args:
        opt (dict): Options of the run.

    Returns:
        tuple[str | None, dict | None, list[str]]: Path and content of the state (None: no state), and a
            message for each newer one, which was skipped.

    Raises:
        UsageError: If there are states, but none can be loaded.
    """
    folder = opt['path']['training_states']
    skipped = []
    for iteration in sorted(saved_iterations(folder), reverse=True):
        path = osp.join(folder, f'{iteration}.state')
        try:
            return path, load_state(opt, path), skipped
        except UsageError as error:
            skipped.append(f'{error}; trying an older training state')
    if skipped:
        reason = skipped[0].removesuffix('; trying an older training state')
        raise UsageError(f'{folder}: none of the {len(skipped)} training states can be resumed; the newest: {reason}; '
                         'start without --auto_resume to begin a new run')
    return None, None, skipped


def _fingerprint(path):
    """Number that tells checkpoints apart, from the checksums in the archive; None for an older format."""
    if not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as archive:
        return zlib.crc32(repr([(v.filename, v.CRC) for v in archive.infolist()]).encode())


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

    Returns:
        dict[str, int]: Label -> fingerprint of the file, for the training state.
    """
    fingerprints = {}
    for label, nets in networks.items():
        weights = {key: {k: v.cpu() for k, v in net.state_dict().items()} for key, net in nets.items()}
        path = network_path(opt, label, current_iter)
        save_whole(weights, path)
        fingerprints[label] = _fingerprint(path)
    return fingerprints


def write_state(opt, state, labels, keep_last=None):
    """Write a training state, then delete the oldest states and their networks.

    Must follow :func:`write_networks`, so that an existing state implies complete networks.

    Args:
        opt (dict): Options of the run.
        state (dict): Training state, with its ``iter``.
        labels (list[str]): Labels of its networks.
        keep_last (int | None): Number of states to keep; None keeps all. Default: None.
    """
    folder = opt['path']['training_states']
    save_whole(plain(state), osp.join(folder, f'{state["iter"]}.state'))
    for iteration in sorted(saved_iterations(folder))[:-keep_last] if keep_last else []:
        os.remove(osp.join(folder, f'{iteration}.state'))
        for label in labels:
            if osp.exists(network_path(opt, label, iteration)):
                os.remove(network_path(opt, label, iteration))


def load_for(net, path, strict=True, param_key='params'):
    """Read a checkpoint for ``BaseModel.load_network``, and check it before anything is loaded.

    Args:
        net (nn.Module): The network, not wrapped.
        path (str): The checkpoint.
        strict (bool): Whether the parameters must fit exactly. Default: True.
        param_key (str | None): Their entry; BasicSR takes ``params`` where there is no such entry, and the whole file
            for None. Default: 'params'.

    Returns:
        dict: Its content; parameters of a backbone alone are completed by the network's own memory.

    Raises:
        UsageError: See :func:`load`; or the parameters do not fit or are not finite.
    """
    content = load(path)
    if param_key is None:
        params = parameters_of({'params': content}, path)
    else:
        key = param_key if param_key in content or 'params' not in content else 'params'
        params = parameters_of(content, path, key)
    adapted = net.adapt_state_dict(params) if hasattr(net, 'adapt_state_dict') else params
    check_finite(adapted, path)
    if strict:
        check_fits(net, adapted, path)
    if adapted is params:
        return content
    from basicsr.utils import get_root_logger  # restoring does not need BasicSR
    get_root_logger().info(f'{path}: weights of the backbone alone; the memory keeps its own.')
    return adapted if param_key is None else {**content, key: adapted}


def check_finite(params, where):
    """Check that parameters hold numbers only.

    Args:
        params (dict[str, Tensor]): Parameters and buffers by name.
        where (str): Their file, for the message.

    Raises:
        UsageError: One of them holds NaN or infinite values.
    """
    for name, value in params.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise UsageError(f'{where}: {name} holds NaN or infinite values; use another checkpoint')


def check_fits(net, state, where):
    """Check that a state dict fits a network, before anything is loaded.

    Args:
        net (nn.Module): The network.
        state (dict[str, Tensor]): Parameters and buffers by name.
        where (str): The file they are from, for the message.

    Raises:
        UsageError: One line that names missing, unexpected and misshapen entries (the first three of each).
    """
    own = net.state_dict()
    faults = []
    for title, names in (('missing', own.keys() - state.keys()), ('unexpected', state.keys() - own.keys())):
        if names:
            faults.append(f'{title} {few(sorted(names))}')
    shapes = [
        f'{name} {tuple(state[name].shape)} instead of {tuple(own[name].shape)}' for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    if shapes:
        faults.append(f'shape of {few(shapes)}')
    if faults:
        raise UsageError(f'{where} does not fit {type(net).__name__} with the arguments in network_g: '
                         f'{"; ".join(faults)}')


def few(names):
    """The first three of several names, and the number of the others."""
    names = [str(name) for name in names]
    return ', '.join(names[:3]) + (f' and {len(names) - 3} more' if len(names) > 3 else '')


def plain(value):
    """The same value without numpy scalars, which ``weights_only`` loading refuses."""
    if isinstance(value, dict):
        return {key: plain(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(plain(v) for v in value)
    return value.item() if isinstance(value, np.generic) else value
