"""Settings of the whole process: the compile cache and the allocator."""

from __future__ import annotations

import jax

from ocrcore.runtime.cache import enable_compile_cache
from ocrcore.runtime.memory import reuse_freed_memory


def tune_process(one_arena: bool = False) -> None:
    """Keeps compiled programs on disk and, on the CPU, freed memory for the next buffer.

    Commands call it once, before the first program runs; constructing a `Detector` or a
    `Recognizer` changes no global state. See `enable_compile_cache` and `reuse_freed_memory`, which
    name the environment variables that turn each of them off.

    Args:
        one_arena: let all threads share one arena of the allocator: faster training, more memory.
    """
    enable_compile_cache()
    if jax.default_backend() == "cpu":
        reuse_freed_memory(one_arena=one_arena)
