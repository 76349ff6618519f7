"""Metrics of recognition: word accuracy, 1-NED and CER, with intervals.

Strings are compared in NFC. Distances are Levenshtein distances in code points.

Word accuracy: the share of words whose reading equals the truth; with `alnum` after both are
normalized as in `test.py` of deep-text-recognition-benchmark: lower case, only 0-9 and a-z. (A
truth without any of these becomes the empty text; such words are counted, as in `test.py`, and
their number is reported.)

1-NED: the mean over words of 1 - distance / length of the longer text, as defined by ICDAR 2019's
challenges and `test.py`. If one of the two is empty it is 0. If both are empty it is 1 here,
because nothing was to be read; `test.py` gives 0.

CER: the sum of all distances over the sum of the true lengths; it can exceed 1. If there are no
true characters, it is divided by 1.

Intervals: Wilson's (1927) for shares of words, percentile bootstrap (Efron 1979) over words for the
others.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import Levenshtein

from ocrcore.evaluation.statistics import Interval, ratio_interval, wilson
from ocrcore.text import fold

SCORES = ("accuracy", "alnum_accuracy", "one_minus_ned", "cer")
"""Names of the scores, which are methods of `TextScores`."""


@dataclass(frozen=True, slots=True, eq=False)
class TextScores:
    """The scores of readings of one set of words.

    Attributes:
        truth: the labels, in NFC.
        read: the readings, in NFC.
        distances: `(N,)` int, Levenshtein distance of each pair.
    """

    truth: tuple[str, ...]
    read: tuple[str, ...]
    distances: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.truth)

    def right(self, *, alnum: bool = False) -> NDArray[np.bool_]:
        """Return whether each word equals the truth, `(N,)`; with `alnum` after `fold`."""
        if not alnum:
            return self.distances == 0
        pairs = zip(self.truth, self.read, strict=True)
        return np.array([fold(one) == fold(two) for one, two in pairs], np.bool_)

    def accuracy(self) -> Interval:
        """Return the share of words that equal the truth, case-sensitive."""
        return wilson(int(self.right().sum()), len(self))

    def alnum_accuracy(self) -> Interval:
        """Return the share of words that equal the truth after `fold`."""
        return wilson(int(self.right(alnum=True).sum()), len(self))

    def closeness(self) -> NDArray[np.float64]:
        """Return 1 - NED of each word, `(N,)`."""
        pairs = zip(self.truth, self.read, strict=True)
        longer = np.array([max(len(one), len(two), 1) for one, two in pairs], np.float64)
        return 1 - self.distances / longer.reshape(-1)

    def one_minus_ned(self, *, seed: int = 0) -> Interval:
        """Return the mean of `closeness`."""
        return ratio_interval(self.closeness(), np.ones(len(self)), seed=seed)

    def cer(self, *, seed: int = 0) -> Interval:
        """Return the character error rate."""
        lengths = np.array([len(text) for text in self.truth], np.float64).reshape(-1)
        return ratio_interval(self.distances.astype(np.float64), lengths, seed=seed)

    def intervals(self) -> dict[str, Interval]:
        """Return all `SCORES` by name."""
        return {name: getattr(self, name)() for name in SCORES}

    def worst(self, count: int) -> list[int]:
        """Return the indices of the worst wrong readings, by `closeness`, then distance."""
        wrong = np.flatnonzero(self.distances > 0)
        order = np.lexsort((wrong, -self.distances[wrong], self.closeness()[wrong]))
        return [int(index) for index in wrong[order][:count]]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values: each score as value, low and high; no single words."""
        return {
            "count": len(self),
            "without_alnum": sum(not fold(text) for text in self.truth),
            **{
                name: {"value": score.value, "low": score.low, "high": score.high}
                for name, score in self.intervals().items()
            },
        }


def score_texts(truth: Sequence[str], read: Sequence[str]) -> TextScores:
    """Compare readings with the truth.

    Args:
        truth: the labels.
        read: the readings, in the same order.

    Raises:
        ValueError: the numbers differ.
    """
    if len(truth) != len(read):
        raise ValueError(
            f"{len(truth)} true texts and {len(read)} readings: expected equal numbers"
        )
    one = tuple(unicodedata.normalize("NFC", text) for text in truth)
    two = tuple(unicodedata.normalize("NFC", text) for text in read)
    distances = [Levenshtein.distance(a, b) for a, b in zip(one, two, strict=True)]
    return TextScores(one, two, np.array(distances, np.int64).reshape(-1))


def pooled(sets: Iterable[TextScores]) -> TextScores:
    """Return the scores of all words of several sets together."""
    sets = list(sets)
    return TextScores(
        tuple(text for one in sets for text in one.truth),
        tuple(text for one in sets for text in one.read),
        np.concatenate([np.zeros(0, np.int64), *(one.distances for one in sets)]),
    )


def format_scores(sets: dict[str, TextScores]) -> str:
    """Return a table with one set per line; each score with its 95 % interval."""
    width = max([len(name) for name in sets] + [4])
    head = f"{'set':{width}}  words  accuracy" + " " * 19 + "alphanumeric" + " " * 15
    lines = [head + "1-NED" + " " * 22 + "CER"]
    for name, scores in sets.items():
        cells = [
            f"{score.value:.4f} ({score.low:.4f} to {score.high:.4f})"
            for score in scores.intervals().values()
        ]
        lines.append(f"{name:{width}}  {len(scores):5d}  " + "  ".join(cells))
    return "\n".join(lines)
