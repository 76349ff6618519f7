"""Settings of the C allocator for large buffers on the CPU."""

from __future__ import annotations

import ctypes
import os
import sys

# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8
_NEVER = -1  # trim threshold: never trim


def reuse_freed_memory(*, one_arena: bool = False) -> bool:
    """Make glibc keep freed memory for the next buffer instead of returning it to the kernel.

    XLA allocates all buffers of a program at each call. glibc maps each large one from the
    kernel and unmaps it afterwards, and clearing those pages again costs a tenth of a forward pass
    of CRAFT (docs/benchmarks.md). The process keeps its peak memory. `OCRJAX_REUSE_MEMORY=off`
    leaves the allocator unchanged.

    Args:
        one_arena: make all threads that start from now on share one arena; other arenas map their
            large buffers at each call regardless of the settings. This gains as much again, but
            fragments memory; with CRAFT's buffers the peak doubles.

    Returns:
        Whether the settings were applied: only with glibc, the usual C library on Linux.
    """
    settings = {_M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: _NEVER}
    return _set(settings | ({_M_ARENA_MAX: 1} if one_arena else {}))


def restore_allocator() -> bool:
    """Revert `reuse_freed_memory`; return whether that was possible."""
    return _set({_M_MMAP_MAX: 65536, _M_TRIM_THRESHOLD: 128 * 1024, _M_ARENA_MAX: 0})


def _set(settings: dict[int, int]) -> bool:
    if os.environ.get("OCRJAX_REUSE_MEMORY", "").lower() in ("off", "0", "false"):
        return False
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    return all(mallopt(name, value) == 1 for name, value in settings.items())
