"""Found words against true words: who matches whom, precision, recall and hmean.

Three protocols, by name. Their figures mean different things and never go into one column:

`iou`: ICDAR 2015's, as EasyOCR's CRAFT trainer computes it for every data set. Polygons that are not
valid in shapely's sense are dropped and count nowhere. A found word is "don't care" when more than
half of its area lies on a single "don't care" truth. Then, truth in order and found in order, the
first pair of two free words that both count and whose intersection over union is above 0.5 is a
match.

`icdar2013` and `deteval`: after C. Wolf and J.-M. Jolion, "Object count/area graphs for the
evaluation of object detection and segmentation algorithms" (IJDAR 8(4), 2006), as the two
localisation scripts of the Robust Reading Competition's challenge 2 compute it. Both compare upright
boxes of whole pixels (width = right - left + 1), so of a quad or polygon its bounding box counts.
With recall = intersection / truth area and precision = intersection / found area, of each pair:

1. A found word is "don't care" when its precision on a "don't care" truth is above 0.4.
2. One to one: recall >= 0.8 and precision >= 0.4, for no other pair of the two words (those that do
   not count included), and the distance of the two centres is below the mean of the two diagonals:
   1 to the recall sum and 1 to the precision sum.
3. One truth to many found: of the free found words with precision >= 0.4, the recalls sum to >= 0.8:
   0.8 to the recall sum, 0.8 for each found word to the precision sum. With only one such word it
   counts as one to one.
4. Many truths to one found: of the free truths with recall >= 0.8, the precisions sum to >= 0.4: 1
   for each truth to the recall sum and 1 to the precision sum.

The sums of 3 and 4 are rounded to 4 digits. `deteval` is stricter, like Wolf's own program: 2 holds
only for two words that overlap no other word that counts; 3 and 4 only for a word that overlaps two
or more. (Wolf's program weighs a truth of 4 with 0.8, the competition's scripts with 1.)

Per picture and protocol: without truth that counts, recall is 1, and precision 0 if a found word
counts, else 1. (The two scripts look at all found words there. This shows in the figures of single
pictures only.) Over pictures all sums are added before dividing; what is then undefined is 0.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import PurePath
from typing import Any

import numpy as np
import shapely
from numpy.typing import ArrayLike

from ocrjax.geometry import Bools, Floats, Ints, Outlines, box_pairs, outlines, overlaps
from ocrjax.pages import Page

Polygons = ArrayLike | Sequence[ArrayLike]

# Ratios this near to a threshold are computed again by shapely, as the original does, so that
# rounding never decides otherwise than there.
_NEAR = 1e-6


def _hmean(precision: float, recall: float) -> float:
    return 0.0 if precision + recall == 0 else 2.0 * precision * recall / (precision + recall)


@dataclass(frozen=True, slots=True)
class ImageResult:
    """What matched in one picture. Indices count the words as they were given.

    Attributes:
        pairs: `(truth, found)`; in `icdar2013` and `deteval` a word may be in several.
        truth_care: how many true words count.
        found_care: how many found words count.
        recall_sum: what recall divides by `truth_care`; in `iou` the number of pairs.
        precision_sum: what precision divides by `found_care`; in `iou` the number of pairs.
        ignored: found words that do not count, because they lie on "don't care".
        invalid_truth: true words dropped for their shape (`iou` only).
        invalid_found: found words dropped for their shape (`iou` only).
        name: of the picture, if known.
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
        """Share of the true words that were found; 1 without any."""
        return self.recall_sum / self.truth_care if self.truth_care else 1.0

    @property
    def precision(self) -> float:
        """Share of the found words that are true."""
        if not self.truth_care:
            return 0.0 if self.found_care else 1.0
        return self.precision_sum / self.found_care if self.found_care else 0.0

    @property
    def hmean(self) -> float:
        """Harmonic mean of precision and recall."""
        return _hmean(self.precision, self.recall)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain JSON values."""
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


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The scores of a set of pictures.

    Attributes:
        protocol: one of `PROTOCOLS`.
        images: one result for each picture, in order.
    """

    protocol: str
    images: tuple[ImageResult, ...]

    @property
    def truth_care(self) -> int:
        """How many true words count."""
        return sum(image.truth_care for image in self.images)

    @property
    def found_care(self) -> int:
        """How many found words count."""
        return sum(image.found_care for image in self.images)

    @property
    def recall(self) -> float:
        """Recall over all words of all pictures; 0 without true words."""
        truth = self.truth_care
        return sum(image.recall_sum for image in self.images) / truth if truth else 0.0

    @property
    def precision(self) -> float:
        """Precision over all words of all pictures; 0 without found words."""
        found = self.found_care
        return sum(image.precision_sum for image in self.images) / found if found else 0.0

    @property
    def hmean(self) -> float:
        """Harmonic mean of the two."""
        return _hmean(self.precision, self.recall)

    def counts(self) -> Floats:
        """Returns `(N, 4)`: recall sum, true words, precision sum, found words of each picture."""
        rows = [(i.recall_sum, i.truth_care, i.precision_sum, i.found_care) for i in self.images]
        return np.array(rows, np.float64).reshape(-1, 4)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain JSON values, each picture's included."""
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
        """Returns one line of JSON."""
        return json.dumps(self.to_dict(), ensure_ascii=False)


