import json
import math

from ..errors import UsageError, near
from ..registry import ARCH_REGISTRY

# How a one-channel network restores a color image: 'each' channel; or 'y' and keep the chroma; or 'half', which also
# restores the chroma at half the size, as JPEG stores it. Noise is in every channel, whereas the eye judges the
# sharpness of super-resolution by the luminance.
TASK_COLOR = {'denoise': 'each', 'jpeg': 'half', 'sr': 'y', 'restore': 'each'}
COLORS = ('each', 'y', 'half')
UPSCALED_BY = ('bicubic', 'network')
# quantity of a valid range -> lowest value, highest value
RANGES = {'sigma': (0, 255), 'quality': (1, 100)}
KEYS = ('name', 'network_g', 'task', 'color', 'range', 'scale', 'upscaled_by', 'local_statistics', 'option', 'metrics',
        'note')
# Networks of BasicSR that map one image to one image and open no files. Others, such as SpyNet, take paths.
BASICSR_NETWORKS = ('EDSR', 'MSRResNet', 'RCAN', 'RIDNet', 'RRDBNet', 'SRVGGNetCompact', 'SwinIR')
# Limits for descriptions, which may come from untrusted sources
MAX_DEPTH, MAX_VALUES, MAX_TEXT, MAX_NUMBER = 6, 500, 10_000, 1024


def describe(opt, task, scale=None, color=None, local_statistics=None, metrics=None, note=None, valid_range=None):
    """Make the description that lets a weights file be used without its option file.

    Args:
        opt (dict): Option file of the training; ``name`` and ``network_g`` are read.
        task (str): 'denoise', 'jpeg', 'sr' or 'restore' (anything else: blur, shadows, raindrops, clouds).
        scale (list[int] | None): Factors of super-resolution in training; required for 'sr'. Default: None.
        color (str | None): How a one-channel network restores color images: 'each' (each channel), 'y' (luminance,
            chroma kept) or 'half' (luminance, and chroma at half the size). None selects by task: 'half' for 'jpeg',
            'y' for 'sr', else 'each'. Default: None.
        local_statistics (int | None): Side of the training patches in pixels, to make global average pooling local
            (see ``Inference``). Default: None.
        metrics (dict | None): Names and values of metrics. Default: None.
        note (str | None): Any other text, such as the terms of the training images. Default: None.
        valid_range (dict | None): Inputs that the network was trained for: ``{'sigma': [0, 75]}`` (standard deviation
            of the noise, on the scale 0..255) or ``{'quality': [5, 98]}`` (JPEG quality, 1..100). Default: None.

    Returns:
        dict: Plain Python values.

    Raises:
        UsageError: If a value is unknown or missing.
    """
    if 'network_g' not in opt:
        raise UsageError('the option file has no network_g, which defines the network')
    network = opt['network_g']
    upscaled_by = None
    if task == 'sr' and isinstance(network, dict):
        # networks that upscale name their factor; others need an input that is already enlarged
        upscaled_by = 'network' if network.get('upscale', network.get('scale', 1)) != 1 else 'bicubic'
    description = {
        'name': opt.get('name'),
        'network_g': network,
        'task': task,
        'color': color or TASK_COLOR.get(task),
        'range': valid_range,
        'scale': scale,
        'upscaled_by': upscaled_by,
        'local_statistics': local_statistics,
        'option': opt.get('name'),
        'metrics': metrics,
        'note': note
    }
    return check_description({k: v for k, v in description.items() if v is not None}, 'the description')


