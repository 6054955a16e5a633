import contextlib
import hashlib
import inspect
import io
import json
import os
import re
import torch
from os import path as osp
from torch.nn.modules.module import (register_module_buffer_registration_hook,
                                     register_module_parameter_registration_hook)

from ..atomic_file import write_atomically
from ..engine.checkpoint import check_finite, check_fits, load, parameters_of
from ..errors import UsageError, first_line, near
from ..registry import ARCH_REGISTRY
from .bundled import CHANNEL_ARGUMENTS, FOLDER, KEY
from .description import check_description
from .download import download

SUFFIXES = ('.safetensors', '.pth')
PACKAGED = FOLDER
# weights in a repository of the Hugging Face Hub, see hub.py
HUB_FILE = 'model.safetensors'


def packaged_weights():
    """Files of the weights that come with the package; :func:`bundled_networks` has their descriptions.

    Returns:
        dict: Name -> path, sorted by name.
    """
    names = sorted(os.listdir(PACKAGED), reverse=True) if osp.isdir(PACKAGED) else []
    found = {osp.splitext(v)[0]: osp.join(PACKAGED, v) for v in names if v.endswith(SUFFIXES)}
    return dict(sorted(found.items()))


def find_weights(source):
    """Find a weights file.

    Args:
        source (str): Path of a ``.pth`` or ``.safetensors`` file, folder of :func:`save_pretrained`, name of bundled
            weights (see :func:`packaged_weights`), an http(s) address, which is downloaded once into torch's hub cache,
            or ``hub:owner/name[@revision]`` on the Hugging Face Hub.

    Returns:
        str: Path.

    Raises:
        UsageError: If there is no such file, or it cannot be downloaded.
    """
    source = os.fspath(source)
    if re.match(r'https?://', source):
        return download(source, _check_readable)
    if source.startswith('hub:'):
        from .hub import hub_weights  # which imports this module
        return hub_weights(source[len('hub:'):])
    packaged = packaged_weights()
    if osp.isfile(source):
        return source
    if osp.isfile(osp.join(source, HUB_FILE)):
        return osp.join(source, HUB_FILE)
    if source in packaged:
        return packaged[source]
    raise UsageError(f'weights {source}: neither a file nor bundled weights; bundled are: '
                     f'{", ".join(packaged) or "none"}{near(source, packaged)}')


def read_weights(path):
    """Read a weights file. Nothing in it is executed.

    Args:
        path (str): ``.safetensors`` file, or ``.pth`` file with ``params_ema`` (preferred) or ``params``.

    Returns:
        tuple: Parameters (dict of CPU tensors), and the description (dict, see :func:`describe`).

    Raises:
        UsageError: If it is damaged, is not a weights file, or has no description.
    """
    if path.endswith('.safetensors'):
        params, description = _read_safetensors(path)
        params = parameters_of({'params': params}, path)
    else:
        content = load(path)
        params, description = parameters_of(content, path), content.get(KEY)
    if description is None:
        raise UsageError(f'weights {path}: carries no description of its network; make a file that does with '
                         'scripts/package_weights.py and the option file of the training')
    return params, check_description(description, f'weights {path}: the description')


