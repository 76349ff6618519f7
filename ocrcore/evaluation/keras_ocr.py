"""keras-ocr's evaluation score, for comparison with figures that were computed by it.

`keras_ocr_scores` counts like keras-ocr's `evaluation.score`: by intersection over union of boxes
and by similarity of texts. It is more lenient than `ocrcore.evaluation.end_to_end`; never put both
in one column:

* A word that is found but misread is neither a false alarm nor a miss. So precision and recall
  hardly reflect recognition errors: one word read correctly among ten misread ones gives a
  precision and a recall of 1.
* Half of a word may be wrong: texts need a similarity of 0.5.
* Matches are not one to one: one found word may match several true ones.

`KerasOcrScores.misread` is the number of words hidden by the first rule.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from rapidfuzz.distance import Levenshtein

from ocrcore.geometry import Ints, box_pairs, outlines, overlaps
from ocrcore.pages import Page

PROTOCOL = "keras_ocr"


@dataclass(frozen=True, slots=True)
class KerasOcrScores:
    """Counts over all images.

    Attributes:
        hits: true words with a found word in their place whose text is similar.
        misread: true words with found words in their place, none of which has a similar text:
            "near true positives", which neither precision nor recall counts.
        misses: true words without a found word in their place.
        false_alarms: found words that are in the place of no true word, including "don't care".
    """

    hits: int
    misread: int
    misses: int
    false_alarms: int

    @property
    def precision(self) -> float:
        """Hits over hits and false alarms; 0 without any (keras-ocr divides by zero then)."""
        return self.hits / max(1, self.hits + self.false_alarms)

    @property
    def recall(self) -> float:
        """Hits over hits and misses; 0 without any."""
        return self.hits / max(1, self.hits + self.misses)


def keras_ocr_scores(
    truth: Sequence[Page],
    read: Sequence[Page],
    *,
    fold: Callable[[str], str] = str,
    iou: float = 0.5,
    similarity: float = 0.5,
) -> KerasOcrScores:
    """Score read pages like keras-ocr's `evaluation.score`.

    As there, coordinates are first truncated to integers. (Areas of intersections are exact here;
    there, their corners are rounded to pixels as well.) Outlines that cross themselves or have no
    area match nothing.

    Args:
        truth: the labels; words with `care=False` do not count ("ignore").
        read: the readings of the same images in the same order.
        fold: normalizes texts before they are compared ("translator"); by default they are not
            changed. keras-ocr's published figures ignore case and punctuation, roughly like
            `ocrcore.text.fold`.
        iou: minimum intersection over union of words in one place.
        similarity: minimum similarity of their texts: 1 minus the edit distance over the length of
            the longer one.

    Raises:
        ValueError: lists of different lengths.
    """
    if len(truth) != len(read):
        raise ValueError(
            f"{len(truth)} labeled pages and {len(read)} that were read: expected the same images"
        )
    hits = misread = misses = false_alarms = 0
    for labeled, found in zip(truth, read, strict=True):
        true_texts = [fold(word.text or "") for word in labeled.words]
        read_texts = [fold(word.text or "") for word in found.words]
        placed: set[int] = set()
        alike: set[int] = set()
        matched: set[int] = set()
        for true, other in zip(*_at_one_place(labeled, found, iou), strict=True):
            placed.add(true)
            matched.add(other)
            close = Levenshtein.normalized_similarity(true_texts[true], read_texts[other])
            if close >= similarity:
                alike.add(true)
        counted = {index for index, word in enumerate(labeled.words) if word.care}
        hits += len(counted & alike)
        misread += len(counted & placed - alike)
        misses += len(counted - placed)
        false_alarms += len(found.words) - len(matched)
    return KerasOcrScores(hits, misread, misses, false_alarms)


def _at_one_place(truth: Page, found: Page, iou: float) -> tuple[list[int], list[int]]:
    """Return indices of true and found words whose intersection over union reaches `iou`."""
    a, b = (outlines([np.trunc(word.outline) for word in page.words]) for page in (truth, found))
    one, two = box_pairs(a.boxes, _zeros(len(a)), b.boxes, _zeros(len(b)))
    proper = a.valid[one] & b.valid[two]
    one, two = one[proper], two[proper]
    shared = overlaps(a, one, b, two)
    near = shared >= iou * (a.areas[one] + b.areas[two] - shared)
    return one[near].tolist(), two[near].tolist()


def _zeros(count: int) -> Ints:
    return np.zeros(count, np.intp)
