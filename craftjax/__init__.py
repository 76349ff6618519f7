"""craftjax: the CRAFT text detector in JAX; `craftjax.train(config, workdir)` trains it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from craftjax.training import train

__all__ = ["train"]


def __getattr__(name: str) -> Any:
    if name in __all__:  # jax is loaded on first use, not on import
        return getattr(import_module("craftjax.training"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