def write_weights(path, params, description, params_ema=None):
    """Write a weights file that needs no option file; a file that was there before survives a failure.

    A ``.pth`` file also loads through BasicSR's ``pretrain_network_g`` with ``param_key_g: params`` (or
    ``params_ema``).

    Args:
        path (str): ``.pth`` or ``.safetensors`` file. The latter holds one set: ``params_ema`` if given.
        params (dict): Parameters and buffers of the network by name.
        description (dict): See :func:`describe`.
        params_ema (dict | None): Averaged parameters, preferred for inference. Default: None.

    Raises:
        UsageError: If the suffix is not supported or the description is not usable.
        OSError: If the file cannot be written.
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
        metadata = {KEY: json.dumps(description)}
        metadata['sha256'] = _checksum(tensors, metadata[KEY])
        content = _safetensors(path).torch.save(tensors, metadata)
    else:
        raise UsageError(f'weights {path}: the suffix is not supported; use .pth or .safetensors')
    write_atomically(path, content)


def load_network(source):
    """Build the network of a weights file and load it.

    Args:
        source (str): Path, bundled name or address, see :func:`find_weights`.

    Returns:
        tuple: Network (nn.Module in evaluation mode, on the CPU), and the description (dict).

    Raises:
        UsageError: If the file is missing or damaged, or the network unknown, or they do not fit.
    """
    path = find_weights(source)
    params, description = read_weights(path)
    return build_network(description['network_g'], params, f'weights {path}'), description


def build_untrained(network_opt, where):
    """Build a registered network with its initial parameters.

    Args:
        network_opt (dict): ``network_g`` of an option file: type and arguments.
        where (str): Their source, for messages.

    Returns:
        nn.Module: Network in evaluation mode, on the CPU.

    Raises:
        UsageError: If there is no such network, or it cannot be built with these arguments.
    """
    args = dict(network_opt)
    name = args.pop('type', None)
    if name not in ARCH_REGISTRY:
        raise UsageError(
            f'{where}: names the network {name}, which is not registered{near(name, ARCH_REGISTRY.keys())}; '
            'import the package that defines it first')
    try:
        # BasicSR's `build_network` logs, which is unwanted when restoring a single image
        return ARCH_REGISTRY.get(name)(**args).eval()
    except UsageError:
        raise
    except (TypeError, ValueError, ArithmeticError, RuntimeError, AssertionError, LookupError, AttributeError) as error:
        text = first_line(error)
        raise UsageError(f'{where}: {name} cannot be built with the arguments in network_g: {text}') from None


def build_network(network_opt, params, where):
    """Build a network and load its parameters.

    Args:
        network_opt (dict): ``network_g`` of an option file: type and arguments.
        params (dict): Parameters and buffers by name.
        where (str): Their file, for messages.

    Returns:
        nn.Module: Network in evaluation mode, on the CPU.

    Raises:
        UsageError: If the network is unknown, the parameters do not fit, or they are not finite.
    """
    with _size_limit(params, where):
        net = build_untrained(network_opt, where)
    check_fits(net, params, where)
    check_finite(params, where)
    net.load_state_dict(params)
    return net


def input_channels(net, network_opt):
    """Number of channels of a network's input.

    Args:
        net (nn.Module): Network.
        network_opt (dict): Its ``network_g``.

    Returns:
        int: Its ``in_channels``, or the constructor argument for it, as given or by default; 3 if there is none.
    """
    if isinstance(getattr(net, 'in_channels', None), int):
        return net.in_channels
    defaults = {k: v.default for k, v in inspect.signature(type(net)).parameters.items()}
    for name in CHANNEL_ARGUMENTS:
        value = network_opt.get(name, defaults.get(name))
        if isinstance(value, int):
            return value
    return 3


@contextlib.contextmanager
def _size_limit(params, where):
    """Refuse networks much larger than their parameters while open: the arguments may come from untrusted sources."""
    left = {'values': 10**6 + 2 * sum(v.numel() for v in params.values()), 'tensors': 1000 + 10 * len(params)}

    def count(module, name, param):
        left['tensors'] -= 1
        left['values'] -= 0 if param is None else param.numel()
        if min(left.values()) < 0:
            raise UsageError(f'{where} does not fit the arguments in network_g, which make a network that is much '
                             'larger')

    with contextlib.ExitStack() as stack:
        for register in (register_module_parameter_registration_hook, register_module_buffer_registration_hook):
            stack.callback(register(count).remove)
        yield


def _check_readable(path):
    if path.endswith('.safetensors'):
        _read_safetensors(path)
    else:
        load(path)


def _checksum(tensors, text):
    digest = hashlib.sha256(text.encode())
    for name, value in sorted(tensors.items()):
        digest.update(f'{name} {value.dtype} {tuple(value.shape)}'.encode())
        digest.update(value.contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


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
        text = metadata.get(KEY)
        if 'sha256' in metadata and metadata['sha256'] != _checksum(params, text):
            raise UsageError(f'weights {path}: the file is damaged: its checksum does not match; copy or download it '
                             'again')
        return params, None if text is None else json.loads(text)
    except UsageError:
        raise
    except (safetensors.SafetensorError, OSError, ValueError, AttributeError) as error:
        raise UsageError(f'weights {path}: cannot be read, the file is damaged ({type(error).__name__})') from None
