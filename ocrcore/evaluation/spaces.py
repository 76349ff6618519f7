"""Space errors in lines: missed and invented spaces.

A reading is aligned with the truth by the fewest character edits, where a space may only match a
space. Among all such alignments the one with the fewest common spaces counts: a space in another
place counts as one missed and one invented. Spaces of the truth without a match are missed, those
of the reading invented.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ocrcore.evaluation.statistics import Interval, ratio_interval


@dataclass(frozen=True, slots=True)
class SpaceErrors:
    """The spaces of a set of readings.

    Attributes:
        found: spaces of the truth that were read.
        missed: spaces of the truth that were not read.
        invented: spaces that were read where there are none.
        rate: missed and invented spaces over all three, in [0, 1]; 0 if there are none.
    """

    found: int
    missed: int
    invented: int
    rate: Interval

    def __str__(self) -> str:
        rate = self.rate
        return (
            f"space error rate {rate.value:.4f} ({rate.low:.4f} to {rate.high:.4f}): "
            f"{self.missed} of {self.found + self.missed} spaces missed, {self.invented} invented"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        rate = {"value": self.rate.value, "low": self.rate.low, "high": self.rate.high}
        counts = {"found": self.found, "missed": self.missed, "invented": self.invented}
        return {**counts, "space_error_rate": rate}


def common_spaces(truth: str, read: str) -> int:
    """Return how many spaces two texts have in common, by the alignment described above.

    Args:
        truth: the true text.
        read: the text that was read.
    """
    one, two = (unicodedata.normalize("NFC", text) for text in (truth, read))
    if one == two:
        return one.count(" ")
    # One number encodes both: an edit costs more than all possible common spaces.
    edit = 1 + min(one.count(" "), two.count(" "))
    row = [edit * place for place in range(len(two) + 1)]
    for place, a in enumerate(one, 1):
        before, row[0] = row[0], edit * place
        for column, b in enumerate(two, 1):
            least = edit + min(row[column], row[column - 1])
            if a == b:
                least = min(least, before + (a == " "))
            elif a != " " != b:
                least = min(least, before + edit)
            before, row[column] = row[column], least
    return row[-1] % edit


def space_errors(truth: Sequence[str], read: Sequence[str], *, seed: int = 0) -> SpaceErrors:
    """Count the spaces that were missed and invented.

    Args:
        truth: the true texts.
        read: the texts that were read, in the same order.
        seed: seed of the percentile bootstrap over texts.

    Raises:
        ValueError: different numbers of texts.
    """
    if len(truth) != len(read):
        raise ValueError(f"{len(truth)} true texts and {len(read)} readings: expected as many")
    counts = np.array(
        [
            (common_spaces(a, b), a.count(" "), b.count(" "))
            for a, b in zip(truth, read, strict=True)
        ],
        np.int64,
    ).reshape(-1, 3)
    found, true, seen = counts.T
    missed, invented = true - found, seen - found
    errors, whole = (missed + invented).astype(np.float64), (true + invented).astype(np.float64)
    rate = ratio_interval(errors, whole, seed=seed)
    return SpaceErrors(int(found.sum()), int(missed.sum()), int(invented.sum()), rate)
