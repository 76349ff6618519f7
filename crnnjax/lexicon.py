"""Lexicons: decoding restricted to given words.

Host code: no jax.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crnnjax.charset import Charset, normalized
from ocrcore.files import check_regular
from ocrcore.pages import FloatArray

MAX_LEXICON_BYTES = 1 << 26
"""Size limit of a lexicon file."""

_log = logging.getLogger(__name__)


class LexiconError(ValueError):
    """A file that cannot be used as a lexicon with a charset; the message says why."""


class Scored(NamedTuple):
    """A text as classes, with its probability.

    Attributes:
        indices: the classes, without blanks.
        log_probability: of this text, summed over all its alignments.
    """

    indices: tuple[int, ...]
    log_probability: float


@dataclass(frozen=True, slots=True, eq=False)
class Lexicon:
    """Words as a prefix tree, to find the most probable word exactly.

    Attributes:
        words: the words that can be read, in the given order, each once.
        dropped: words with a character outside the charset, and the empty word.
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
        """Build the tree.

        Args:
            words: any number of words, as the charset writes them (`Charset.fold` if it is
                case-insensitive); they are normalized to NFC. 100,000 take about a second.
            characters: characters of the charset in the order of the classes, without the blank.

        Raises:
            ValueError: no word can be read with the charset.
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
        # Nodes ordered by depth, so that a parent comes before its children and the first t steps
        # only touch the first nodes.
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
        """Return the log-probability of every word, `(words,)`; -inf for words that do not fit.

        These are CTC's forward sums, shared by all words with the same prefix.

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
            come[0] = -np.inf  # nothing precedes the empty prefix
            blank_now = np.logaddexp(blank[at], inked[at]) + row[0]
            inked[at] = np.logaddexp(inked[at], come) + row[self._symbol[at]]
            blank[at] = blank_now
            inked[0] = -np.inf
        return np.asarray(np.logaddexp(blank, inked)[self._end])

    def search(self, logs: FloatArray) -> tuple[str, Scored] | None:
        """Return the most probable word; None if no word fits into the steps.

        Args:
            logs: `(T, C)` log-probabilities of one input's steps.
        """
        scores = self.log_probabilities(logs)
        best = int(scores.argmax())
        if scores[best] == -np.inf:
            return None
        return self.words[best], Scored(self._classes[best], float(scores[best]))


def as_lexicon(lexicon: Lexicon | str | Path | None, charset: Charset) -> Lexicon | None:
    """Return a lexicon; read it if it is a file of words, one per line, in UTF-8.

    The last few lexicons are cached as long as their files do not change.

    Args:
        lexicon: a lexicon, which is returned; the path of one; or None. An empty path means None.
        charset: charset of the recognizer; the words are converted to its form.

    Raises:
        LexiconError: there is no such file, it is not a lexicon, or none of its words can be read.
    """
    if isinstance(lexicon, Lexicon):
        return lexicon
    if not lexicon:
        return None
    path = Path(lexicon)
    try:
        check_regular(path)
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
        raise ValueError(f"{size} bytes, expected words with at most {MAX_LEXICON_BYTES} bytes")
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
