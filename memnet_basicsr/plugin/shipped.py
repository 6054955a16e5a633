"""Option files and scripts: beside the package in a clone, in its folder ``shipped`` in a wheel.

Only the standard library is imported, and commands load this file without the package around it.
"""
import os
from os import path as osp

PACKAGE = osp.dirname(osp.dirname(osp.abspath(__file__)))


def folder(*parts):
    """Path of a folder of the project.

    Args:
        parts (str): Its path in a clone, such as 'scripts', 'data_preparation'.

    Returns:
        str: Path in this installation.
    """
    inside = osp.join(PACKAGE, 'shipped', *parts)
    return inside if osp.isdir(inside) else osp.join(osp.dirname(PACKAGE), *parts)


def option_files():
    """Option files of the project.

    Returns:
        dict[str, str]: Name (the stem of the file) -> path, sorted by name.
    """
    found = {}
    for path, _, names in os.walk(folder('options')):
        found.update((osp.splitext(v)[0], osp.join(path, v)) for v in names if v.endswith('.yml'))
    return dict(sorted(found.items()))


def find_option_file(path):
    """Find an option file: a file, else a shipped one, with or without ``options/`` and ``.yml``.

    Args:
        path (str): File or name.

    Returns:
        str: Path of the file; ``path`` itself if there is no such file.
    """
    name = osp.basename(path)
    if osp.exists(path) or osp.dirname(path).replace(os.sep, '/') not in ('', 'options', 'options/ablation'):
        return path
    return option_files().get(name[:-4] if name.endswith('.yml') else name, path)


def title(path):
    """First line of a file's comment or docstring, without what surrounds it and without the line for editors."""
    with open(path, encoding='utf-8') as f:
        return next((v.strip('#"\n .') for v in f if '$schema=' not in v), '')
