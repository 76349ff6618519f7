"""Logits to texts: greedy on the device, beam search and a lexicon on the host.

Class 0 is CTC's blank everywhere. Steps that come after an input's end count for nothing.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from crnnjax.charset import Charset, normalized
from crnnjax.options import CONFIDENCES
from ocrcore.pages import FloatArray

MAX_LEXICON_BYTES = 1 << 26
"""Larger files are refused as lexicons."""
_NEVER = -1e30  # log of 0 that stays finite under arithmetic


_log = logging.getLogger(__name__)


class LexiconError(ValueError):
    """A file that is no lexicon for a charset; the message says why."""


class Greedy(NamedTuple):
    """The most probable class of each step, collapsed. All of it is small: one transfer.

    Attributes:
        indices: `(B, T)` int32, the classes that are read, 0 after the last.
        counts: `(B,)` int32, how many.
        path: `(B, T)` int32, the most probable class of each step, 0 after the last step.
        probabilities: `(B, T)` float32, its probability, 1 after the last step.
    """

    indices: Any
    counts: Any
    path: Any
    probabilities: Any


def log_probabilities(logits: jax.Array, ignored: ArrayLike | None = None) -> jax.Array:
    """Log-softmax in float32, without the classes that may not be read.

    Leaving classes out before the softmax is EasyOCR's setting them to 0 after it and dividing by
    the rest (`easyocr/recognition.py`), without its 0 / 0.

    Args:
        logits: `(..., C)`.
        ignored: `(C,)` bool, True for classes that may not be read; blank always may.
    """
    return jax.nn.log_softmax(_open(logits, ignored), axis=-1)


def _open(logits: jax.Array, ignored: ArrayLike | None) -> jax.Array:
    logits = jnp.asarray(logits, jnp.float32)
    if ignored is None:
        return logits
    closed = jnp.asarray(ignored, jnp.bool_).at[0].set(False)
    return jnp.where(closed, _NEVER, logits)


def greedy(logits: jax.Array, steps: ArrayLike, ignored: ArrayLike | None = None) -> Greedy:
    """The best path, its repeats merged and its blanks dropped. Jit it.

    Args:
        logits: `(B, T, C)`.
        steps: `(B,)` int, how many of the T steps belong to each input.
        ignored: `(C,)` bool, classes that may not be read.
    """
    batch, length, _ = logits.shape
    real = jnp.arange(length) < jnp.asarray(steps)[:, None]
    logits = _open(logits, ignored)
    # Logits, not probabilities: near ties survive in them.
    path = jnp.where(real, logits.argmax(-1), 0).astype(jnp.int32)
    probabilities = jnp.where(real, jnp.exp(jax.nn.log_softmax(logits, axis=-1).max(-1)), 1.0)
    before = jnp.pad(path, ((0, 0), (1, 0)))[:, :-1]
    kept = (path != 0) & (path != before)
    place = jnp.where(kept, kept.cumsum(1) - 1, length)
    rows = jnp.arange(batch)[:, None]
    indices = jnp.zeros((batch, length), jnp.int32).at[rows, place].set(path, mode="drop")
    return Greedy(indices, kept.sum(1, dtype=jnp.int32), path, probabilities)


def confidence(read: Greedy, kind: str = "easyocr") -> FloatArray:
    """How sure the network is of each greedy reading, in [0, 1].

    Args:
        read: as arrays of the host.
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
    """The classes that an EasyOCR allowlist or blocklist closes; an allowlist wins.

    Args:
        characters: of the charset in the order of the classes, without the blank.
        allowlist: characters that alone may be read.
        blocklist: characters that may not be read.

    Returns:
        `(C,)` bool with the blank first, never closed; None if all may be read.

    Raises:
        ValueError: an allowlist without a single character of the charset.
    """
    if allowlist:
        closed = [character not in allowlist for character in characters]
        if all(closed):
            raise ValueError(
                f"the allowlist {''.join(allowlist)!r} has no character of the charset "
                f"{''.join(characters)!r}: nothing could be read"
            )
    elif blocklist:
        closed = [character in blocklist for character in characters]
    else:
        return None
    return np.array([False, *closed])


