"""Distinguish option files that use this package from those that use only BasicSR.

For the latter, the plug-in adds one line to the log and otherwise leaves BasicSR unchanged, except for the patches in
``compat``.
"""
from basicsr.utils import registry

REGISTRIES = (registry.MODEL_REGISTRY, registry.DATASET_REGISTRY, registry.ARCH_REGISTRY, registry.LOSS_REGISTRY,
              registry.METRIC_REGISTRY)
PACKAGE = __package__.split('.')[0]


def is_ours(found):
    """Whether a class or function belongs to this package or derives from a class that does.

    Args:
        found (type | Callable): Registered class or function.

    Returns:
        bool: Whether it is ours.
    """
    return any(base.__module__.split('.')[0] == PACKAGE for base in getattr(found, '__mro__', (found, )))


def lookup(known, name):
    """Find a registered class without the message that ``Registry.get`` prints.

    Args:
        known (Registry): One of BasicSR's registries.
        name (str): Name in an option file.

    Returns:
        type | Callable | None: What BasicSR would build; None if the name is unknown.
    """
    if not isinstance(name, str):
        return None
    for candidate in (name, f'{name}_basicsr'):
        if candidate in known:
            return dict(iter(known))[candidate]
    return None


def uses_plugin(opt):
    """Whether an option file names a model, dataset, network, loss or metric of this package.

    Args:
        opt (dict): Options as read from the file.

    Returns:
        bool: False for an option file that needs BasicSR only.
    """
    return any(is_ours(found) for name in _names(opt) for found in (lookup(v, name) for v in REGISTRIES) if found)


def _names(value):
    """Every ``model_type:`` and ``type:`` in a tree of options."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in ('type', 'model_type') and isinstance(inner, str):
                yield inner
            else:
                yield from _names(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _names(inner)
