"""Let BasicSR find the plug-in: run at every start of Python by memnet_basicsr_autoload.pth, imports nothing heavy.

When ``basicsr`` is imported, the repairs that it needs are made before and ``memnet_basicsr`` is imported after it.
``MEMNET_BASICSR_AUTOLOAD=0`` or ``python -m memnet_basicsr.plugin.autoload off`` switch it off.
"""
import os
import sys


def install():
    if os.environ.get('MEMNET_BASICSR_AUTOLOAD') != '0' and not any(isinstance(v, Finder) for v in sys.meta_path):
        sys.meta_path.insert(0, Finder())


class Finder:
    """Finds ``basicsr`` as the other finders do, and wraps its loader."""
    searching = False

    def find_spec(self, name, path=None, target=None):
        if name != 'basicsr' or self.searching:
            return None
        from importlib.util import find_spec
        self.searching = True
        try:
            spec = find_spec(name)
        finally:
            self.searching = False
        if spec is not None and spec.loader is not None:
            spec.loader = Loader(spec.loader)
        return spec


class Loader:
    """Loads ``basicsr`` between the repairs and the plug-in; errors of the plug-in are printed, never raised."""

    def __init__(self, loader):
        self.loader = loader

    def __getattr__(self, name):
        return getattr(self.loader, name)

    def create_module(self, spec):
        return self.loader.create_module(spec)

    def exec_module(self, module):
        module.__spec__.loader = module.__loader__ = self.loader
        attempt(repair)
        self.loader.exec_module(module)
        attempt(register)


def attempt(step):
    try:
        step()
    except Exception as error:
        sys.stderr.write(f'memnet_basicsr could not be loaded: {type(error).__name__}: {error} '
                         '(set MEMNET_BASICSR_AUTOLOAD=0 to disable autoload)\n')


def repair():
    """Run the repairs from their file: importing the package would import basicsr."""
    from importlib.util import find_spec, module_from_spec, spec_from_file_location
    package, name = find_spec('memnet_basicsr'), 'memnet_basicsr.plugin.compat'
    if package is None:
        return
    if name not in sys.modules:
        file = os.path.join(next(iter(package.submodule_search_locations)), 'plugin', 'compat.py')
        spec = spec_from_file_location(name, file)
        sys.modules[name] = module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    sys.modules[name].before_basicsr()


def register():
    from importlib.util import find_spec
    if find_spec('memnet_basicsr') is not None:
        import memnet_basicsr  # noqa: F401
