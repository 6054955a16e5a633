"""Names that both this package and BasicSR register."""
from contextlib import contextmanager

from . import compat


@contextmanager
def ours_first():
    """Let classes of this package take names that BasicSR has registered already.

    A network that was merged into BasicSR is registered there before this package is imported. Ours then takes the
    name and BasicSR's class stays available as ``<name>_basicsr``, the suffix that BasicSR's registries know. The log
    names each such class. Use it around the imports that register.
    """
    from basicsr.utils.registry import Registry
    from .strangers import is_ours

    def register(self, name, obj, suffix=None):
        # registries have no public way to rename an entry
        other = self._obj_map.get(name)
        if suffix is None and other is not None and is_ours(obj) and other.__module__.split('.')[0] == 'basicsr':
            self._obj_map[f'{name}_basicsr'] = self._obj_map.pop(name)
            compat.notes.append(f'{name} is registered by BasicSR too: `{name}` is the class of memnet_basicsr, '
                                f'`{name}_basicsr` that of BasicSR')
        stock(self, name, obj, suffix)

    stock = Registry._do_register
    with compat.pretend(Registry, _do_register=register):
        yield
