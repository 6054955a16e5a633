"""Parameters, multiply-accumulates (MACs) and activations of networks, counted by mmengine."""
import json
import torch
from typing import NamedTuple

from ..errors import UsageError


class Complexity(NamedTuple):
    """Cost of a network for one image.

    Args:
        parameters (int): Number of parameters; shared ones count once.
        macs (int): Multiply-accumulates, including normalization and resampling.
        activations (int): Number of outputs of convolutions and matrix products.
    """
    parameters: int
    macs: int
    activations: int


@torch.no_grad()
def complexity(net, shape):
    """Count the cost of a network in evaluation mode.

    Uses mmengine's analyzers directly because ``get_model_complexity_info`` logs every elementwise operator as
    unsupported.

    Args:
        net (nn.Module): Network; left in evaluation mode.
        shape (tuple[int]): Channels, height and width of the image.

    Returns:
        Complexity: The counts.

    Raises:
        UsageError: If the network does not run on such an image.
    """
    from mmengine.analysis import ActivationAnalyzer, FlopAnalyzer, parameter_count
    image = torch.rand(1, *shape, device=next(net.parameters()).device)
    analyzers = [analyzer(net.eval(), (image, )) for analyzer in (FlopAnalyzer, ActivationAnalyzer)]
    try:
        counts = [
            v.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings('none').total()
            for v in analyzers
        ]
    except RuntimeError as error:
        raise UsageError(f'{type(net).__name__} does not run on an image of {shape[0]} channels and {shape[2]}x'
                         f'{shape[1]} pixels: {str(error).splitlines()[0]}') from None
    return Complexity(parameter_count(net)[''], *map(int, counts))


def unique_networks(network_opts):
    """Group option files by their network.

    Args:
        network_opts (dict[str, dict]): Name of an option file -> type and arguments of its network.

    Returns:
        list[tuple]: Type and arguments of a network, and the names of its option files.
    """
    groups = {}
    for name, opt in network_opts.items():
        groups.setdefault(json.dumps(opt, sort_keys=True), (opt, []))[1].append(name)
    return list(groups.values())
