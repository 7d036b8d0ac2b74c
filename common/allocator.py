"""The C library's allocator: memory that was freed stays with the process."""

import ctypes
import os
import sys

# <malloc.h> of glibc
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST = 1 << 30  # bytes of a block that comes from the heap
KEPT = (1 << 31) - 1  # bytes of the heap's free end that stay


def keep_memory() -> bool:
    """Have this process keep the memory of large tensors that are gone, for the next ones.

    glibc gives blocks above some MiB back to the system at once, and the next tensor of that size is zeroed page by
    page: 8% of a sweep's denoising on a CPU (docs/performance.md). Nothing is done on other C libraries, and where
    ``MALLOC_*`` says something.

    Returns:
        True where memory is kept from now on.
    """
    if not sys.platform.startswith("linux") or any(name.startswith("MALLOC_") for name in os.environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    # in this order: the other one alone would end glibc's own adjustment, and make all large blocks slow
    return bool(mallopt(M_MMAP_THRESHOLD, LARGEST)) and bool(mallopt(M_TRIM_THRESHOLD, KEPT))