class Scored(NamedTuple):
    """A text as classes, with its probability.

    Attributes:
        indices: the classes, without blanks.
        log_probability: of this text, summed over all its alignments.
    """

    indices: tuple[int, ...]
    log_probability: float


def text_log_probability(logs: FloatArray, indices: Sequence[int]) -> float:
    """Log of the probability of a text: CTC's forward sum over all its alignments (Graves 2006).

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
    """Returns the module `fast_ctc_decode`.

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
    """The best text that prefix beam search finds, or the greedy one where that is better.

    Args:
        logs: `(T, C)` log-probabilities of one input's steps.
        width: how many prefixes survive each step.
        cut: classes of a lower probability are not tried at a step.

    Raises:
        ModuleNotFoundError: fast-ctc-decode is not installed.
        ValueError: a width below 1.
    """
    search = import_beam_search().beam_search
    if width < 1:
        raise ValueError(f"beam width is {width}, expected at least 1")
    best = _collapse(logs.argmax(1))
    candidates = [best]
    if len(logs):
        probabilities = np.exp(logs).astype(np.float32)
        # Each step needs a class to try; the search gives up otherwise.
        cut = min(cut, 0.5 * float(probabilities.max(1).min()))
        tried = (probabilities.max(0) >= cut) | (np.arange(logs.shape[1]) == 0)
        classes = np.flatnonzero(tried)
        text, _ = search(
            np.ascontiguousarray(probabilities[:, classes]),
            # Any distinct characters will do for the classes: they are mapped back at once.
            [chr(_PLANE + index) for index in range(len(classes))],
            beam_size=width,
            beam_cut_threshold=min(cut, 0.9 / len(classes)),  # it refuses higher ones
        )
        candidates.append(tuple(int(classes[ord(character) - _PLANE]) for character in text))
    scored = [Scored(item, text_log_probability(logs, item)) for item in dict.fromkeys(candidates)]
    return max(scored, key=lambda item: item.log_probability)


_PLANE = 0x10000  # Unicode has room for a million classes from here


def _collapse(path: NDArray[np.intp]) -> tuple[int, ...]:
    kept = (path != 0) & (path != np.concatenate([[0], path[:-1]]))
    return tuple(path[kept].tolist())


@dataclass(frozen=True, slots=True, eq=False)
class Lexicon:
    """Words as a tree of their beginnings, to find the most probable of them exactly.

    Attributes:
        words: those that can be read, in the order given, each once.
        dropped: words with a character that the charset lacks, and the empty one.
    """

    words: tuple[str, ...]
    dropped: tuple[str, ...]
    _classes: tuple[tuple[int, ...], ...]
    _symbol: NDArray[np.intp]
    _parent: NDArray[np.intp]
    _depth_end: NDArray[np.intp]
    _end: NDArray[np.intp]

    @classmethod
    def from_words(cls, words: Collection[str], characters: Sequence[str]) -> Lexicon:
        """Builds the tree.

        Args:
            words: any number, as the charset writes them (`Charset.fold`, where it is not case-
                sensitive); they are brought to NFC. 100,000 take about a second.
            characters: of the charset in the order of the classes, without the blank.

        Raises:
            ValueError: no word can be read.
        """
        index = {character: place for place, character in enumerate(characters, 1)}
        unique = list(dict.fromkeys(map(normalized, words)))
        usable = [word for word in unique if word and all(c in index for c in word)]
        if not usable:
            raise ValueError(
                f"none of the {len(unique)} words of the lexicon is made of the charset's "
                f"characters {''.join(characters)!r}"
            )
        classes = [tuple(index[character] for character in word) for word in usable]
        # Nodes by depth, so that a parent comes before its children and the first t steps touch
        # the first nodes only.
        place: dict[tuple[int, ...], int] = {(): 0}
        symbol, parent, depth_end = [0], [0], [1]
        for depth in range(1, max(map(len, classes)) + 1):
            for item in classes:
                if len(item) >= depth and (prefix := item[:depth]) not in place:
                    place[prefix] = len(symbol)
                    symbol.append(item[depth - 1])
                    parent.append(place[item[: depth - 1]])
            depth_end.append(len(symbol))
        gone = set(unique).difference(usable)
        return cls(
            words=tuple(usable),
            dropped=tuple(word for word in unique if word in gone),
            _classes=tuple(classes),
            _symbol=np.array(symbol),
            _parent=np.array(parent),
            _depth_end=np.array(depth_end),
            _end=np.array([place[item] for item in classes]),
        )

    def log_probabilities(self, logs: FloatArray) -> NDArray[np.float64]:
        """Log of the probability of every word, `(words,)`; -inf where it does not fit.

        The forward sums of CTC, shared by all words with the same beginning.

        Args:
            logs: `(T, C)` log-probabilities of one input's steps.
        """
        nodes = len(self._symbol)
        blank, inked = np.full(nodes, -np.inf), np.full(nodes, -np.inf)
        blank[0] = 0.0
        twin = self._symbol == self._symbol[self._parent]
        twin[0] = True
        for step, row in enumerate(logs.astype(np.float64)):
            reached = int(self._depth_end[min(step + 1, len(self._depth_end) - 1)])
            parent, at = self._parent[:reached], slice(0, reached)
            come = blank[parent]
            apart = ~twin[at]
            come[apart] = np.logaddexp(come[apart], inked[parent[apart]])
            come[0] = -np.inf  # nothing comes before the empty beginning
            blank_now = np.logaddexp(blank[at], inked[at]) + row[0]
            inked[at] = np.logaddexp(inked[at], come) + row[self._symbol[at]]
            blank[at] = blank_now
            inked[0] = -np.inf
        return np.asarray(np.logaddexp(blank, inked)[self._end])

    def search(self, logs: FloatArray) -> tuple[str, Scored] | None:
        """The most probable word; None if not one fits into the steps.

        Args:
            logs: `(T, C)` log-probabilities of one input's steps.
        """
        scores = self.log_probabilities(logs)
        best = int(scores.argmax())
        if scores[best] == -np.inf:
            return None
        return self.words[best], Scored(self._classes[best], float(scores[best]))


