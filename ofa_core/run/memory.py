"""The C library's memory allocator: freed memory is kept for the next tensor."""

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""glibc's malloc.h."""
MOST = 2**31 - 1
"""The largest value that mallopt takes."""


def keep_freed_memory() -> None:
    """Lets glibc reuse freed blocks of every size, instead of giving large ones back to the system.

    By default each tensor of more than 32 MB is mapped anew, and the kernel clears it page by page. For networks on photos
    that takes more time than their convolutions. Results cannot change. A process may need more memory at its peak, by up to a
    third (`python -m benchmarks.memory`). Other C libraries are left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, MOST)
        mallopt(M_TRIM_THRESHOLD, MOST)
