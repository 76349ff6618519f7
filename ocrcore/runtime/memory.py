"""The C allocator's settings for large buffers on the CPU."""

from __future__ import annotations

import ctypes
import os
import sys

# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8


def reuse_freed_memory(*, one_arena: bool = False) -> bool:
    """Lets glibc keep freed memory for the next buffer instead of giving it back.

    XLA allocates all buffers of a program at each call. glibc maps each large one from the
    kernel and unmaps it afterwards, and clearing those pages again costs a tenth of a forward pass
    of CRAFT (docs/benchmarks.md). The process keeps the most memory that it ever used.
    `OCRJAX_REUSE_MEMORY=off` leaves the allocator alone.

    Args:
        one_arena: let all threads share one arena: the arenas of other threads map their large
            buffers at each call whatever is set. This gains as much again, but fragments; with
            CRAFT's buffers the peak doubles.

    Returns:
        Whether the settings were made: only with glibc, which is Linux's usual C library.
    """
    if os.environ.get("OCRJAX_REUSE_MEMORY", "").lower() in ("off", "0", "false"):
        return False
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    settings = [(_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1)]
    if one_arena:
        settings.append((_M_ARENA_MAX, 1))
    return all(mallopt(name, value) == 1 for name, value in settings)
