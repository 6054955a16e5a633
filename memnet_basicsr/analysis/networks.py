import torch

from ..archs.memnet_arch import MemNet
from ..errors import UsageError
from ..inference.weights import build_network, find_weights, load_network, read_pth
from ..launch import load_yaml


def load_network_of_training(source, option_file=None, device=None):
    """Build a registered network and load its weights.

    Args:
        source (str): With an option file a checkpoint of a training, of which ``params_ema`` is taken where there is
            one, else ``params``; without, a weights file that carries its description (path, packaged name, address).
        option_file (str | None): Option file of the training. Default: None.
        device (str | torch.device | None): Where to compute; None takes the GPU where there is one. Default: None.

    Returns:
        tuple: Network (nn.Module in evaluation mode), and its ``network_g`` (dict).

    Raises:
        UsageError: If a file is missing or damaged, or the checkpoint is one of another configuration.
    """
    device = choose_device(device)
    if option_file is None:
        net, description = load_network(source)
        return net.to(device), description['network_g']
    network_opt = read_network_opt(option_file)
    return load_checkpoint(find_weights(source), network_opt).to(device), network_opt


def load_memnet(source, option_file=None, device=None):
    """As :func:`load_network_of_training`, for analyses of MemNet.

    Returns:
        MemNet: Network in evaluation mode.

    Raises:
        UsageError: As there, or if the network is not a MemNet.
    """
    net, _ = load_network_of_training(source, option_file, device)
    if not isinstance(net, MemNet):
        where = f'weights {source}' if option_file is None else f'option file {option_file}'
        raise UsageError(f'{where}: network_g is {type(net).__name__}, but this analysis is of MemNet')
    return net


def read_network_opt(option_file, key='network_g'):
    """Type and arguments of a network in an option file.

    Args:
        option_file (str): Option file.
        key (str): Which network. Default: 'network_g'.

    Returns:
        dict: Type and arguments.

    Raises:
        UsageError: If the file cannot be read or has no such network.
    """
    network_opt = load_yaml(option_file).get(key)
    if not isinstance(network_opt, dict) or 'type' not in network_opt:
        raise UsageError(f'option file {option_file}: has no {key} with a type')
    return network_opt


def load_checkpoint(path, network_opt):
    """Build a network and load a checkpoint of a training, ``params_ema`` where there is one, else ``params``.

    Args:
        path (str): ``.pth`` file.
        network_opt (dict): Type and arguments of the network.

    Returns:
        nn.Module: Network in evaluation mode, on the CPU.

    Raises:
        UsageError: If the file is missing or damaged, or they do not fit.
    """
    content = read_pth(path)
    params = content.get('params_ema', content.get('params'))
    if not isinstance(params, dict):
        raise UsageError(f'checkpoint {path}: holds neither params nor params_ema')
    params = {k.removeprefix('module.'): v for k, v in params.items()}
    return build_network(network_opt, params, f'checkpoint {path}')


def choose_device(name=None):
    """Device to compute on.

    Args:
        name (str | torch.device | None): None takes the GPU where there is one. Default: None.

    Returns:
        torch.device: The device.

    Raises:
        UsageError: If there is no such device.
    """
    try:
        device = torch.device(name or ('cuda' if torch.cuda.is_available() else 'cpu'))
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # AssertionError: torch was built without CUDA
        raise UsageError(f'device {name}: cannot be used here: {str(error).splitlines()[0]}') from None
    return device
