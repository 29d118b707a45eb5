"""Keep freed memory in the process.

glibc returns large blocks to the system when they are freed; a training step on a CPU then spends
much of its time on getting them back page by page, cleared.
"""

import ctypes

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of glibc's malloc.h
_NEVER_TRIM = -1
_NO_MAPPED_BLOCKS = 0  # every block comes from the heap, however large


def keep_freed_memory() -> None:
    """Let glibc keep freed memory for the next step; without effect where there is no glibc."""
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    mallopt(_MMAP_MAX, _NO_MAPPED_BLOCKS)
    mallopt(_TRIM_THRESHOLD, _NEVER_TRIM)
