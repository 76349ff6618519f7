"""The persistent cache of compiled programs."""

from __future__ import annotations

import os
from pathlib import Path

import jax

from ocrcore.files import user_cache


def enable_compile_cache(folder: str | Path | None = None) -> Path | None:
    """Make jax keep compiled programs on disk, so that a second start does not compile again.

    A folder set by `JAX_COMPILATION_CACHE_DIR` or `jax.config` takes precedence;
    `OCRJAX_COMPILE_CACHE=off` disables the default.

    Args:
        folder: where to keep them; default `ocrjax/jax` in the user's cache folder.

    Returns:
        The folder in use; None if the cache is off, there is no such folder (a user without a
        home), or it cannot be written.
    """
    if chosen := jax.config.values["jax_compilation_cache_dir"]:
        return Path(chosen)
    if os.environ.get("OCRJAX_COMPILE_CACHE", "").lower() in ("off", "0", "false"):
        return None
    if folder is None:
        # Must not be writable for others, because cached programs are executed.
        if (base := user_cache()) is None:
            return None
        folder = base / "ocrjax" / "jax"
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return folder
