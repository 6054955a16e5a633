import torch
from os import path as osp

from ..archs.memnet_arch import MemNet
from ..errors import UsageError
from ..inference import Inference
from ..inference.inference import declared_multiple
from ..inference.restorer import input_channels
from ..inference.weights import build_network, find_weights, load_network, read_pth
from ..plugin.option_file import load_yaml


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


def load_encoder(net, source, option_file=None, encoder_source=None):
    """The encoder with which a network's contrastive loss was computed.

    Args:
        net (nn.Module): Restoring network.
        source (str): Its checkpoint, ``.../net_g_<n>.pth``.
        option_file (str | None): Option file of the training; its ``network_c`` is built. Default: None.
        encoder_source (str | None): Checkpoint of ``network_c``; None takes ``net_c_<n>.pth`` beside ``source``.
            Default: None.

    Returns:
        callable: Pictures (n, c, h, w), [0, 1] -> (global features (n, D), local features); where there is no
        ``network_c`` the network's own ``features``.

    Raises:
        UsageError: If there is neither, or the checkpoint is missing or does not fit.
    """
    has_encoder = option_file is not None and load_yaml(option_file).get('network_c')
    if not has_encoder:
        if encoder_source is not None:
            raise UsageError(f'encoder {encoder_source}: needs an option file with network_c, which tells how to build '
                             'it')
        if not hasattr(net, 'features'):
            raise UsageError(f'{type(net).__name__} has no method features, and no option file with a network_c was '
                             'given: there is no space to embed pictures in')
        return net.features
    folder, name = osp.split(source)
    path = encoder_source or osp.join(folder, name.replace('net_g', 'net_c', 1))
    if encoder_source is None and 'net_g' not in name:
        raise UsageError(f'weights {source}: are not named net_g_*.pth, so that of network_c (net_c_*.pth) cannot be '
                         'found; name it')
    return load_checkpoint(path, read_network_opt(option_file, 'network_c')).to(next(net.parameters()).device)


def channels_of(net, network_opt):
    """Channels of a network's input, see :func:`input_channels`; of a network with a backbone, the backbone's.

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
    """The inference path for a network, padding where it or a part of it (windows of attention) needs that.

    Args:
        net (nn.Module): Network.

    Returns:
        Inference: The inference path.
    """
    return Inference(pad_multiple=max(declared_multiple(v) for v in net.modules()))


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
