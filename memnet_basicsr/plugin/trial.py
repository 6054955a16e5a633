"""Build the networks and losses of an option file once, and run a network once, to find what they refuse."""
import contextlib
import io
import logging
import random
import torch
from copy import deepcopy
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from basicsr.utils import logger as stock_logger
from ..engine.no_compiler import without_compiler
from ..errors import first_line
from .compat import pretend


def arguments_of(block):
    """Arguments in a block of options, without the type."""
    return {k: deepcopy(v) for k, v in block.items() if k != 'type'}


def built(cls, block, device='meta'):
    """Build a network or loss.

    Args:
        cls (type): Its class.
        block (dict): Its type and arguments.
        device (str): 'meta' takes no memory for weights; 'cpu' is tried afterwards. Default: 'meta'.

    Returns:
        tuple[nn.Module | None, str | None]: What was built, or what its constructor refuses.
    """
    try:
        with quiet(device), torch.device(device), _Shapes(device):
            return cls(**arguments_of(block)), None
    except Exception as error:  # whatever a constructor makes of wrong arguments
        if device == 'meta':  # some constructors need values
            return built(cls, block, 'cpu')
        return None, first_line(error).removeprefix(f'{cls.__name__}: ')


def output_of(net, block, shape):
    """Run a network, without values where that is possible.

    Args:
        net (nn.Module): Network from :func:`built`.
        block (dict): Its type and arguments.
        shape (tuple[int]): Shape of the input.

    Returns:
        tuple[Tensor | None, str | None]: Its output, the first one of several, or why it cannot run.
    """
    for device in ('meta', 'cpu'):  # some networks need values
        try:
            with quiet(device), torch.no_grad(), torch.device(device), _Shapes(device):
                net = net if device == 'meta' else built(type(net), block, device)[0]
                output = net(torch.zeros(shape))
            return output[0] if isinstance(output, (list, tuple)) else output, None
        except Exception as error:
            text = first_line(error)
    return None, text


class _Shapes(TorchFunctionMode):
    """On 'meta', replace functions that are slow there by others with the same shape of the result."""
    KEPT = (torch.Tensor.normal_, torch.Tensor.uniform_, F.batch_norm)

    def __init__(self, device):
        super().__init__()
        self.device = device

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch.randn and self.device == 'meta':  # it would import sympy
            func = torch.empty
        return args[0] if func in self.KEPT and args[0].is_meta else func(*args, **(kwargs or {}))


@contextlib.contextmanager
def quiet(device='cpu'):
    """Suppress output and restore the global random generators; BasicSR's logger has no file yet."""
    states = random.getstate(), torch.get_rng_state()
    logger = logging.getLogger('basicsr')
    disabled, logger.disabled = logger.disabled, True
    try:
        with pretend(stock_logger, initialized_logger={'basicsr': True}), contextlib.redirect_stdout(io.StringIO()), \
                without_compiler() if device == 'meta' else contextlib.nullcontext():
            yield
    finally:
        logger.disabled = disabled
        random.setstate(states[0])
        torch.set_rng_state(states[1])
