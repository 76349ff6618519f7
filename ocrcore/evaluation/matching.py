"""Matches found words to true words: pairs, precision, recall and hmean.

There are three protocols. Their figures mean different things and never go into one column:

`iou`: ICDAR 2015's, as EasyOCR's CRAFT trainer computes it for every data set. Polygons that are
not valid in shapely's sense are dropped and count nowhere. A found word is "don't care" if more
than half of its area lies on a single "don't care" truth. Then, iterating over truth and found in
order, the first pair of two free words that both count and have an intersection over union above
0.5 is a match.

`icdar2013` and `deteval`: the two protocols of the Robust Reading Competition's focused scene text,
in which one word may match many; their rules are in `ocrcore.evaluation.deteval`.

Per image and protocol: without true words that count, recall is 1, and precision is 0 if a found
word counts, otherwise 1. (The competition's two scripts consider all found words there. This only
affects the figures of single images.) Over images all sums are added before dividing; 0 / 0 is
then 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import PurePath
from typing import Any

import numpy as np
import shapely
from numpy.typing import ArrayLike

from ocrcore.evaluation.deteval import match_boxes
from ocrcore.files import json_line
from ocrcore.geometry import Bools, Floats, Ints, Outlines, box_pairs, outlines, overlaps
from ocrcore.pages import Page

Polygons = ArrayLike | Sequence[ArrayLike]

# Ratios this close to a threshold are recomputed by shapely, as in the original, so that rounding
# never leads to a different decision.
_NEAR = 1e-6


def _hmean(precision: float, recall: float) -> float:
    return 0.0 if precision + recall == 0 else 2.0 * precision * recall / (precision + recall)


@dataclass(frozen=True, slots=True)
class ImageResult:
    """The matches of one image. Indices refer to the words as given.

    Attributes:
        pairs: `(truth, found)`; in `icdar2013` and `deteval` a word may be in several.
        truth_care: number of true words that count.
        found_care: number of found words that count.
        recall_sum: numerator of the recall over `truth_care`; in `iou` the number of pairs.
        precision_sum: numerator of the precision over `found_care`; in `iou` the number of pairs.
        ignored: found words that do not count because they lie on "don't care".
        invalid_truth: true words dropped for their shape (`iou` only).
        invalid_found: found words dropped for their shape (`iou` only).
        name: name of the image, if known.
    """

    pairs: tuple[tuple[int, int], ...]
    truth_care: int
    found_care: int
    recall_sum: float
    precision_sum: float
    ignored: tuple[int, ...] = ()
    invalid_truth: tuple[int, ...] = ()
    invalid_found: tuple[int, ...] = ()
    name: str | None = None

    @property
    def recall(self) -> float:
        """Fraction of the true words that were found; 1 if there are none."""
        return self.recall_sum / self.truth_care if self.truth_care else 1.0

    @property
    def precision(self) -> float:
        """Fraction of the found words that are true."""
        if not self.truth_care:
            return 0.0 if self.found_care else 1.0
        return self.precision_sum / self.found_care if self.found_care else 0.0

    @property
    def hmean(self) -> float:
        """Harmonic mean of precision and recall."""
        return _hmean(self.precision, self.recall)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "name": self.name,
            "precision": self.precision,
            "recall": self.recall,
            "hmean": self.hmean,
            "truth_care": self.truth_care,
            "found_care": self.found_care,
            "recall_sum": self.recall_sum,
            "precision_sum": self.precision_sum,
            "pairs": [list(pair) for pair in self.pairs],
            "ignored": list(self.ignored),
            "invalid_truth": list(self.invalid_truth),
            "invalid_found": list(self.invalid_found),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ImageResult:
        """Inverse of `to_dict`; also takes values that were saved as JSON and loaded again."""
        return cls(
            tuple((truth, found) for truth, found in values["pairs"]),
            values["truth_care"],
            values["found_care"],
            values["recall_sum"],
            values["precision_sum"],
            tuple(values["ignored"]),
            tuple(values["invalid_truth"]),
            tuple(values["invalid_found"]),
            values["name"],
        )


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The scores of a set of images.

    Attributes:
        protocol: one of `PROTOCOLS`.
        images: one result for each image, in order.
    """

    protocol: str
    images: tuple[ImageResult, ...]

    @property
    def truth_care(self) -> int:
        """Number of true words that count."""
        return sum(image.truth_care for image in self.images)

    @property
    def found_care(self) -> int:
        """Number of found words that count."""
        return sum(image.found_care for image in self.images)

    @property
    def recall(self) -> float:
        """Recall over all words of all images; 0 without true words."""
        truth = self.truth_care
        return sum(image.recall_sum for image in self.images) / truth if truth else 0.0

    @property
    def precision(self) -> float:
        """Precision over all words of all images; 0 without found words."""
        found = self.found_care
        return sum(image.precision_sum for image in self.images) / found if found else 0.0

    @property
    def hmean(self) -> float:
        """Harmonic mean of precision and recall."""
        return _hmean(self.precision, self.recall)

    def counts(self) -> Floats:
        """Return `(N, 4)`: recall sum, true words, precision sum, found words of each image."""
        rows = [(i.recall_sum, i.truth_care, i.precision_sum, i.found_care) for i in self.images]
        return np.array(rows, np.float64).reshape(-1, 4)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, including those of each image."""
        return {
            "protocol": self.protocol,
            "precision": self.precision,
            "recall": self.recall,
            "hmean": self.hmean,
            "truth_care": self.truth_care,
            "found_care": self.found_care,
            "images": [image.to_dict() for image in self.images],
        }

    def to_json(self) -> str:
        """Return one line of JSON."""
        return json_line(self.to_dict())


def match(
    truth: Polygons,
    care: ArrayLike,
    found: Polygons,
    *,
    protocol: str = "iou",
    **options: Any,
) -> ImageResult:
    """Matches the words of one image; for many, `evaluate` is faster.

    Args:
        truth: the true words: `(N, 4, 2)`, or N polygons `(P, 2)`.
        care: `(N,)`; False for "don't care" words.
        found: the found words, in the same form.
        protocol: one of `PROTOCOLS`.
        **options: thresholds of the protocol, as for `evaluate`.
    """
    return evaluate([truth], [care], [found], protocol=protocol, **options).images[0]


def evaluate_pages(
    truth: Sequence[Page], found: Sequence[Page], *, protocol: str = "iou", **options: Any
) -> Evaluation:
    """Score found pages against true ones.

    Args:
        truth: the labels; `care` of their words says which count.
        found: the found words of the same images in the same order.
        protocol: one of `PROTOCOLS`.
        **options: thresholds of the protocol, as for `evaluate`.

    Raises:
        ValueError: different numbers of pages, or two pages that are not of the same image
            according to their file names.
    """
    for index, (a, b) in enumerate(zip(truth, found, strict=False)):
        if (
            a.path
            and b.path
            and a.path != b.path
            and PurePath(a.path).stem != PurePath(b.path).stem
        ):
            raise ValueError(
                f"page {index} is {a.path} among the truth but {b.path} among the found: "
                "both lists must be in the same order"
            )
    return evaluate(
        [[word.outline for word in page.words] for page in truth],
        [[word.care for word in page.words] for page in truth],
        [[word.outline for word in page.words] for page in found],
        protocol=protocol,
        names=[page.path for page in truth],
        **options,
    )


def evaluate(
    truth: Sequence[Polygons],
    care: Sequence[ArrayLike],
    found: Sequence[Polygons],
    *,
    protocol: str = "iou",
    names: Sequence[str | None] | None = None,
    **options: Any,
) -> Evaluation:
    """Score the words of many images, given as arrays instead of pages.

    Args:
        truth: the true words of each image: `(N, 4, 2)`, or N polygons `(P, 2)`.
        care: for each image `(N,)`; False for "don't care" words.
        found: the found words of each image.
        protocol: one of `PROTOCOLS`.
        names: names of the images.
        **options: thresholds; report them with the scores if they are not the protocol's own. For
            `iou`: `iou` (0.5), which the intersection over union of a pair must exceed, and
            `ignore` (0.5), the fraction of a found word on "don't care" above which it does not
            count. For `icdar2013` and `deteval`: `recall` (0.8) and `precision` (0.4), the minimum
            fractions of the true and of the found word that the other must cover.

    Raises:
        ValueError: lists of different lengths, an unknown protocol, or an invalid polygon.
    """
    if protocol not in _MATCHERS:
        raise ValueError(f"unknown protocol {protocol!r}, expected one of {', '.join(PROTOCOLS)}")
    if not len(truth) == len(care) == len(found):
        raise ValueError(
            f"{len(truth)} images of true words, {len(care)} of care, {len(found)} of found "
            "words: expected equal numbers"
        )
    names = [None] * len(truth) if names is None else names
    flags = [np.asarray(item, np.bool_).reshape(-1) for item in care]
    for index, (polygons, flag) in enumerate(zip(truth, flags, strict=True)):
        if len(polygons) != len(flag):  # type: ignore[arg-type]
            raise ValueError(
                f"image {names[index] or index}: {len(polygons)} true words "  # type: ignore[arg-type]
                f"but {len(flag)} values of care"
            )
    set_truth, set_found = _gather(truth), _gather(found)
    all_care = np.concatenate(flags) if flags else np.zeros(0, np.bool_)
    images = _MATCHERS[protocol](set_truth, all_care, set_found, names, **options)
    return Evaluation(protocol, tuple(images))


@dataclass(frozen=True, slots=True, eq=False)
class _Words:
    """The words of all images, concatenated; image i has `start[i]:start[i + 1]`."""

    shapes: Outlines
    start: list[int]
    image: Ints


def _gather(pictures: Sequence[Polygons]) -> _Words:
    sizes = [len(polygons) for polygons in pictures]  # type: ignore[arg-type]
    start = np.concatenate([[0], np.cumsum(sizes, dtype=np.intp)])
    image = np.repeat(np.arange(len(sizes)), sizes)
    flat = [polygon for polygons in pictures for polygon in polygons]  # type: ignore[union-attr]
    return _Words(outlines(flat), start.tolist(), image)


def _by_image(words: _Words, flags: Bools) -> list[tuple[int, ...]]:
    """Return the flagged words of each image, indexed within it."""
    chosen: list[tuple[int, ...]] = [()] * (len(words.start) - 1)
    lists: dict[int, list[int]] = {}
    for index in np.flatnonzero(flags).tolist():
        image = int(words.image[index])
        lists.setdefault(image, []).append(index - words.start[image])
    for image, indices in lists.items():
        chosen[image] = tuple(indices)
    return chosen


def _iou(
    truth: _Words,
    care: Bools,
    found: _Words,
    names: Sequence[str | None],
    *,
    iou: float = 0.5,
    ignore: float = 0.5,
) -> list[ImageResult]:
    a, b = truth.shapes, found.shapes
    one, two = box_pairs(a.boxes, truth.image, b.boxes, found.image)
    proper = a.valid[one] & b.valid[two]
    if not proper.all():
        one, two = one[proper], two[proper]
    shared = overlaps(a, one, b, two)

    dull = ~care[one]
    covered = shared[dull] / b.areas[two[dull]]
    _recompute_near_limit(covered, ignore, a, one[dull], b, two[dull], union=False)
    ignored = np.zeros(len(b), np.bool_)
    ignored[two[dull][covered > ignore]] = True

    live = ~dull & ~ignored[two]
    one, two, shared = one[live], two[live], shared[live]
    ratio = shared / (a.areas[one] + b.areas[two] - shared)
    _recompute_near_limit(ratio, iou, a, one, b, two, union=True)
    match = ratio > iou
    pairs: list[list[tuple[int, int]]] = [[] for _ in names]
    taken_one: set[int] = set()
    taken_two: set[int] = set()
    for g, d in zip(one[match].tolist(), two[match].tolist(), strict=True):
        if g not in taken_one and d not in taken_two:
            taken_one.add(g)
            taken_two.add(d)
            image = int(truth.image[g])
            pairs[image].append((g - truth.start[image], d - found.start[image]))

    truth_care = np.bincount(truth.image[care & a.valid], minlength=len(names)).tolist()
    found_care = np.bincount(found.image[~ignored & b.valid], minlength=len(names)).tolist()
    dropped = zip(
        _by_image(found, ignored),
        _by_image(truth, ~a.valid),
        _by_image(found, ~b.valid),
        strict=True,
    )
    return [
        ImageResult(tuple(hits), g, d, float(len(hits)), float(len(hits)), *lost, name=name)
        for hits, g, d, lost, name in zip(
            pairs, truth_care, found_care, dropped, names, strict=True
        )
    ]


def _recompute_near_limit(
    ratio: Floats, limit: float, a: Outlines, one: Ints, b: Outlines, two: Ints, *, union: bool
) -> None:
    """Recompute in place the ratios close to the limit, as the original does."""
    near = np.flatnonzero(np.abs(ratio - limit) < _NEAR)
    if len(near):
        first, second = a.shapes(one[near]), b.shapes(two[near])
        whole = shapely.union(first, second) if union else second
        ratio[near] = shapely.area(shapely.intersection(first, second)) / shapely.area(whole)


def _deteval(
    truth: _Words,
    care: Bools,
    found: _Words,
    names: Sequence[str | None],
    *,
    recall: float = 0.8,
    precision: float = 0.4,
    single: bool,
) -> list[ImageResult]:
    results = []
    for image, name in enumerate(names):
        of_truth = slice(truth.start[image], truth.start[image + 1])
        of_found = slice(found.start[image], found.start[image + 1])
        counts = care[of_truth]
        match = match_boxes(
            truth.shapes.boxes[of_truth],
            counts,
            found.shapes.boxes[of_found],
            recall=recall,
            precision=precision,
            single=single,
        )
        results.append(
            ImageResult(
                match.pairs,
                int(counts.sum()),
                len(match.ignored) - int(match.ignored.sum()),
                match.recall_sum,
                match.precision_sum,
                ignored=tuple(np.flatnonzero(match.ignored).tolist()),
                name=name,
            )
        )
    return results


_MATCHERS: dict[str, Callable[..., list[ImageResult]]] = {
    "iou": _iou,
    "icdar2013": partial(_deteval, single=False),
    "deteval": partial(_deteval, single=True),
}
PROTOCOLS = tuple(_MATCHERS)
"""Values of `protocol`."""
