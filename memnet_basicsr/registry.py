"""BasicSR's registry of networks, or a stand-in where BasicSR is absent: restoring images does not need BasicSR."""
import importlib
import pkgutil
import sys

try:
    from basicsr.utils.registry import ARCH_REGISTRY
    BASICSR_FAULT = None
except ImportError as error:
    BASICSR_FAULT = 'is not installed' if error.name == 'basicsr' else f'cannot be imported ({error})'

    class _Networks(dict):
        """The methods of BasicSR's registries that this package calls."""
        get = dict.__getitem__

        def register(self):
            return lambda cls: self.setdefault(cls.__name__, cls)

        def __iter__(self):
            return iter(self.items())

    ARCH_REGISTRY = _Networks()


def require_basicsr():
    """Exit with one line if BasicSR is absent."""
    if BASICSR_FAULT is not None:
        sys.exit(f'error: this needs BasicSR, which {BASICSR_FAULT}; `memnet doctor` prints the repair')


def import_modules(package, ending):
    """Import the modules of a subpackage, so that their classes are registered.

    Args:
        package (str): Full name of the subpackage.
        ending (str): End of the names of these modules, such as '_arch'.
    """
    for module in pkgutil.iter_modules(sys.modules[package].__path__):
        if module.name.endswith(ending):
            importlib.import_module(f'{package}.{module.name}')
