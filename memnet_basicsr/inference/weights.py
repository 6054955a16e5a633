import difflib
import hashlib
import io
import json
import os
import re
import torch
from os import path as osp

from basicsr.utils.registry import ARCH_REGISTRY
from ..atomic_file import write_atomically
from ..errors import UsageError
from .description import check_description

SUFFIXES = ('.safetensors', '.pth')
KEY = 'memnet_basicsr'
PACKAGED = osp.join(osp.dirname(osp.dirname(osp.abspath(__file__))), 'weights')


def packaged_weights():
    """Weights that come with the package.

    Returns:
        dict: Name and path, sorted by name.
    """
    names = sorted(os.listdir(PACKAGED), reverse=True) if osp.isdir(PACKAGED) else []
    found = {osp.splitext(v)[0]: osp.join(PACKAGED, v) for v in names if v.endswith(SUFFIXES)}
    return dict(sorted(found.items()))


def find_weights(source):
    """Path of a weights file.

    Args:
        source (str): Path of a ``.pth`` or ``.safetensors`` file, name of packaged weights (see
            :func:`packaged_weights`), or an http(s) address, which is downloaded once into torch's hub cache.

    Returns:
        str: Path.

    Raises:
        UsageError: If there is no such file, or it cannot be downloaded.
    """
    source = os.fspath(source)
    if re.match(r'https?://', source):
        return _download(source)
    packaged = packaged_weights()
    if osp.isfile(source):
        return source
    if source in packaged:
        return packaged[source]
    near = difflib.get_close_matches(source, packaged, n=1)
    raise UsageError(f'weights {source}: neither a file nor packaged weights; packaged are: '
                     f'{", ".join(packaged) or "none"}' + (f' (did you mean {near[0]}?)' if near else ''))


def read_weights(path):
    """Read a weights file; nothing in it is executed.

    Args:
        path (str): ``.safetensors`` file, or ``.pth`` file with ``params_ema`` (preferred) or ``params``.

    Returns:
        tuple: Parameters (dict of CPU tensors), and the description (dict, see :func:`describe`).

    Raises:
        UsageError: If it is damaged, is not a weights file, or has no description.
    """
    if path.endswith('.safetensors'):
        params, description = _read_safetensors(path)
    else:
        content = read_pth(path)
        params, description = content.get('params_ema', content.get('params')), content.get(KEY)
        if not isinstance(params, dict):
            raise UsageError(f'weights {path}: holds neither params nor params_ema')
    if description is None:
        raise UsageError(f'weights {path}: carries no description of its network; make a file that does with '
                         'scripts/package_weights.py and the option file of the training')
    params = {k.removeprefix('module.'): v for k, v in params.items()}
    return params, check_description(description, f'weights {path}: the description')


def read_pth(path):
    """Read a ``.pth`` file; nothing in it is executed.

    Args:
        path (str): File.

    Returns:
        dict: What it holds; empty where that is no dict.

    Raises:
        UsageError: If it is missing, damaged or holds more than tensors and plain values.
    """
    try:
        content = torch.load(path, map_location='cpu', weights_only=True)
    except FileNotFoundError:
        raise UsageError(f'weights {path}: there is no such file') from None
    except Exception as error:  # the unpickler raises whatever the damage leads to
        raise UsageError(
            f'weights {path}: cannot be read, the file is damaged or holds more than tensors and plain values '
            f'({type(error).__name__})') from None
    return content if isinstance(content, dict) else {}


def write_weights(path, params, description, params_ema=None):
    """Write a weights file that needs no option file, whole or not at all.

    A ``.pth`` file also loads through BasicSR's ``pretrain_network_g`` with ``param_key_g: params`` (or
    ``params_ema``).

    Args:
        path (str): ``.pth`` or ``.safetensors`` file. The latter holds one set: ``params_ema`` where given.
        params (dict): Parameters and buffers of the network by name.
        description (dict): See :func:`describe`.
        params_ema (dict | None): Averaged parameters; preferred when restoring. Default: None.

    Raises:
        UsageError: If the suffix is another one or the description is not usable.
        OSError: If the file cannot be written; one that was there before is left as it was.
    """
    description = check_description(description, 'the description')
    sets = {'params': params} if params_ema is None else {'params': params, 'params_ema': params_ema}
    sets = {name: {k: v.detach().cpu().contiguous() for k, v in tensors.items()} for name, tensors in sets.items()}
    if path.endswith('.pth'):
        buffer = io.BytesIO()
        torch.save({**sets, KEY: description}, buffer)
        content = buffer.getvalue()
    elif path.endswith('.safetensors'):
        # clones: the format refuses tensors that share memory
        tensors = {k: v.clone() for k, v in sets.get('params_ema', sets['params']).items()}
        content = _safetensors(path).torch.save(tensors, {KEY: json.dumps(description)})
    else:
        raise UsageError(f'weights {path}: the name is to end with .pth or .safetensors')
    write_atomically(path, content)