def as_lexicon(lexicon: Lexicon | str | Path | None, charset: Charset) -> Lexicon | None:
    """Reads a lexicon if it is a file: of words, one on each line, in UTF-8.

    The last few are kept as long as their files do not change.

    Args:
        lexicon: one, which is returned; the path of one; or none, which an empty path is, too.
        charset: of the recognizer; the words become as it writes them.

    Raises:
        LexiconError: no such file, another kind of file, or none of its words can be read.
    """
    if isinstance(lexicon, Lexicon):
        return lexicon
    if not lexicon:
        return None
    path = Path(lexicon)
    try:
        stat = path.stat()
        return _read_lexicon(path, charset, stat.st_size, stat.st_mtime_ns)
    except OSError as error:
        raise LexiconError(f"lexicon {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise LexiconError(f"lexicon {path}: not UTF-8: {error}") from error
    except ValueError as error:
        raise LexiconError(f"lexicon {path}: {error}") from error


@lru_cache(4)
def _read_lexicon(path: Path, charset: Charset, size: int, mtime_ns: int) -> Lexicon:
    if size > MAX_LEXICON_BYTES:
        raise ValueError(f"{size} bytes, expected words and at most {MAX_LEXICON_BYTES}")
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    words = [charset.fold(line.strip()) for line in lines if line.strip()]
    lexicon = Lexicon.from_words(words, charset.characters)
    if lexicon.dropped:
        _log.warning(
            "lexicon %s: %d of %d words have characters outside the charset and are left out, such "
            "as %r",
            *(path, len(lexicon.dropped), len(lexicon.dropped) + len(lexicon.words)),
            lexicon.dropped[0],
        )
    return lexicon


def search(
    logs: FloatArray, charset: Charset, lexicon: Lexicon | None, *, width: int = 10
) -> tuple[str, float]:
    """The best word of a lexicon, or without one the best text of a beam search.

    Args:
        logs: `(T, C)` log-probabilities of one input's steps.
        charset: of the classes.
        lexicon: its words alone may be read.
        width: of the beam.

    Returns:
        The text and its probability; nothing and 0 where no word fits into the steps.
    """
    if lexicon is None:
        found = beam_search(logs, width=width)
        return charset.decode(found.indices), math.exp(found.log_probability)
    match = lexicon.search(logs)
    return (match[0], math.exp(match[1].log_probability)) if match else ("", 0.0)
