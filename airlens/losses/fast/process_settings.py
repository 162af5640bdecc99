"""A setting of the whole process that trades memory for speed; it must be asked for."""

from __future__ import annotations

import ctypes
import platform
import sys

# mallopt(3): M_TRIM_THRESHOLD, M_MMAP_MAX.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4


def fast_allocator() -> bool:
    """Let this process reuse the memory it frees: fewer page faults, a higher resident size.

    glibc maps each large block anew and gives it back at once, so that every large temporary of a
    forward pass is page-faulted in again. This tells it (``mallopt``) to serve all blocks from its
    heap and not to shrink it. It holds for the whole process and cannot be undone.

    Returns:
        Whether it took effect; False where the C library is not glibc.
    """
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_MMAP_MAX, 0)) and bool(mallopt(_TRIM_THRESHOLD, 2**31 - 1))
