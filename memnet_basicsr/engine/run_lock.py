"""A lock on the folder of a run, so that two runs of one name do not overwrite each other."""
import os
import socket
from os import path as osp

from ..errors import UsageError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

# open lock file of the run of this process
_held = None


def lock_run(folder):
    """Lock the folder of a run until this process ends, however it ends.

    A POSIX record lock: the system releases it, forked workers do not inherit it, and it works on NFS. It lies beside
    the folder, since BasicSR renames the folder of an earlier run.

    Args:
        folder (str): The folder; it need not exist.

    Returns:
        str | None: What is wrong with it: another process holds it. None if it is locked, or cannot be locked because
            the system or file system has no locks.

    Raises:
        UsageError: The lock file cannot be written.
    """
    global _held
    if fcntl is None:
        return None
    if _held is not None:  # an earlier run in this process
        os.close(_held)
        _held = None
    parent, name = osp.split(osp.abspath(folder))
    path = osp.join(parent, f'.{name}.lock')
    try:
        os.makedirs(parent, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise UsageError(f'{path} cannot be written: {error.strerror}') from None
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        holder = os.read(file, 200).decode(errors='replace').strip()
        os.close(file)
        return f'{folder} is in use by another run of that name ({holder or "unknown process"}); use another name'
    except OSError:  # a file system without locks
        os.close(file)
        return None
    os.ftruncate(file, 0)
    os.write(file, f'process {os.getpid()} on {socket.gethostname()}\n'.encode())
    _held = file
    return None
