"""Descriptions of the bundled weights, read without importing torch, so that ``memnet-restore --help`` is fast.

Only the standard library is imported, and the command loads this file without the package around it.
"""
import os
import pickle
import zipfile
from os import path as osp

FOLDER = osp.join(osp.dirname(osp.dirname(osp.abspath(__file__))), 'weights')
# key of the description in a weights file
KEY = 'memnet_basicsr'
UNITS = {'sigma': 'noise sigma', 'quality': 'JPEG quality'}
CHANNEL_ARGUMENTS = ('num_in_ch', 'in_chans', 'in_channels', 'img_channel')


def bundled_networks(folder=FOLDER):
    """Descriptions of the weights that come with the package.

    Args:
        folder (str): Folder of the weights. Default: that of the package.

    Returns:
        dict[str, dict]: Name -> description (see :func:`describe`), sorted by name. ``range`` holds the inputs that a
        network is for: ``{'sigma': [lowest, highest]}`` on the scale 0..255, or ``{'quality': [lowest, highest]}``.
    """
    names = sorted(v for v in os.listdir(folder) if v.endswith('.pth')) if osp.isdir(folder) else []
    return {osp.splitext(v)[0]: _read_description(osp.join(folder, v)) for v in names}


def range_text(description):
    """A network's valid range, such as 'noise sigma 0 to 75'; empty where the description has none."""
    ranges = description.get('range') or {}
    return ', '.join(f'{UNITS.get(k, k)} {low:g} to {high:g}' for k, (low, high) in ranges.items())


def channels_of(description):
    """Channels of a network's input; None where the description does not tell."""
    network = description.get('network_g') or {}
    network = network.get('backbone') or network  # of MemoryAugmented
    return next((network[key] for key in CHANNEL_ARGUMENTS if key in network), None)


def overview(folder=FOLDER):
    """One line for each bundled network: name, task, channels, valid range or factors.

    Args:
        folder (str): Folder of the weights. Default: that of the package.

    Returns:
        str: The lines.
    """
    lines = []
    for name, description in bundled_networks(folder).items():
        factors = ', '.join(f'x{v:g}' for v in description.get('scale') or ())
        kind = {1: 'gray', 3: 'color'}.get(channels_of(description))
        parts = [description.get('task'), kind, factors, range_text(description)]
        lines.append(f'  {name:22}' + ', '.join(v for v in parts if v))
    return '\n'.join(lines)


class _Values(pickle.Unpickler):
    """Reads plain values and leaves tensors out; nothing that the file names is called."""

    def find_class(self, module, name):
        return lambda *args: None

    def persistent_load(self, pid):
        return None


def _read_description(path):
    try:
        with zipfile.ZipFile(path) as archive:
            record = next(v for v in archive.namelist() if v.endswith('/data.pkl'))
            with archive.open(record) as f:
                return dict(_Values(f).load().get(KEY) or {})
    except Exception:  # a damaged file is reported when it is used
        return {}