def match_iou(
    truth: Polygons,
    care: ArrayLike,
    found: Polygons,
    *,
    iou: float = 0.5,
    ignore: float = 0.5,
) -> ImageResult:
    """Matches the words of one picture by the protocol `iou`.

    Args:
        truth: the true words: `(N, 4, 2)`, or N polygons `(P, 2)`.
        care: `(N,)`; False where a true word does not count.
        found: the found words, likewise.
        iou: a pair's intersection over union must be above this.
        ignore: a found word does not count when more than this share of it lies on "don't care".
    """
    return evaluate([truth], [care], [found], protocol="iou", iou=iou, ignore=ignore).images[0]


def match_icdar2013(
    truth: Polygons,
    care: ArrayLike,
    found: Polygons,
    *,
    recall: float = 0.8,
    precision: float = 0.4,
) -> ImageResult:
    """Matches the words of one picture by the protocol `icdar2013`.

    Args:
        truth: the true words: `(N, 4, 2)`, or N polygons `(P, 2)`; their bounding boxes count.
        care: `(N,)`; False where a true word does not count.
        found: the found words, likewise.
        recall: how much of a true word must be covered.
        precision: how much of a found word must be covered.
    """
    options = {"recall": recall, "precision": precision}
    return evaluate([truth], [care], [found], protocol="icdar2013", **options).images[0]


def match_deteval(
    truth: Polygons,
    care: ArrayLike,
    found: Polygons,
    *,
    recall: float = 0.8,
    precision: float = 0.4,
) -> ImageResult:
    """Matches the words of one picture by the protocol `deteval`; see `match_icdar2013`."""
    options = {"recall": recall, "precision": precision}
    return evaluate([truth], [care], [found], protocol="deteval", **options).images[0]


def evaluate_pages(
    truth: Sequence[Page], found: Sequence[Page], *, protocol: str = "iou", **options: float
) -> Evaluation:
    """Scores found pages against true ones.

    Args:
        truth: the labels; `care` of their words says which count.
        found: the found words of the same pictures in the same order.
        protocol: one of `PROTOCOLS`.
        **options: thresholds of the protocol: see `match_iou` and `match_icdar2013`.

    Raises:
        ValueError: different numbers of pages, or two pages that are not of the same picture by
            the names of their files.
    """
    for index, (a, b) in enumerate(zip(truth, found, strict=False)):
        if a.path and b.path and a.path != b.path and PurePath(a.path).stem != PurePath(b.path).stem:
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
    **options: float,
) -> Evaluation:
    """Scores the words of many pictures; arrays instead of pages.

    Args:
        truth: for each picture its true words: `(N, 4, 2)`, or N polygons `(P, 2)`.
        care: for each picture `(N,)`; False where a true word does not count.
        found: for each picture its found words.
        protocol: one of `PROTOCOLS`.
        names: of the pictures.
        **options: thresholds of the protocol: see `match_iou` and `match_icdar2013`.

    Raises:
        ValueError: lists of different lengths, an unknown protocol, or a polygon that is none.
    """
    if protocol not in _MATCHERS:
        raise ValueError(f"unknown protocol {protocol!r}, expected one of {', '.join(PROTOCOLS)}")
    if not len(truth) == len(care) == len(found):
        raise ValueError(
            f"{len(truth)} pictures of true words, {len(care)} of care, {len(found)} of found "
            "words: expected the same number"
        )
    names = [None] * len(truth) if names is None else names
    flags = [np.asarray(item, np.bool_).reshape(-1) for item in care]
    for index, (polygons, flag) in enumerate(zip(truth, flags, strict=True)):
        if len(polygons) != len(flag):  # type: ignore[arg-type]
            raise ValueError(
                f"picture {names[index] or index}: {len(polygons)} true words "  # type: ignore[arg-type]
                f"but {len(flag)} values of care"
            )
    set_truth, set_found = _gather(truth), _gather(found)
    all_care = np.concatenate(flags) if flags else np.zeros(0, np.bool_)
    images = _MATCHERS[protocol](set_truth, all_care, set_found, names, **options)
    return Evaluation(protocol, tuple(images))


