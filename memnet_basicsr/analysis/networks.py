"""Networks of training runs, loaded for analysis."""
import torch

from ..archs.memnet_arch import MemNet
from ..engine.checkpoint import load, parameters_of
from ..errors import UsageError
from ..inference import Inference
from ..inference.inference import declared_multiple
from ..inference.weights import build_network, find_weights, input_channels, load_network
from ..plugin.option_file import load_yaml


def load_trained_network(source, option_file=None, device=None):
    """Build a network and load its weights.

    Args:
        source (str): With an option file, a checkpoint (``params_ema`` if present, else ``params``). Without, a
            weights file with a description: path, name of bundled weights, or URL.
        option_file (str | None): Option file of the training run. Default: None.
        device (str | torch.device | None): See :func:`choose_device`. Default: None.

    Returns:
        tuple: Network (nn.Module in evaluation mode), and its ``network_g`` (dict).

    Raises:
        UsageError: If a file is missing or damaged, or the checkpoint does not fit the network.
    """
    device = choose_device(device)
    if option_file is None:
        net, description = load_network(source)
        return net.to(device), description['network_g']
    network_opt = read_network_opt(option_file)
    return load_checkpoint(find_weights(source), network_opt).to(device), network_opt


def load_memnet(source, option_file=None, device=None):
    """Load a MemNet; see :func:`load_trained_network`.

    Returns:
        MemNet: Network in evaluation mode.

    Raises:
        UsageError: As there, or if the network is not a MemNet.
    """
    net, _ = load_trained_network(source, option_file, device)
    if not isinstance(net, MemNet):
        where = f'weights {source}' if option_file is None else f'option file {option_file}'
        raise UsageError(f'{where}: network_g is {type(net).__name__}, but this analysis requires MemNet')
    return net


def read_network_opt(option_file, key='network_g'):
    """Read type and arguments of a network from an option file.

    Args:
        option_file (str): Option file.
        key (str): Name of the network. Default: 'network_g'.

    Returns:
        dict: Type and arguments.

    Raises:
        UsageError: If the file cannot be read or does not define the network.
    """
    network_opt = load_yaml(option_file).get(key)
    if not isinstance(network_opt, dict) or 'type' not in network_opt:
        raise UsageError(f'option file {option_file}: has no {key} with a type')
    return network_opt


def load_checkpoint(path, network_opt):
    """Build a network and load a training checkpoint, ``params_ema`` if present, else ``params``.

    Args:
        path (str): ``.pth`` file.
        network_opt (dict): Type and arguments of the network.

    Returns:
        nn.Module: Network in evaluation mode, on the CPU.

    Raises:
        UsageError: If the file is missing or damaged, or does not fit the network.
    """
    return build_network(network_opt, parameters_of(load(path), path), f'checkpoint {path}')


def channels_of(net, network_opt):
    """Input channels of a network; for a network with a backbone, those of the backbone.

    Args:
        net (nn.Module): Network.
        network_opt (dict): Its type and arguments.

    Returns:
        int: Channels.
    """
    if isinstance(network_opt.get('backbone'), dict):
        return channels_of(net.backbone, network_opt['backbone'])
    return input_channels(net, network_opt)


def inference_of(net):
    """Inference path with the padding that a network or any of its submodules (window attention) needs.

    Args:
        net (nn.Module): Network.

    Returns:
        Inference: The inference path.
    """
    return Inference(pad_multiple=max(declared_multiple(v) for v in net.modules()))


def choose_device(name=None):
    """Select the device to compute on.

    Args:
        name (str | torch.device | None): None selects the GPU if there is one. Default: None.

    Returns:
        torch.device: The device.

    Raises:
        UsageError: If the device is not available.
    """
    try:
        device = torch.device(name or ('cuda' if torch.cuda.is_available() else 'cpu'))
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # AssertionError: torch was built without CUDA
        raise UsageError(f'device {name}: is not available: {str(error).splitlines()[0]}') from None
    return device
