import os
import tempfile
from os import path as osp


def write_atomically(path, content):
    """Write a file so that it is there whole or not at all; a file that was there before survives a failure.

    Args:
        path (str): File; its folder is made where it is missing.
        content (bytes): What to write.

    Raises:
        OSError: If it cannot be written (permission, full disk), with the path.
    """
    folder = osp.dirname(osp.abspath(path))
    os.makedirs(folder, exist_ok=True)
    # the same folder: only within one file system is the renaming atomic
    handle, temporary = tempfile.mkstemp(prefix='.' + osp.basename(path)[:40], suffix='.part', dir=folder)
    try:
        with os.fdopen(handle, 'wb') as f:
            f.write(content)
            f.flush()
            os.fsync(f.fileno())
        # mkstemp makes private files; give the rights that open() would have given
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
