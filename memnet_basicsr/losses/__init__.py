from ..registry import BASICSR_FAULT, import_modules

if BASICSR_FAULT is None:
    import_modules(__package__, '_loss')
