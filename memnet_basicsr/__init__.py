"""MemNet and MemoryNet for BasicSR.

Importing this package repairs what keeps BasicSR from importing on a current stack (see :mod:`memnet_basicsr.compat`),
imports BasicSR and registers the plug-in's classes in its registries. It does nothing else.
"""
from . import compat

compat.before_basicsr()

# BasicSR imports only after the repairs
from . import archs, data, launch, losses, metrics, models  # noqa: E402, F401
from .inference import load_restorer  # noqa: E402, F401

compat.after_basicsr()
launch.install()
