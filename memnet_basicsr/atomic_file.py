import contextlib
import os
import uuid
from os import path as osp


@contextlib.contextmanager
def replacing(path, temporary=None):
    """Open a file for writing that takes the place of another when everything has been written and is on the disk.

    Args:
        path (str): File; one that was there before survives a failure.
        temporary (str | None): Its name until then, in the same folder: only within one file system is renaming atomic.
            Default: ``<path>.part``, for files of one writer: the leftover of one that was killed is overwritten.

    Yields:
        BinaryIO: What to write to.

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
    """Write a file so that it is there whole or not at all; a file that was there before survives a failure.

    Args:
        path (str): File; its folder is made where it is missing.
        content (bytes): What to write.

    Raises:
        OSError: If it cannot be written (permission, full disk), with the path.
    """
    folder, name = osp.split(osp.abspath(path))
    os.makedirs(folder, exist_ok=True)
    # a name of its own, since another process may write the same file; killed while writing, this one leaves it behind
    with replacing(path, osp.join(folder, f'.{name[:40]}{uuid.uuid4().hex[:8]}.part')) as f:
        f.write(content)
