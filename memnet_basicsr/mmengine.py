"""The networks in mmengine's registry, for those who build from an mmengine config; imported only on request:

    custom_imports = dict(imports=['memnet_basicsr.mmengine'])
    model = dict(type='MemNet', num_feat=64)
"""
from mmengine.registry import MODELS

from .registry import ARCH_REGISTRY

for _name, _cls in list(ARCH_REGISTRY):
    if _cls.__module__.startswith(f'{__package__}.') and _name not in MODELS:
        MODELS.register_module(name=_name, module=_cls)
