import yaml

from ..engine.checkpoint import load, parameters_of
from ..errors import UsageError
from .description import describe
from .weights import build_network, write_weights


def package_weights(checkpoint, option_file, path, param_key=None, **description):
    """Make a weights file that needs no option file from a training checkpoint and its option file.

    Args:
        checkpoint (str): ``net_g_*.pth`` of a training.
        option_file (str): Option file of the training. YAML tags for Python objects are refused.
        path (str): ``.pth`` or ``.safetensors`` file to write.
        param_key (str | None): 'params' or 'params_ema', the only set in the file. None selects the averaged
            parameters if there are any. Default: None.
        description: Arguments of :func:`describe`: task, scale, color, local_statistics, metrics, note, valid_range.

    Raises:
        UsageError: If a file cannot be read, or the parameters do not fit the network of the option file.
        OSError: If the file cannot be written.
    """
    try:
        with open(option_file, encoding='utf-8') as f:
            opt = yaml.safe_load(f)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        reason = getattr(error, 'problem', None) or getattr(error, 'strerror', None) or type(error).__name__
        raise UsageError(f'option file {option_file}: cannot be read ({reason})') from None
    description = describe(opt if isinstance(opt, dict) else {}, **description)
    params = parameters_of(load(checkpoint), checkpoint, param_key)
    build_network(description['network_g'], params, f'checkpoint {checkpoint}')
    write_weights(path, params, description)