@dataclass(frozen=True, slots=True, eq=False)
class _Words:
    """The words of all pictures in one row; those of picture i are `start[i]:start[i + 1]`."""

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
    """Returns for each picture the flagged words, counted within it."""
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
    _settle(covered, ignore, a, one[dull], b, two[dull], union=False)
    ignored = np.zeros(len(b), np.bool_)
    ignored[two[dull][covered > ignore]] = True

    live = ~dull & ~ignored[two]
    one, two, shared = one[live], two[live], shared[live]
    ratio = shared / (a.areas[one] + b.areas[two] - shared)
    _settle(ratio, iou, a, one, b, two, union=True)
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
        _by_image(found, ignored), _by_image(truth, ~a.valid), _by_image(found, ~b.valid), strict=True
    )
    return [
        ImageResult(tuple(hits), g, d, float(len(hits)), float(len(hits)), *lost, name=name)
        for hits, g, d, lost, name in zip(
            pairs, truth_care, found_care, dropped, names, strict=True
        )
    ]


def _settle(
    ratio: Floats, limit: float, a: Outlines, one: Ints, b: Outlines, two: Ints, *, union: bool
) -> None:
    """Computes in place the ratios at the limit again as the original does."""
    near = np.flatnonzero(np.abs(ratio - limit) < _NEAR)
    if len(near):
        first, second = a.shapes(one[near]), b.shapes(two[near])
        whole = shapely.union(first, second) if union else second
        ratio[near] = shapely.area(shapely.intersection(first, second)) / shapely.area(whole)


