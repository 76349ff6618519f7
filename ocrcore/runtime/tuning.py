"""Settings of the whole process that make it faster; set by commands, not by library calls."""

from __future__ import annotations

import jax

from ocrcore.runtime.cache import enable_compile_cache
from ocrcore.runtime.memory import restore_allocator, reuse_freed_memory


def tune_process(one_arena: bool = False) -> None:
    """Enable the compile cache and, on the CPU, the reuse of freed memory.

    Call it once at the start of a program, after `ocrcore.runtime.mesh.initialize_distributed`.

    Args:
        one_arena: as for `ocrcore.runtime.memory.reuse_freed_memory`.
    """
    enable_compile_cache()
    # Before the backend exists: its threads create their own arenas when they start.
    reuse_freed_memory(one_arena=one_arena)
    if jax.default_backend() != "cpu":
        restore_allocator()
