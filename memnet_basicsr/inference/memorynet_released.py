"""Conversion of released checkpoints of MemoryNet (https://arxiv.org/abs/2309.01377), whose names and shapes match."""
import re

from ..archs.memorynet_arch import MemoryNet
from ..engine.checkpoint import check_fits, load
from ..errors import UsageError


def convert_released_checkpoint(path):
    """Read a released checkpoint: weights under ``state_dict``, names with or without ``module.``.

    Args:
        path (str): The file.

    Returns:
        tuple[dict, dict]: Options of ``network_g``, with ``memory: released`` (or ``none`` where the checkpoint has no
        memory), and the state dict of such a MemoryNet.

    Raises:
        UsageError: If it is not a checkpoint of MemoryNet, or entries are missing, unexpected or misshapen.
    """
    state = load(path)
    for key in ('state_dict', 'params', 'model'):
        if isinstance(state.get(key), dict):
            state = state[key]
    state = {name[len('module.'):] if name.startswith('module.') else name: value for name, value in state.items()}
    options = released_options(state, path)
    net = MemoryNet(**{k: v for k, v in options.items() if k != 'type'})
    check_fits(net, state, f'checkpoint {path}')
    return options, {name: state[name] for name in net.state_dict()}


def released_options(state, path):
    """Derive MemoryNet's arguments from the shapes of a released state dict."""
    try:
        num_feat, num_in_ch, kernel_size, _ = state['shallow_feat1.0.weight'].shape
        attention = re.compile(r'stage3_orsnet\.orb1\.body\.\d+\.CA\.conv_du\.0\.weight')
        return dict(
            type='MemoryNet',
            num_in_ch=num_in_ch,
            num_out_ch=num_in_ch,
            num_feat=num_feat,
            scale_unetfeats=state['stage1_encoder.down12.down.1.weight'].shape[0] - num_feat,
            scale_orsnetfeats=state['concat23.weight'].shape[0] - num_feat,
            num_cab=sum(1 for name in state if attention.fullmatch(name)),
            kernel_size=kernel_size,
            reduction=num_feat // state['shallow_feat1.1.CA.conv_du.0.weight'].shape[0],
            memory='released' if any(name.startswith('memory.') for name in state) else 'none')
    except (KeyError, ValueError, ZeroDivisionError) as error:
        raise UsageError(f'checkpoint {path} is not one of MemoryNet: {error} is missing or misshapen') from None
