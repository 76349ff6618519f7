"""DetEval and its ICDAR 2013 form: matching of upright boxes, where one may match many.

After C. Wolf and J.-M. Jolion, "Object count/area graphs for the evaluation of object detection and
segmentation algorithms" (IJDAR 8(4), 2006), as computed by the two localization scripts of the
Robust Reading Competition's challenge 2 (`TL2p_icdar`, `TL2p_deteval`). Boxes hold whole pixels:
their width is right - left + 1.

With recall = intersection / truth area and precision = intersection / found area of each pair:

1. A found word is "don't care" if its precision on a "don't care" truth is above 0.4.
2. One to one: recall >= 0.8 and precision >= 0.4, and this holds for no other pair of the two words
   ("don't care" words included): adds 1 to the recall sum and 1 to the precision sum. (The scripts
   also require the distance of the two centers to be below the mean of the two diagonals. For boxes
   that intersect this is always true: from either center, any point is within half a diagonal.)
3. One truth to many found: for the free found words with precision >= 0.4, the recalls sum to
   >= 0.8: adds 0.8 to the recall sum, and 0.8 for each found word to the precision sum. With only
   one such word it counts as one to one.
4. Many truths to one found: for the free truths with recall >= 0.8, the precisions sum to >= 0.4:
   adds 1 for each truth to the recall sum and 1 to the precision sum.

The sums of 3 and 4 are rounded to 4 digits. DetEval proper is stricter than the ICDAR 2013 form: 2
applies only to two words that overlap no other word that counts; 3 and 4 only to a word that
overlaps two or more. (Wolf's own program weights each truth of 4 with 0.8, the scripts with 1.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ocrcore.geometry import Bools, Floats


@dataclass(frozen=True, slots=True, eq=False)
class BoxMatch:
    """The matches of one image.

    Attributes:
        pairs: `(truth, found)`; a word may be in several.
        recall_sum: numerator of the recall; the denominator is the number of true words that count.
        precision_sum: numerator of the precision, over the number of found words that count.
        ignored: `(M,)` bool: found words that do not count.
    """

    pairs: tuple[tuple[int, int], ...]
    recall_sum: float
    precision_sum: float
    ignored: Bools


def match_boxes(
    truth: Floats,
    care: Bools,
    found: Floats,
    *,
    recall: float = 0.8,
    precision: float = 0.4,
    single: bool,
) -> BoxMatch:
    """Matches the boxes of one image.

    Args:
        truth: `(N, 4)` float64: left, top, right, bottom of the true words.
        care: `(N,)` bool; False for "don't care" words.
        found: `(M, 4)` float64: the same of the found words.
        recall: recall threshold.
        precision: precision threshold.
        single: whether to apply DetEval's stricter rules about overlaps with further words.
    """
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
    first = good & alone & care[:, None] & ~ignored
    touch = shared > 0
    touch_truth = (touch & ~ignored).sum(axis=1)
    touch_found = (touch & care[:, None]).sum(axis=0)
    if single:
        first &= (touch_truth == 1)[:, None] & (touch_found == 1)
    pairs = list(zip(*(index.tolist() for index in np.nonzero(first)), strict=True))
    free_truth = care & ~first.any(axis=1)
    free_found = ~ignored & ~first.any(axis=0)
    recall_sum = precision_sum = float(len(pairs))

    # Free words only become fewer: words that reach the limit now are the only candidates.
    gate = (filled >= precision) & free_found
    hopeful = free_truth & ((covered * gate).sum(axis=1) > recall - 1e-4)
    if single:
        hopeful &= touch_truth >= 2
    for g in np.flatnonzero(hopeful).tolist():
        chosen = _many(covered[g], gate[g] & free_found, recall)
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
        chosen = _many(filled[:, d], gate[:, d] & free_truth, precision)
        if chosen:
            free_found[d] = False
            free_truth[chosen] = False
            pairs += [(g, d) for g in chosen]
            recall_sum += len(chosen)
            precision_sum += 1.0
    return BoxMatch(tuple(pairs), recall_sum, precision_sum, ignored)


def _many(part: Floats, free: Bools, limit: float) -> list[int]:
    """Return the free words if their parts sum to the limit, otherwise none."""
    chosen: list[int] = np.flatnonzero(free).tolist()
    total = 0.0
    for index in chosen:
        total += part[index]
    return chosen if np.round(total, 4) >= limit else []
