import contextlib
import os
import uuid
from os import path as osp


@contextlib.contextmanager
def replacing(path, temporary=None):
    """Open a temporary file that replaces ``path`` once it is completely written and synced to disk.

    Args:
        path (str): File to replace; keeps its content if writing fails.
        temporary (str | None): Temporary name in the same folder, since renaming is atomic only within a file system.
            Default: ``<path>.part``, for files with one writer; overwrites the leftover of a killed process.

    Yields:
        BinaryIO: The temporary file.

    Raises:
        OSError: If it cannot be written (permission, full disk), with the path.
    """
    temporary = temporary or f'{path}.part'
    try:
        with open(temporary, 'wb') as f:
            yield f
            f.flush()
            os.fsync(f.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def write_atomically(path, content):
    """Write a file atomically; an existing file keeps its content if writing fails.

    Args:
        path (str): File; missing parent folders are created.
        content (bytes): Content.

    Raises:
        OSError: If it cannot be written (permission, full disk), with the path.
    """
    folder, name = osp.split(osp.abspath(path))
    os.makedirs(folder, exist_ok=True)
    # A unique name, since other processes may write the same file; a killed process leaves it behind.
    with replacing(path, osp.join(folder, f'.{name[:40]}{uuid.uuid4().hex[:8]}.part')) as f:
        f.write(content)
