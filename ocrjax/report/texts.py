"""Comparison of labels and readings: differences and confused characters."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from rapidfuzz.distance import Levenshtein

_NOT_ALNUM = re.compile("[^0-9a-z]")


@dataclass(frozen=True, slots=True)
class Confusion:
    """Characters that are read as others.

    Attributes:
        truth: characters of the label; empty for an insertion.
        read: characters of the reading; empty for a deletion.
        count: number of occurrences.
        examples: some of the words, as `(truth, read)`.
    """

    truth: str
    read: str
    count: int
    examples: tuple[tuple[str, str], ...]


def folded(text: str, texts: str) -> str:
    """Normalize a text for comparison.

    Args:
        text: a label or a reading.
        texts: one of `ocrjax.report.data.TEXTS`.
    """
    text = unicodedata.normalize("NFC", text)
    return _NOT_ALNUM.sub("", text.lower()) if texts == "alnum" else text


def distance(truth: str, read: str) -> int:
    """Return the Levenshtein distance in code points."""
    return int(Levenshtein.distance(truth, read))


def differences(truth: str, read: str) -> list[list[str]]:
    """Align two texts; return parts in order: `[both]` if equal, else `[truth, read]`."""
    return [
        [truth[op.src_start : op.src_end]]
        if op.tag == "equal"
        else [truth[op.src_start : op.src_end], read[op.dest_start : op.dest_end]]
        for op in Levenshtein.opcodes(truth, read)
    ]


def confusions(
    pairs: Iterable[tuple[str, str]], *, most: int = 40, examples: int = 3
) -> list[Confusion]:
    """Count which characters are read as which.

    A run of several replaced characters is counted character by character.

    Args:
        pairs: labels and readings, normalized for comparison.
        most: most confusions to return.
        examples: most example words of each.

    Returns:
        The confusions, the most frequent first.
    """
    counts: dict[tuple[str, str], int] = defaultdict(int)
    words: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for truth, read in pairs:
        for op in Levenshtein.editops(truth, read):
            one = "" if op.tag == "insert" else truth[op.src_pos]
            two = "" if op.tag == "delete" else read[op.dest_pos]
            counts[one, two] += 1
            kept = words[one, two]
            if len(kept) < examples and (truth, read) not in kept:
                kept.append((truth, read))
    order = sorted(counts, key=lambda pair: (-counts[pair], pair))
    return [Confusion(*pair, counts[pair], tuple(words[pair])) for pair in order[:most]]
