"""Finds damaged checkpoints before they are read, reports them, and sets them aside."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from ocrcore.training.checksums import find_damage, has_checksums

ARRAYS = ("variables", "ema", "optimizer")
"""Items of a run's checkpoint that are trees of arrays; `ema` is optional."""
_NEEDED = ("variables", "optimizer", "run/metadata")


class CheckpointError(ValueError):
    """A folder is not a checkpoint, is damaged, or is from another network; the message says."""


def is_checkpoint(folder: str | Path) -> bool:
    """Return whether a folder holds one finished Orbax checkpoint."""
    return (Path(folder) / "_CHECKPOINT_METADATA").is_file()


def numbered(folder: Path) -> list[int]:
    """Return the steps that have a folder; unfinished checkpoints have other names."""
    if not folder.is_dir():
        return []
    return sorted(int(path.name) for path in folder.iterdir() if re.fullmatch(r"\d+", path.name))


def read_tree(folder: Path) -> dict[str, Any]:
    """Read an item of a checkpoint as NumPy arrays, whatever devices it was saved from."""
    # A handler, because a checkpointer warns about items without metadata of their own.
    handler = ocp.StandardCheckpointHandler()
    tree = dict(handler.metadata(folder).tree)
    target = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), tree)
    found: dict[str, Any] = handler.restore(folder, args=ocp.args.StandardRestore(target))
    handler.close()
    return found


def non_finite(tree: Any) -> list[str]:
    """Names the arrays of a tree with NaN or infinity; of device arrays checks the local copy."""
    return [
        jax.tree_util.keystr(path, simple=True, separator="/")
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
        if jnp.issubdtype(leaf.dtype, jnp.floating)
        and not np.isfinite(leaf.addressable_data(0) if isinstance(leaf, jax.Array) else leaf).all()
    ]


def find_fault(folder: Path, *, needed: Sequence[str] = ()) -> str | None:
    """Check a checkpoint by its checksums, or, without checksums, by reading it completely.

    Earlier versions wrote no checksums.

    Args:
        folder: folder of the checkpoint.
        needed: files and folders that must exist in it.

    Returns:
        What is wrong, with the name of the file; None if the checkpoint is good.
    """
    for name in ("_CHECKPOINT_METADATA", *needed):
        if not (folder / name).exists():
            return f"{name} is missing"
    if (fault := find_damage(folder)) is not None or has_checksums(folder):
        return fault
    plain = (folder / "_METADATA").is_file()
    for item in ["."] if plain else [name for name in ARRAYS if (folder / name).is_dir()]:
        try:
            bad = non_finite(read_tree(folder / item))
        except Exception as error:  # array readers raise all kinds of errors for damaged files
            reason = str(error).partition("\n")[0]
            return f"{item} cannot be read ({type(error).__name__}: {reason})"
        if bad:
            return f"{item} contains NaN or infinite values, in {bad[0]}"
    return None


def set_aside_damaged(folder: Path, *, keep: int, log: Callable[[str], object]) -> None:
    """Check all checkpoints of a run, and renames those that cannot be used.

    They become `STEP.damaged` (a second one `STEP.damaged1`), so that they are not used as the last
    checkpoint, and the log names them. Leftovers of an interrupted deletion are removed, and so is
    what was set aside once there are `keep` later checkpoints.

    Args:
        folder: folder of the checkpoints.
        keep: number of latest checkpoints that the run keeps.
        log: called with each human-readable message.

    Raises:
        CheckpointError: there are checkpoints, but all are damaged.
    """
    faults: dict[int, str] = {}
    whole = []
    for step in numbered(folder):
        fault = find_fault(folder / str(step), needed=_NEEDED)
        if fault is None:
            whole.append(step)
        else:
            faults[step] = fault
    if faults and not whole:
        raise CheckpointError(
            f"{folder}: all checkpoints are damaged: "
            + "; ".join(f"{step}: {fault}" for step, fault in sorted(faults.items()))
            + ". Restore one from a copy, or start another run with another --workdir"
        )
    obsolete = whole[-keep] if len(whole) >= keep else 0  # `keep` good ones are at least as late
    for step, fault in faults.items():
        path = folder / str(step)
        if step < obsolete and fault.endswith("is missing"):
            shutil.rmtree(path)
            continue
        names = (f"{step}.damaged{number or ''}" for number in count())
        aside = next(one for one in map(path.with_name, names) if not one.exists())
        path.rename(aside)
        then = f"; the run continues from step {whole[-1]}" if step > whole[-1] else ""
        log(f"{path} is damaged: {fault}; renamed to {aside.name}{then}")
    for path in folder.glob("*.damaged*"):
        found = re.fullmatch(r"(\d+)\.damaged\d*", path.name)
        if found and int(found[1]) < obsolete and int(found[1]) not in faults:
            shutil.rmtree(path)
