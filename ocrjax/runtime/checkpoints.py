"""Orbax checkpoints of plain trees of arrays."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp


class CheckpointError(ValueError):
    """A folder that is not a checkpoint; the message names it."""


def save_variables(folder: str | Path, variables: Mapping[str, Any]) -> None:
    """Writes a network's variables as an Orbax checkpoint, all or nothing.

    Raises:
        CheckpointError: the folder exists; nothing is overwritten.
    """
    folder = Path(folder).resolve()
    if folder.exists():
        raise CheckpointError(f"{folder}: exists; remove it or name a new folder")
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder, dict(variables))


def load_variables(folder: str | Path) -> dict[str, Any]:
    """Reads a network's variables as NumPy arrays, whatever devices they were saved from.

    Raises:
        CheckpointError: the folder is missing or is no Orbax checkpoint.
    """
    folder = Path(folder).resolve()
    if not is_checkpoint(folder):
        raise CheckpointError(f"{folder}: not an Orbax checkpoint (no _CHECKPOINT_METADATA in it)")
    with ocp.StandardCheckpointer() as checkpointer:
        tree = checkpointer.metadata(folder).item_metadata.tree
        target = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), dict(tree))
        variables: dict[str, Any] = checkpointer.restore(folder, target)
    return variables


def is_checkpoint(folder: str | Path) -> bool:
    """Whether a folder holds one finished Orbax checkpoint."""
    return (Path(folder) / "_CHECKPOINT_METADATA").is_file()
