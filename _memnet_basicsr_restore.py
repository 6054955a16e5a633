"""Entry point of the command ``memnet-restore``: starts without importing torch before it is needed."""
import importlib.util
import os


def main():
    # before torch is loaded: threads that spin while other programs want the cores make a picture take many times as
    # long (measured beside four busy programs on two cores: 522 s instead of 27)
    os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
    folder = importlib.util.find_spec('memnet_basicsr').submodule_search_locations[0]
    path = os.path.join(folder, 'inference', 'cli.py')
    spec = importlib.util.spec_from_file_location('memnet_basicsr.inference.cli', path)
    cli = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(cli)
    return cli.main()
