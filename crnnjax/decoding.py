"""Decoding of logits to texts: greedy on the device, beam search and lexicon on the host.

Class 0 is CTC's blank everywhere. Steps after the end of an input are ignored.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from crnnjax.charset import Charset
from crnnjax.lexicon import Lexicon, Scored
from crnnjax.options import CONFIDENCES
from ocrcore.pages import FloatArray

_NEVER = -1e30  # log of 0 that stays finite in arithmetic


class Greedy(NamedTuple):
    """A greedy reading; small arrays, for a single transfer to the host.

    Attributes:
        indices: `(B, T)` int32, the classes that are read, 0 after the last.
        counts: `(B,)` int32, the number of classes that are read.
        path: `(B, T)` int32, the most probable class of each step, 0 after the last step.
        probabilities: `(B, T)` float32, its probability, 1 after the last step.
    """

    indices: Any
    counts: Any
    path: Any
    probabilities: Any


def log_probabilities(logits: jax.Array, ignored: ArrayLike | None = None) -> jax.Array:
    """Return the log-softmax in float32, without ignored classes.

    Leaving classes out before the softmax equals EasyOCR's setting them to 0 after it and
    renormalizing (`easyocr/recognition.py`), but avoids 0 / 0.

    Args:
        logits: `(..., C)`.
        ignored: `(C,)` bool, True for classes that may not be read; never the blank.
    """
    return jax.nn.log_softmax(_open(logits, ignored), axis=-1)


def _open(logits: jax.Array, ignored: ArrayLike | None) -> jax.Array:
    logits = jnp.asarray(logits, jnp.float32)
    if ignored is None:
        return logits
    closed = jnp.asarray(ignored, jnp.bool_).at[0].set(False)
    return jnp.where(closed, _NEVER, logits)


def greedy(logits: jax.Array, steps: ArrayLike, ignored: ArrayLike | None = None) -> Greedy:
    """Return the best path with repeats merged and blanks dropped; to be jitted by the caller.

    Args:
        logits: `(B, T, C)`.
        steps: `(B,)` int, number of valid steps of each input.
        ignored: `(C,)` bool, classes that may not be read.
    """
    batch, length, _ = logits.shape
    real = jnp.arange(length) < jnp.asarray(steps)[:, None]
    logits = _open(logits, ignored)
    # argmax of logits, not of probabilities, where near ties could be rounded to ties.
    path = jnp.where(real, logits.argmax(-1), 0).astype(jnp.int32)
    probabilities = jnp.where(real, jnp.exp(jax.nn.log_softmax(logits, axis=-1).max(-1)), 1.0)
    before = jnp.pad(path, ((0, 0), (1, 0)))[:, :-1]
    kept = (path != 0) & (path != before)
    place = jnp.where(kept, kept.cumsum(1) - 1, length)
    rows = jnp.arange(batch)[:, None]
    indices = jnp.zeros((batch, length), jnp.int32).at[rows, place].set(path, mode="drop")
    return Greedy(indices, kept.sum(1, dtype=jnp.int32), path, probabilities)


def confidence(read: Greedy, kind: str = "easyocr") -> FloatArray:
    """Return the confidence of each greedy reading, in [0, 1].

    Args:
        read: readings as host arrays.
        kind: `easyocr`: the product of the probabilities of the n steps that are not blank, to the
            power of 2 / sqrt(n), and 0 without any (`custom_mean` in `easyocr/recognition.py`).
            `dtrb`: the product over all steps, blanks included (`test.py` of
            deep-text-recognition-benchmark).

    Returns:
        `(B,)` float32.
    """
    if kind not in CONFIDENCES:
        raise ValueError(f"unknown confidence {kind!r}, expected one of {', '.join(CONFIDENCES)}")
    probabilities = np.asarray(read.probabilities)
    if kind == "dtrb":
        return probabilities.prod(1, dtype=np.float32)
    inked = np.asarray(read.path) != 0
    count = inked.sum(1)
    product = np.where(inked, probabilities, 1).prod(1, dtype=np.float32)
    power = product.astype(np.float64) ** (2.0 / np.sqrt(np.maximum(count, 1)))
    return np.where(count > 0, power, 0).astype(np.float32)


def ignored_classes(
    characters: Sequence[str],
    *,
    allowlist: Collection[str] | None = None,
    blocklist: Collection[str] | None = None,
) -> NDArray[np.bool_] | None:
    """Return the classes that an EasyOCR allowlist or blocklist excludes; an allowlist wins.

    Args:
        characters: characters of the charset in the order of the classes, without the blank.
        allowlist: the only characters that may be read.
        blocklist: characters that may not be read.

    Returns:
        `(C,)` bool with the blank first, never excluded; None if all may be read.

    Raises:
        ValueError: the allowlist has no character of the charset.
    """
    if allowlist:
        closed = [character not in allowlist for character in characters]
        if all(closed):
            raise ValueError(
                f"the allowlist {''.join(allowlist)!r} has no character of the charset "
                f"{''.join(characters)!r}, so nothing could be read"
            )
    elif blocklist:
        closed = [character in blocklist for character in characters]
    else:
        return None
    return np.array([False, *closed])


def text_log_probability(logs: FloatArray, indices: Sequence[int]) -> float:
    """Return the log-probability of a text: CTC's forward sum over alignments (Graves 2006).

    Args:
        logs: `(T, C)` log-probabilities.
        indices: classes of the text, without blanks.

    Returns:
        -inf if the text does not fit into T steps.
    """
    states = np.zeros(2 * len(indices) + 1, np.intp)
    states[1::2] = indices
    emit = logs[:, states].astype(np.float64)
    # A blank may be skipped between two characters that differ.
    skips = np.zeros(len(states), np.bool_)
    skips[3::2] = states[3::2] != states[1:-2:2]
    total = np.full(len(states), -np.inf)
    total[0] = 0.0  # before the first step: as after a blank
    for row in emit:
        come = total.copy()
        come[1:] = np.logaddexp(come[1:], total[:-1])
        come[2:] = np.where(skips[2:], np.logaddexp(come[2:], total[:-2]), come[2:])
        total = come + row
    return float(np.logaddexp.reduce(total[-2:]))


def import_beam_search() -> Any:
    """Return the module `fast_ctc_decode`.

    Raises:
        ModuleNotFoundError: it is not installed; the message says what to do.
    """
    try:
        import fast_ctc_decode
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "beam search needs the package fast-ctc-decode: pip install 'ocrjax[beam-search]'"
        ) from error
    return fast_ctc_decode


def beam_search(logs: FloatArray, *, width: int = 10, cut: float = 1e-3) -> Scored:
    """Return the best text of a prefix beam search, or the greedy text if that is better.

    Args:
        logs: `(T, C)` log-probabilities of one input's steps.
        width: beam width, the number of prefixes kept at each step.
        cut: classes with a lower probability are not tried at a step.

    Raises:
        ModuleNotFoundError: fast-ctc-decode is not installed.
        ValueError: the width is below 1.
    """
    search = import_beam_search().beam_search
    if width < 1:
        raise ValueError(f"beam width is {width}, expected at least 1")
    best = _collapse(logs.argmax(1))
    candidates = [best]
    if len(logs):
        probabilities = np.exp(logs).astype(np.float32)
        # Each step needs at least one class to try; otherwise the search gives up.
        cut = min(cut, 0.5 * float(probabilities.max(1).min()))
        tried = (probabilities.max(0) >= cut) | (np.arange(logs.shape[1]) == 0)
        classes = np.flatnonzero(tried)
        text, _ = search(
            np.ascontiguousarray(probabilities[:, classes]),
            # Any distinct characters can stand for the classes: they are mapped back at once.
            [chr(_PLANE + index) for index in range(len(classes))],
            beam_size=width,
            beam_cut_threshold=min(cut, 0.9 / len(classes)),  # higher thresholds are refused
        )
        candidates.append(tuple(int(classes[ord(character) - _PLANE]) for character in text))
    scored = [Scored(item, text_log_probability(logs, item)) for item in dict.fromkeys(candidates)]
    return max(scored, key=lambda item: item.log_probability)


_PLANE = 0x10000  # from here Unicode has a million code points for classes


def _collapse(path: NDArray[np.intp]) -> tuple[int, ...]:
    kept = (path != 0) & (path != np.concatenate([[0], path[:-1]]))
    return tuple(path[kept].tolist())


def search(
    logs: FloatArray, charset: Charset, lexicon: Lexicon | None, *, width: int = 10
) -> tuple[str, float]:
    """Return the best word of a lexicon, or without one the best text of a beam search.

    Args:
        logs: `(T, C)` log-probabilities of one input's steps.
        charset: charset of the classes.
        lexicon: the only words that may be read; None for any text.
        width: beam width.

    Returns:
        The text and its probability; an empty text and 0 if no word fits into the steps.
    """
    if lexicon is None:
        found = beam_search(logs, width=width)
        return charset.decode(found.indices), math.exp(found.log_probability)
    match = lexicon.search(logs)
    return (match[0], math.exp(match[1].log_probability)) if match else ("", 0.0)
