"""Memory that is given back to the system after each step costs a training on a CPU dearly."""

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_LARGEST_MMAP_THRESHOLD = 32 << 20  # bytes; glibc refuses more
_LARGEST_TRIM_THRESHOLD = 2**31 - 1


def keep_freed_memory() -> None:
    """Let glibc keep freed memory for the next step instead of fetching and clearing it anew.

    Does nothing where there is no glibc.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    mallopt(_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
    mallopt(_TRIM_THRESHOLD, _LARGEST_TRIM_THRESHOLD)
