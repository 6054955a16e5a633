"""Entry points of the commands ``memnet`` and ``memnet-restore``: start without importing torch before it is needed."""
import importlib.util
import os
import sys


def load(name):
    """Load a module of the package from its file, without the package, which would import torch.

    Args:
        name (str): Its name below the package, such as 'inference.cli'. The file may import the standard library only.

    Returns:
        module: The module; the imported one if the package has imported it.
    """
    full = f'memnet_basicsr.{name}'
    if full in sys.modules:
        return sys.modules[full]
    folder = importlib.util.find_spec('memnet_basicsr').submodule_search_locations[0]
    spec = importlib.util.spec_from_file_location(full, os.path.join(folder, *name.split('.')) + '.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main(argv=None):
    # Set before torch is loaded: spinning threads make restoring many times slower while other programs use the cores
    # (measured beside four busy programs on two cores: 522 s instead of 27 s).
    os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
    return load('plugin.command').main(argv)


def restore():
    return main(['restore', *sys.argv[1:]])
