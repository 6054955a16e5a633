from ..registry import import_modules

import_modules(__package__, '_arch')
