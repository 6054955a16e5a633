import yaml

from basicsr.utils.options import ordered_yaml
from ..errors import UsageError
from .description import describe
from .weights import build_network, read_pth, write_weights


def package_weights(checkpoint, option_file, path, param_key=None, **description):
    """Make a weights file that needs no option file, from a training checkpoint and its option file.

    Args:
        checkpoint (str): ``net_g_*.pth`` of a training.
        option_file (str): Option file of the training.
        path (str): ``.pth`` or ``.safetensors`` file to write.
        param_key (str | None): 'params' or 'params_ema'; None takes the averaged ones where there are any. The file
            holds these alone. Default: None.
        description: Arguments of :func:`describe`: task, scale, color, local_statistics, metrics, note.

    Raises:
        UsageError: If a file cannot be read, or the parameters do not fit the network of the option file.
        OSError: If the file cannot be written.
    """
    try:
        with open(option_file, encoding='utf-8') as f:
            opt = yaml.load(f, Loader=ordered_yaml()[0])
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f'option file {option_file}: cannot be read ({type(error).__name__})') from None
    description = describe(opt if isinstance(opt, dict) else {}, **description)
    content = read_pth(checkpoint)
    keys = [v for v in ('params_ema', 'params') if v in content]
    if not keys or param_key not in (None, *keys):
        raise UsageError(f'checkpoint {checkpoint}: has no {param_key or "params"}')
    params = {k.removeprefix('module.'): v for k, v in content[param_key or keys[0]].items()}
    build_network(description['network_g'], params, f'checkpoint {checkpoint}')
    write_weights(path, params, description)
