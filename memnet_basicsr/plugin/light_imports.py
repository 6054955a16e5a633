"""Import the package for a command without slow imports of its libraries: more than half of the time of the import.

torchvision imports all of ``torch._dynamo`` for one function and BasicSR all of ``scipy.stats`` for another. Stand-ins
take their place, which import the real ones when they are called. The garbage collector is off meanwhile. Only the
standard library is imported here: commands load this file without the package.
"""
import gc
import importlib
import sys
import types

# module -> the function that is imported from it
SLOW = {'torch._dynamo.utils': 'is_compile_supported', 'scipy.stats': 'multivariate_normal'}


def import_package(basicsr=True):
    """Import ``memnet_basicsr``, and so torch, torchvision and BasicSR. Later imports find the real modules.

    Args:
        basicsr (bool): Whether the command needs BasicSR, which takes as long to import as torch, with torchvision. If
            not, it is as if it were absent, unless the package has been imported before. Default: True.
    """
    if not basicsr and 'memnet_basicsr' not in sys.modules:
        sys.modules.setdefault('basicsr', None)
    stands = {name: _stand_in(name, wanted) for name, wanted in SLOW.items() if name not in sys.modules}
    sys.modules.update(stands)
    collects = gc.isenabled()
    gc.disable()
    try:
        import memnet_basicsr  # noqa: F401
    finally:
        if collects:
            gc.enable()
        for name, module in stands.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]


def _stand_in(name, wanted):
    module = types.ModuleType(name)

    def lookup(attribute):
        if attribute.startswith('__'):  # inspect looks at all modules
            raise AttributeError(attribute)
        if sys.modules.get(name) is module:
            del sys.modules[name]
        return getattr(importlib.import_module(name), attribute)

    module.__getattr__ = lookup
    setattr(module, wanted, lambda *args, **kwargs: lookup(wanted)(*args, **kwargs))
    return module
