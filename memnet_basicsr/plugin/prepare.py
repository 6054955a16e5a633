"""The command ``memnet prepare``: runs the scripts in ``scripts/data_preparation``.

Only the standard library is imported, and the command loads this file without the package around it.
"""
import difflib
import os
import runpy
import sys
from os import path as osp

from _memnet_basicsr_command import load


def scripts():
    """Scripts of this installation.

    Returns:
        dict[str, str]: Name -> path.
    """
    folder = load('plugin.shipped').folder('scripts', 'data_preparation')
    names = sorted(v for v in os.listdir(folder) if v.endswith('.py'))
    return {osp.splitext(v)[0].split('_', 1)[1]: osp.join(folder, v) for v in names}


def main(argv):
    """Run the command.

    Args:
        argv (list[str]): Name of the dataset, and arguments of its script.

    Returns:
        int: Exit code.
    """
    known = scripts()
    name = argv[0] if argv else '--help'
    if name in ('-h', '--help'):
        title = load('plugin.shipped').title
        lines = [f'  {key:12} {title(path)}' for key, path in known.items()]
        print('\n'.join(['usage: memnet prepare NAME ...', '', 'names (memnet prepare NAME --help):', *lines]))
        return 0 if argv else 2
    if name not in known:
        near = difflib.get_close_matches(name, known, 1) or known
        sys.stderr.write(f'memnet prepare: there is no dataset {name}; near: {", ".join(near)}\n')
        return 2
    # absolute names: this file may have been loaded by its path, without the package around it
    from memnet_basicsr.errors import UsageError
    from memnet_basicsr.registry import require_basicsr
    require_basicsr()
    sys.argv = [f'memnet prepare {name}']  # argparse names the command by it
    try:
        runpy.run_path(known[name])['main'](argv[1:])
    except UsageError as error:
        sys.stderr.write(f'memnet prepare {name}: {error}\n')
        return 1
    return 0
