"""Positions of the characters of a reading: from CTC's best path to columns of the input.

A trained network emits most characters in a single time step, near their middle. So the border of
two neighbors is between their steps, closer to the narrower one by the widths of `character_width`.
The outer edges are three quarters of a character's width from the first and last step, but within
the crop: words are mostly cut out tightly.

Measured by `benchmarks/lab/placed_characters.py`. Host code: no jax.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ocrcore.character_widths import character_width
from ocrcore.pages import FloatArray

Floats = NDArray[np.float64]

# Distance from the middle of the first or last character to its outer edge, in its widths.
_OUTER = 0.75


def best_path(logs: FloatArray, indices: ArrayLike) -> NDArray[np.intp] | None:
    """Return the most probable CTC path of a text (Viterbi).

    Args:
        logs: `(T, C)` log-probabilities.
        indices: `(N,)` classes of the text, without blanks.

    Returns:
        `(T,)`, the class of each step; None if the text does not fit into T steps.
    """
    text = np.asarray(indices, np.intp).reshape(-1)
    states = np.zeros(2 * len(text) + 1, np.intp)
    states[1::2] = text
    # A blank may be skipped between two characters that differ.
    skips = np.zeros(len(states), np.bool_)
    skips[3::2] = states[3::2] != states[1:-2:2]
    total = np.full(len(states), -np.inf)
    total[0] = 0.0  # before the first step: as after a blank
    back = np.zeros((len(logs), len(states)), np.intp)
    for step, row in enumerate(logs[:, states].astype(np.float64)):
        before = np.r_[-np.inf, -np.inf, total]
        come = np.stack([total, before[1:-1], np.where(skips, before[:-2], -np.inf)])
        back[step] = come.argmax(0)
        total = come.max(0) + row
    state = len(states) - 1
    if len(text) and total[-2] > total[-1]:
        state -= 1
    if not np.isfinite(total[state]):
        return None
    path = np.zeros(len(logs), np.intp)
    for step in range(len(logs) - 1, -1, -1):
        path[step] = states[state]
        state -= back[step, state]
    return path


def character_steps(path: ArrayLike, probabilities: ArrayLike) -> tuple[Floats, Floats]:
    """Return the time steps of a path's characters, with repeats merged and blanks dropped.

    Args:
        path: `(T,)` the class of each step.
        probabilities: `(T,)` its probability.

    Returns:
        The middle of the steps of each character, `(N,)` in steps, and the highest probability
        among them, `(N,)`.
    """
    classes, sure = np.asarray(path), np.asarray(probabilities, np.float64)
    starts = np.flatnonzero(np.diff(classes, prepend=-1))
    if not len(starts):
        return np.zeros(0), np.zeros(0)
    ends = np.append(starts[1:], len(classes))
    inked = classes[starts] != 0
    most = np.maximum.reduceat(sure, starts)
    return ((starts + ends - 1) / 2)[inked], most[inked]


def character_spans(centers: ArrayLike, text: str, end: float) -> Floats:
    """Return the column spans of a text's characters from one column of each.

    Args:
        centers: `(N,)` columns, in order.
        text: N characters.
        end: end of the columns that hold the text; they begin at 0.

    Returns:
        `(N, 2)`, the first and the last column of each within 0 and `end`, in order; each span ends
        where the next begins.
    """
    middle: Any = np.asarray(centers, np.float64)
    if not len(middle):
        return np.zeros((0, 2))
    if len(middle) == 1:
        return np.array([[0.0, end]])
    widths = np.array([character_width(character)[0] for character in text])
    steps, both = np.diff(middle), widths[:-1] + widths[1:]
    cuts = middle[:-1] + steps * widths[:-1] / both
    outer = _OUTER * 2 * steps.sum() / both.sum()
    edges = np.r_[middle[0] - outer * widths[0], cuts, middle[-1] + outer * widths[-1]]
    edges = edges.clip(0, end)
    return np.stack([edges[:-1], edges[1:]], axis=1)
