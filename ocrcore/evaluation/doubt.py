"""Selects the words to review first: those with the lowest confidence, as most of them are wrong.

Least confidence is the simplest rule of active learning (Settles, "Active Learning Literature
Survey", 2009). For choosing what to train on it was no better than chance
(docs/how_much_data.md). Host code: no jax.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def least_sure(confidences: Sequence[float | None], count: int | None = None) -> list[int]:
    """Select the words with the lowest confidence.

    Args:
        confidences: in [0, 1]; None or NaN if nothing was read, which counts as lowest.
        count: maximum number of words; None: all.

    Returns:
        Their indices, the least confident first; ties keep their order.

    Raises:
        ValueError: a negative count.
    """
    if count is not None and count < 0:
        raise ValueError(f"count is {count}, expected 0 or more")
    sure = np.array([np.nan if one is None else one for one in confidences], np.float64)
    sure = np.where(np.isnan(sure), -np.inf, sure)
    return np.argsort(sure, kind="stable")[:count].tolist()
