"""Test from an option file, with BasicSR's own pipeline: ``python -m memnet_basicsr.test -opt options/<name>.yml``.

It does what ``python basicsr/test.py`` does, without the start-up hook. Results are written below the current
directory.
"""
import os

from .registry import require_basicsr

require_basicsr()
from basicsr.test import test_pipeline  # noqa: E402

if __name__ == '__main__':
    test_pipeline(os.getcwd())
