import json

from ..errors import UsageError

# what a network of one channel does with a colour picture: restore 'each' channel; or 'y' and keep the chroma; or also
# the chroma, at 'half' the size, as JPEG stores it. Noise lies in every channel, and the eye sees the sharpness of
# super-resolution in the luminance
TASK_COLOR = {'denoise': 'each', 'jpeg': 'half', 'sr': 'y', 'restore': 'each'}
COLORS = ('each', 'y', 'half')
KEYS = ('name', 'network_g', 'task', 'color', 'scale', 'upscaled_by', 'local_statistics', 'option', 'metrics', 'note')


def describe(opt, task, scale=None, color=None, local_statistics=None, metrics=None, note=None):
    """Make the description that a weights file carries, so that it can be used without its option file.

    Args:
        opt (dict): Option file of the training; ``name`` and ``network_g`` are read.
        task (str): 'denoise', 'jpeg', 'sr' or 'restore' (anything else: blur, shadows, raindrops, clouds).
        scale (list[int] | None): Factors of super-resolution that were trained; needed for 'sr'. Default: None.
        color (str | None): What a network of one channel does with colour pictures: 'each' (each channel), 'y'
            (luminance, chroma kept) or 'half' (luminance, and chroma at half the size). None takes the task's: 'half'
            for 'jpeg', 'y' for 'sr', else 'each'. Default: None.
        local_statistics (int | None): Side of the training patches if global average poolings are to be made local
            (see ``Inference``). Default: None.
        metrics (dict | None): Figures to tell, names and numbers. Default: None.
        note (str | None): Anything else, such as the terms of the training pictures. Default: None.

    Returns:
        dict: Plain Python values.

    Raises:
        UsageError: If a value is unknown or missing.
    """
    if 'network_g' not in opt:
        raise UsageError('the option file has no network_g, which tells how to build the network')
    network = dict(opt['network_g'])
    upscaled_by = None
    if task == 'sr':
        # networks that enlarge name their factor; MemNet has none and wants an input that is already enlarged
        upscaled_by = 'network' if network.get('upscale', network.get('scale', 1)) != 1 else 'bicubic'
    description = {
        'name': opt.get('name'),
        'network_g': network,
        'task': task,
        'color': color or TASK_COLOR.get(task),
        'scale': scale,
        'upscaled_by': upscaled_by,
        'local_statistics': local_statistics,
        'option': opt.get('name'),
        'metrics': metrics,
        'note': note
    }
    return check_description({k: v for k, v in description.items() if v is not None}, 'the description')


def check_description(description, where):
    """Check a description and turn it into plain Python values.

    Args:
        description (dict): As :func:`describe` makes it.
        where (str): What to call it in messages.

    Returns:
        dict: Plain Python values.

    Raises:
        UsageError: If something is missing, unknown or not plain.
    """
    try:
        # numpy and torch scalars, which a metric may be, become numbers; anything else is refused
        description = json.loads(json.dumps(description, default=lambda v: v.item()))
        network_type = description['network_g']['type']
        task = description['task']
    except (AttributeError, TypeError, ValueError, KeyError) as error:
        raise UsageError(
            f'{where} is not usable ({type(error).__name__}: {error}); it needs network_g with its type, and '
            'task, as plain values') from None
    unknown = [k for k in description if k not in KEYS]
    if unknown:
        raise UsageError(f'{where} has unknown keys: {", ".join(unknown)} (known: {", ".join(KEYS)})')
    if not isinstance(network_type, str) or task not in TASK_COLOR:
        raise UsageError(f'{where} has the task {task!r}, known are {", ".join(TASK_COLOR)}')
    if description.setdefault('color', TASK_COLOR[task]) not in COLORS:
        raise UsageError(f"{where} has color: {description['color']!r}, known are {', '.join(COLORS)}")
    if task == 'sr' and description['color'] == 'half':
        raise UsageError(f"{where} has color: 'half', which is not for sr")
    if task == 'sr':
        scale = description.get('scale')
        if not isinstance(scale, list) or not scale or not all(isinstance(v, (int, float)) and v > 1 for v in scale):
            raise UsageError(
                f'{where} is for sr and has scale: {scale!r}; it needs a list of factors, such as [2, 3, 4]')
        if description.setdefault('upscaled_by', 'bicubic') not in ('bicubic', 'network'):
            raise UsageError(f"{where} has upscaled_by: {description['upscaled_by']!r}, known are 'bicubic' and "
                             "'network'")
    return description
