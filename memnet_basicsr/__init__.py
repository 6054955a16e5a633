"""MemNet and MemoryNet for BasicSR.

Importing this package patches BasicSR to import on current PyTorch and Python (see
:mod:`memnet_basicsr.plugin.compat`), imports BasicSR and registers the plug-in's classes in its registries. It does
nothing else.
"""
from .plugin import compat

compat.before_basicsr()

# BasicSR imports only after the repairs
from .plugin import names  # noqa: E402

with names.ours_first():
    from . import archs, data, losses, metrics, models  # noqa: F401
    from .analysis.ablation import controls  # noqa: F401
from .inference import load_restorer  # noqa: E402, F401
from .plugin import launch  # noqa: E402

compat.after_basicsr()
launch.install()
