"""Averages weights, and stores trees of arrays as safetensors files.

Host code: no jax.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ocrcore.weights.pth import load_weights, save_weights

_BETWEEN = "/"  # joins the names of nested dicts in the file


def average_states(
    states: Mapping[str, Mapping[str, np.ndarray]], shares: Sequence[float] | None = None
) -> dict[str, np.ndarray]:
    """Averages networks that were trained from the same start (WiSE-FT, arXiv:2109.01903).

    Args:
        states: state dicts of the same network, by their source, for messages.
        shares: weight of each; they are normalized to sum to 1. None: all equal.

    Returns:
        A state dict with the first one's types; counters (integers) are taken from the last one.

    Raises:
        ValueError: fewer than two states, a different number of shares, shares out of range, or
            different networks; the message names the entry.
    """
    names = list(states)
    if len(names) < 2:
        raise ValueError(f"{len(names)} weights, expected two or more to average")
    weights = np.asarray([1.0] * len(names) if shares is None else shares, np.float64)
    if len(weights) != len(names):
        raise ValueError(f"{len(weights)} shares for {len(names)} weights, expected one for each")
    # An infinite sum would make every share 0.
    if not (weights >= 0).all() or not 0 < (total := sum(weights.tolist())) < math.inf:
        raise ValueError(
            f"shares are {weights.tolist()}, expected positive numbers with a finite sum"
        )
    weights /= total
    first = states[names[0]]
    for name in names[1:]:
        for key in {**first, **states[name]}:
            pair = (first, states[name])
            found = [one[key].shape if key in one else "missing" for one in pair]
            if found[0] != found[1]:
                raise ValueError(
                    f"{key} is {found[0]} in {names[0]} and {found[1]} in {name}, expected the "
                    "same network"
                )
    out = {}
    for key, array in first.items():
        parts = [states[name][key] for name in names]
        if np.issubdtype(array.dtype, np.integer):
            out[key] = parts[-1]
            continue
        mean = sum(w * part.astype(np.float64) for w, part in zip(weights, parts, strict=True))
        out[key] = np.asarray(mean).astype(array.dtype)
    return out


def average_variables(
    start: Mapping[str, Any], trained: Mapping[str, Any], share: float
) -> dict[str, Any]:
    """Averages a network's variables with those from which its training started.

    Args:
        start: a tree of arrays.
        trained: a tree of the same structure.
        share: weight of `trained`; 0 returns `start` bit for bit, 1 returns `trained`.

    Raises:
        ValueError: as for `average_states`.
    """
    states = {"the start": _flat(start), "the trained weights": _flat(trained)}
    return _nested(average_states(states, [1 - share, share]))


def save_flat(path: str | Path, variables: Mapping[str, Any]) -> None:
    """Write a tree of arrays as a safetensors file, atomically."""
    save_weights(path, _flat(variables))


def load_flat(path: str | Path) -> dict[str, Any]:
    """Read the output of `save_flat`; parts of the tree without arrays are lost.

    Raises:
        TorchFileError: a damaged file.
    """
    return _nested(load_weights(path))


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{name}{_BETWEEN}")
        else:
            found[prefix + name] = np.asarray(value)
    return found


def _nested(flat: Mapping[str, np.ndarray]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, value in flat.items():
        *folders, name = path.split(_BETWEEN)
        inner = tree
        for folder in folders:
            inner = inner.setdefault(folder, {})
        inner[name] = value
    return tree
