import contextlib
import ctypes
import torch

MOST_BYTES = (32 << 20) - (64 << 10)  # glibc always maps larger blocks from the OS


def keep_freed_memory():
    """Let glibc keep up to 64 MiB of freed memory for the rest of the process.

    glibc returns freed blocks to the OS, so every new feature map pays for page faults again: up to a sixth of the
    time on CPUs. Freeing one block below 32 MiB raises glibc's mmap threshold to its size and the trim threshold to
    twice that. The block is never written to and takes no memory. No effect with other C libraries.
    """
    torch.empty(MOST_BYTES, dtype=torch.uint8)


def give_back_memory(*_):
    """Let glibc return free heap memory to the OS.

    Features of one stage leave holes that are too small for the next. Takes a few milliseconds; no effect with other C
    libraries.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
