"""JSON Lines log, which a resumed run truncates to its starting point."""
import json
import math
import os
from os import path as osp

from ..atomic_file import replacing


def append_line(path, values):
    """Append one line and sync it to disk.

    Args:
        path (str): The file.
        values (dict): Plain Python values; NaN and infinity become null, since JSON has neither.
    """
    values = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}
    with open(path, 'a', encoding='utf-8') as f:
        f.write(json.dumps(values) + '\n')
        f.flush()
        os.fsync(f.fileno())


def count_lines(path):
    """Number of lines, 0 where there is no file."""
    if not osp.isfile(path):
        return 0
    with open(path, encoding='utf-8') as f:
        return sum(1 for _ in f)


def keep_lines(path, count):
    """Truncate a file to its first ``count`` lines, atomically; do nothing if it does not exist."""
    if not osp.isfile(path):
        return
    with open(path, 'rb') as f:
        lines = f.readlines()[:count]
    with replacing(path) as f:
        f.writelines(lines)
