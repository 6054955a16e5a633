"""Train from an option file, with BasicSR's own pipeline: ``python -m memnet_basicsr.train -opt options/<name>.yml``.

It does what ``python basicsr/train.py`` does, without the start-up hook. Runs are written below the current directory.
"""
import os

from .registry import require_basicsr

require_basicsr()
from basicsr.train import train_pipeline  # noqa: E402

if __name__ == '__main__':
    train_pipeline(os.getcwd())
