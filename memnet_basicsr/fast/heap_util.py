import contextlib
import ctypes
import torch

MOST_BYTES = (32 << 20) - (64 << 10)  # glibc takes larger blocks from the system whatever happened before


def keep_freed_memory():
    """Let the C library keep up to 64 MiB of freed memory instead of giving it back at once, for good.

    Features that come and go on a CPU make glibc return memory to the system and ask for it again all the time, and
    every page so asked for is filled with zeros: a sixth of MemoryNet's time. It stops doing so up to twice the size of
    the largest block that was ever freed, if that is below 32 MiB, so such a block is freed here (never touched, it
    takes no memory). Other C libraries do not mind.
    """
    torch.empty(MOST_BYTES, dtype=torch.uint8)


def give_back_memory(*_):
    """Let the C library return what is free inside its heap: features of one stage leave holes too small for the next.

    A few milliseconds; where the C library is another one, nothing.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