def check_description(description, where):
    """Check a description and convert it to plain Python values.

    Args:
        description (dict): See :func:`describe`.
        where (str): Its source, for messages.

    Returns:
        dict: Plain Python values.

    Raises:
        UsageError: If something is missing, unknown, too large or not plain.
    """
    _check_size(description, where)
    try:
        # numpy and torch scalars, such as metrics, become numbers; anything else is refused
        description = json.loads(json.dumps(description, default=lambda v: v.item()))
        network, task = dict(description['network_g']), description['task']
        network_type = network['type']
    except (AttributeError, TypeError, ValueError, KeyError) as error:
        raise UsageError(f'{where} is not usable ({type(error).__name__}: {error}); it needs network_g with a type, '
                         'and task, as plain values') from None
    for key in description:
        if key not in KEYS:
            raise UsageError(f'{where} has unknown keys: {key}{near(key, KEYS)} (known: {", ".join(KEYS)})')
    if not isinstance(network_type, str):
        raise UsageError(f'{where} has network_g: type: {network_type!r}; use the name of a network')
    _check_network(network, f'{where} has network_g')
    if task not in TASK_COLOR:
        raise UsageError(f'{where} has task: {task!r}; use one of {", ".join(TASK_COLOR)}')
    if description.setdefault('color', TASK_COLOR[task]) not in COLORS:
        raise UsageError(f'{where} has color: {description["color"]!r}; use one of {", ".join(COLORS)}')
    if task == 'sr' and description['color'] == 'half':
        raise UsageError(f"{where} has color: 'half', which sr does not support; use 'y' or 'each'")
    if 'range' in description:
        _check_range(description['range'], where)
    if task == 'sr':
        scale = description.get('scale')
        if not isinstance(scale, list) or not scale or not all(_is_number(v) and v > 1 for v in scale):
            raise UsageError(f'{where} is for sr and has scale: {scale!r}; use a list of factors such as [2, 3, 4]')
        if description.setdefault('upscaled_by', 'bicubic') not in UPSCALED_BY:
            raise UsageError(f'{where} has upscaled_by: {description["upscaled_by"]!r}; use one of '
                             f'{", ".join(UPSCALED_BY)}')
    return description


def _check_size(value, where, depth=0, count=None):
    """Refuse values that are nested too deeply, too many or too long."""
    count = [0] if count is None else count
    count[0] += 1
    if depth > MAX_DEPTH or count[0] > MAX_VALUES:
        raise UsageError(f'{where} is not usable: it holds more than {MAX_VALUES} values or {MAX_DEPTH} levels')
    if isinstance(value, str) and len(value) > MAX_TEXT:
        raise UsageError(f'{where} is not usable: it holds text of more than {MAX_TEXT} characters')
    if isinstance(value, dict):
        value = [*value.keys(), *value.values()]
    if isinstance(value, (list, tuple)):
        for item in value:
            _check_size(item, where, depth + 1, count)


def _check_network(value, where):
    """Refuse networks that may open files, and arguments that no real network has; networks may be nested."""
    if isinstance(value, dict):
        name = value.get('type')
        cls = ARCH_REGISTRY.get(name) if isinstance(name, str) and name in ARCH_REGISTRY else None
        if cls is not None and cls.__module__.split('.')[0] == 'basicsr' and name not in BASICSR_NETWORKS:
            raise UsageError(f"{where}: type: {name}, but of BasicSR's networks a weights file may only name "
                             f'{", ".join(BASICSR_NETWORKS)}')
        for key, item in value.items():
            if any(word in key.lower() for word in ('path', 'file', 'url', 'pretrain')):
                raise UsageError(f'{where}: {key}, but a weights file may not name other files')
            _check_network(item, f'{where}: {key}')
    elif isinstance(value, list):
        for item in value:
            _check_network(item, where)
    elif isinstance(value, str) and len(value) > 100:
        raise UsageError(f'{where} with text of more than 100 characters')
    elif isinstance(value, (int, float)) and not abs(value) <= MAX_NUMBER:
        raise UsageError(f'{where}: {value}, which is not within [-{MAX_NUMBER}, {MAX_NUMBER}]')


def _check_range(valid_range, where):
    fault = f'{where} has range: {valid_range!r}; use {{sigma: [lowest, highest]}} or {{quality: [lowest, highest]}}'
    if not isinstance(valid_range, dict) or not valid_range:
        raise UsageError(fault)
    for quantity, limits in valid_range.items():
        if quantity not in RANGES:
            raise UsageError(f'{fault}{near(quantity, RANGES)}')
        least, most = RANGES[quantity]
        if not isinstance(limits, list) or len(limits) != 2 or not all(_is_number(v) for v in limits):
            raise UsageError(fault)
        if not least <= limits[0] <= limits[1] <= most:
            raise UsageError(f'{where} has range: {quantity}: {limits}; the limits must ascend within '
                             f'[{least}, {most}]')


def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