def _wolf(
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
        boxes = truth.shapes.boxes[of_truth], found.shapes.boxes[of_found]
        results.append(_wolf_image(*boxes, care[of_truth], recall, precision, single, name))
    return results


def _wolf_image(
    truth: Floats,
    found: Floats,
    care: Bools,
    recall: float,
    precision: float,
    single: bool,
    name: str | None,
) -> ImageResult:
    truth_size = truth[:, 2:] - truth[:, :2] + 1
    found_size = found[:, 2:] - found[:, :2] + 1
    low = np.maximum(truth[:, None, :2], found[None, :, :2])
    high = np.minimum(truth[:, None, 2:], found[None, :, 2:])
    shared = np.maximum(high - low + 1, 0).prod(axis=2)
    covered = shared / truth_size.prod(axis=1)[:, None]  # of the truth: recall
    filled = shared / found_size.prod(axis=1)[None]  # of the found: precision

    ignored = (filled[~care] > precision).any(axis=0)
    good = (covered >= recall) & (filled >= precision)
    alone = (good.sum(axis=1) == 1)[:, None] & (good.sum(axis=0) == 1)
    live = care[:, None] & ~ignored
    touch = shared > 0
    touch_truth = (touch & ~ignored).sum(axis=1)
    touch_found = (touch & care[:, None]).sum(axis=0)
    first = good & alone & live
    if single:
        first &= (touch_truth == 1)[:, None] & (touch_found == 1)
    pairs = []
    free_truth, free_found = care.copy(), ~ignored
    for g, d in zip(*(index.tolist() for index in np.nonzero(first)), strict=True):
        apart = np.hypot(*(truth[g, :2] + truth_size[g] / 2 - found[d, :2] - found_size[d] / 2))
        diagonals = np.hypot(*truth_size[g]) + np.hypot(*found_size[d])
        if apart / diagonals * 2.0 < 1:
            pairs.append((g, d))
            free_truth[g] = free_found[d] = False
    recall_sum = precision_sum = float(len(pairs))

    def many(part: Floats, gate: Bools, free: Bools, limit: float) -> list[int]:
        """Returns the free words past the gate whose parts add up to the limit; else none."""
        chosen = np.flatnonzero(gate & free).tolist()
        total = 0.0
        for index in chosen:
            total += part[index]
        return chosen if np.round(total, 4) >= limit else []

    # What is free only shrinks: words that reach the limit now are all that can.
    gate = (filled >= precision) & free_found
    hopeful = free_truth & ((covered * gate).sum(axis=1) > recall - 1e-4)
    if single:
        hopeful &= touch_truth >= 2
    for g in np.flatnonzero(hopeful).tolist():
        chosen = many(covered[g], gate[g], free_found, recall)
        if chosen:
            free_truth[g] = False
            free_found[chosen] = False
            pairs += [(g, d) for d in chosen]
            weight = 1.0 if len(chosen) == 1 else 0.8
            recall_sum += weight
            precision_sum += weight * len(chosen)

    gate = (covered >= recall) & free_truth[:, None]
    hopeful = free_found & ((filled * gate).sum(axis=0) > precision - 1e-4)
    if single:
        hopeful &= touch_found >= 2
    for d in np.flatnonzero(hopeful).tolist():
        chosen = many(filled[:, d], gate[:, d], free_truth, precision)
        if chosen:
            free_found[d] = False
            free_truth[chosen] = False
            pairs += [(g, d) for g in chosen]
            recall_sum += len(chosen)
            precision_sum += 1.0

    return ImageResult(
        tuple(pairs),
        int(care.sum()),
        int((~ignored).sum()),
        recall_sum,
        precision_sum,
        ignored=tuple(np.flatnonzero(ignored).tolist()),
        name=name,
    )


_MATCHERS: dict[str, Callable[..., list[ImageResult]]] = {
    "iou": _iou,
    "icdar2013": partial(_wolf, single=False),
    "deteval": partial(_wolf, single=True),
}
PROTOCOLS = tuple(_MATCHERS)
"""The names that `protocol` may have."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure with its confidence interval.

    Attributes:
        value: of all pictures.
        low: lower end.
        high: upper end.
    """

    value: float
    low: float
    high: float


def bootstrap_hmean(
    evaluation: Evaluation, *, samples: int = 10_000, level: float = 0.95, seed: int = 0
) -> Interval:
    """Returns the hmean with a percentile bootstrap interval over pictures.

    Args:
        evaluation: at least one picture.
        samples: how many sets of as many pictures are drawn, with replacement.
        level: share of them inside the interval.
        seed: of the draws.
    """
    counts = evaluation.counts()
    hmeans = _resample(counts, samples=samples, seed=seed)
    return _interval(evaluation.hmean, hmeans, level)


def paired_bootstrap(
    first: Evaluation,
    second: Evaluation,
    *,
    samples: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Returns hmean of the second minus that of the first, with its interval.

    Both are computed on the same drawn pictures, so that what makes a picture hard for both does
    not widen the interval. A difference whose interval holds 0 may be chance.

    Args:
        first: of some pictures.
        second: of the same pictures in the same order, by the same protocol.
        samples: how many sets of as many pictures are drawn, with replacement.
        level: share of them inside the interval.
        seed: of the draws.

    Raises:
        ValueError: the two are not of the same pictures or not by the same protocol.
    """
    if first.protocol != second.protocol:
        raise ValueError(f"hmeans of {first.protocol} and of {second.protocol} do not compare")
    a, b = first.counts(), second.counts()
    if len(a) != len(b) or (a[:, 1] != b[:, 1]).any():
        raise ValueError(
            f"evaluations of {len(a)} pictures with {int(a[:, 1].sum())} words and of {len(b)} "
            f"with {int(b[:, 1].sum())}: expected the same pictures in the same order"
        )
    both = _resample(np.concatenate([a, b], axis=1), samples=samples, seed=seed)
    return _interval(second.hmean - first.hmean, both[:, 1] - both[:, 0], level)


def _resample(counts: Floats, *, samples: int, seed: int) -> Floats:
    """Returns hmeans `(samples, K)` of drawn pictures from counts `(N, 4 K)`."""
    number = len(counts)
    if not number or samples < 1:
        raise ValueError(f"cannot draw {samples} samples of {number} pictures")
    generator = np.random.default_rng(seed)
    sums = np.empty((samples, counts.shape[1]))
    block = max(1, 2_000_000 // number)
    for begin in range(0, samples, block):
        rows = min(block, samples - begin)
        draws = generator.integers(0, number, (rows, number), dtype=np.int32)
        draws += number * np.arange(rows, dtype=np.int32)[:, None]
        times = np.bincount(draws.reshape(-1), minlength=rows * number).reshape(rows, number)
        sums[begin : begin + rows] = times.astype(np.float64) @ counts
    sums = sums.reshape(samples, -1, 4)
    # 0 / 0 is 0, as for the pictures themselves.
    recall = sums[:, :, 0] / np.maximum(sums[:, :, 1], 1)
    precision = sums[:, :, 2] / np.maximum(sums[:, :, 3], 1)
    total = precision + recall
    return 2 * precision * recall / np.where(total == 0, 1, total)


def _interval(value: float, drawn: Floats, level: float) -> Interval:
    if not 0 < level < 1:
        raise ValueError(f"level is {level}, expected a share between 0 and 1")
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high))