def load_network(source):
    """Build the network of a weights file and load it.

    Args:
        source (str): Path, packaged name or address, see :func:`find_weights`.

    Returns:
        tuple: Network (nn.Module in evaluation mode, on the CPU), and the description (dict).

    Raises:
        UsageError: If the file is missing or damaged, or the network unknown, or they do not fit.
    """
    path = find_weights(source)
    params, description = read_weights(path)
    return build_network(description['network_g'], params, f'weights {path}'), description


def build_untrained(network_opt, where):
    """Build a registered network as it starts training.

    Args:
        network_opt (dict): ``network_g`` of an option file: type and arguments.
        where (str): What to call their source in messages.

    Returns:
        nn.Module: Network in evaluation mode, on the CPU.

    Raises:
        UsageError: If there is no such network, or it cannot be built with these arguments.
    """
    args = dict(network_opt)
    name = args.pop('type', None)
    if name not in ARCH_REGISTRY:
        raise UsageError(f'{where}: is for the network {name}, which is not registered; import the package that has it '
                         'first')
    try:
        # not BasicSR's build_network: it logs, and who restores one picture wants no log
        return ARCH_REGISTRY.get(name)(**args).eval()
    except (TypeError, ValueError) as error:
        raise UsageError(f'{where}: {name} cannot be built with the arguments in network_g: {error}') from None


def build_network(network_opt, params, where):
    """Build a network and load its parameters.

    Args:
        network_opt (dict): ``network_g`` of an option file: type and arguments.
        params (dict): Parameters and buffers by name.
        where (str): What to call their source in messages.

    Returns:
        nn.Module: Network in evaluation mode, on the CPU.

    Raises:
        UsageError: If the network is unknown or they do not fit.
    """
    net = build_untrained(network_opt, where)
    name = network_opt['type']
    own = net.state_dict()
    wrong = [f'{k} is missing' for k in own if k not in params]
    wrong += [f'{k} is not of the network' for k in params if k not in own]
    wrong += [
        f'{k} is {tuple(params[k].shape)} instead of {tuple(v.shape)}' for k, v in own.items()
        if k in params and params[k].shape != v.shape
    ]
    if wrong:
        more = f' and {len(wrong) - 1} more' if len(wrong) > 1 else ''
        raise UsageError(f'{where}: does not fit {name} with the arguments in network_g: {wrong[0]}{more}')
    net.load_state_dict(params)
    return net


def _download(address):
    name = osp.basename(address.split('?')[0]) or 'weights.pth'
    # two addresses may end with the same file name
    folder = osp.join(torch.hub.get_dir(), 'checkpoints', KEY, hashlib.sha256(address.encode()).hexdigest()[:8])
    path = osp.join(folder, name)
    if not osp.isfile(path):
        checksum = re.search(r'-([a-f0-9]{8,})\.', name)  # torch's convention for names that carry one
        try:
            os.makedirs(folder, exist_ok=True)
            torch.hub.download_url_to_file(address, path, checksum and checksum.group(1))
        except (OSError, RuntimeError) as error:  # URLError and HTTPError are OSErrors; RuntimeError: checksum
            reason = str(getattr(error, 'reason', error)).splitlines()[0]
            raise UsageError(f'weights {address}: cannot be downloaded ({reason}); without a network, give a file or '
                             f'packaged weights ({", ".join(packaged_weights()) or "none here"})') from None
    return path


def _safetensors(path):
    try:
        import safetensors.torch
    except ImportError:
        raise UsageError(f'weights {path}: this needs the package safetensors (pip install safetensors)') from None
    return safetensors


def _read_safetensors(path):
    safetensors = _safetensors(path)
    try:
        with safetensors.safe_open(path, framework='pt') as f:
            metadata = f.metadata() or {}
            params = {k: f.get_tensor(k) for k in f.keys()}  # noqa: SIM118  (it is not a dict: no iteration)
        return params, json.loads(metadata[KEY]) if KEY in metadata else None
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise UsageError(f'weights {path}: cannot be read, the file is damaged ({type(error).__name__})') from None
