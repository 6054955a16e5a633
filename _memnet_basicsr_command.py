"""Entry points of the commands ``memnet`` and ``memnet-restore``: start without importing torch before it is needed."""
import importlib.util
import os
import sys


def main(argv=None):
    # Set before torch is loaded: spinning threads make restoring many times slower while other programs use the cores
    # (measured beside four busy programs on two cores: 522 s instead of 27 s).
    os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
    folder = importlib.util.find_spec('memnet_basicsr').submodule_search_locations[0]
    path = os.path.join(folder, 'plugin', 'command.py')
    spec = importlib.util.spec_from_file_location('memnet_basicsr.plugin.command', path)
    command = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(command)
    return command.main(argv)


def restore():
    return main(['restore', *sys.argv[1:]])
