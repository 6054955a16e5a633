"""MemNet and MemoryNet for BasicSR.

Importing this package patches BasicSR to import on current PyTorch and Python (see
:mod:`memnet_basicsr.plugin.compat`), imports BasicSR and registers the plug-in's classes in its registries. It does
nothing else. Where BasicSR is absent, only the networks are registered, which is enough to restore images.
"""
from .plugin import compat

compat.before_basicsr()

# BasicSR imports only after the repairs
from .registry import BASICSR_FAULT  # noqa: E402

if BASICSR_FAULT is None:
    from .plugin import names
    with names.ours_first():
        from . import archs, data, losses, metrics, models  # noqa: F401
        from .analysis.ablation import controls  # noqa: F401
    from .plugin import launch
    compat.after_basicsr()
    launch.install()
else:
    from . import archs  # noqa: F401
from .inference import load_restorer  # noqa: E402, F401
