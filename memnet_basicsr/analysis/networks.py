import torch

from basicsr.utils.registry import ARCH_REGISTRY
from ..archs.memnet_arch import MemNet
from ..errors import UsageError
from ..inference.weights import build_network, find_weights, load_network, read_pth
from ..launch import load_yaml


def load_memnet(source, option_file=None, device=None):
    """Build a MemNet and load its weights.

    Args:
        source (str): With an option file a checkpoint of a training, of which ``params_ema`` is taken where there is
            one, else ``params``; without, a weights file that carries its description (path, packaged name, address).
        option_file (str | None): Option file of the training. Default: None.
        device (str | torch.device | None): Where to compute; None takes the GPU where there is one. Default: None.

    Returns:
        MemNet: Network in evaluation mode.

    Raises:
        UsageError: If a file is missing or damaged, the checkpoint is one of another configuration, or the network is
            not a MemNet.
    """
    if option_file is None:
        net, _ = load_network(source)
        where = f'weights {source}'
    else:
        net = _load_checkpoint(find_weights(source), option_file)
        where = f'option file {option_file}'
    if not isinstance(net, MemNet):
        raise UsageError(f'{where}: network_g is {type(net).__name__}, but this analysis is of MemNet')
    return net.to(choose_device(device))


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
        raise UsageError(f'{where}: network_g has the type {name}, which is not registered')
    try:
        return ARCH_REGISTRY.get(name)(**args).eval()
    except (TypeError, ValueError) as error:
        raise UsageError(f'{where}: {name} cannot be built with the arguments in network_g: {error}') from None


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


def _load_checkpoint(path, option_file):
    network_opt = load_yaml(option_file).get('network_g')
    if not isinstance(network_opt, dict) or 'type' not in network_opt:
        raise UsageError(f'option file {option_file}: has no network_g with a type')
    content = read_pth(path)
    params = content.get('params_ema', content.get('params'))
    if not isinstance(params, dict):
        raise UsageError(f'checkpoint {path}: holds neither params nor params_ema')
    params = {k.removeprefix('module.'): v for k, v in params.items()}
    return build_network(network_opt, params, f'checkpoint {path}')
