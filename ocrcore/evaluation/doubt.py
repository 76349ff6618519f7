"""Which words to look at first: those that a reader is least sure of, as most of them are wrong.

Least confidence is the plainest rule of active learning (Settles, "Active Learning Literature
Survey", 2009). As a choice of what to train on it was no better than chance
(docs/how_much_data.md). Host code: no jax.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def least_sure(confidences: Sequence[float | None], count: int | None = None) -> list[int]:
    """Chooses what is read with the least confidence.

    Args:
        confidences: in [0, 1]; None, and what is no number, where nothing was read: least of all.
        count: how many to choose at most; None: all.

    Returns:
        Their places, the least sure first; equal ones in their order.

    Raises:
        ValueError: a count below 0.
    """
    if count is not None and count < 0:
        raise ValueError(f"count is {count}, expected 0 or more")
    sure = np.array([np.nan if one is None else one for one in confidences], np.float64)
    sure = np.where(np.isnan(sure), -np.inf, sure)
    return np.argsort(sure, kind="stable")[:count].tolist()
