"""Confidence intervals of scores: Wilson's (1927), and percentile bootstrap (Efron 1979)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ocrcore.geometry import Floats

if TYPE_CHECKING:
    from ocrcore.evaluation.matching import Evaluation


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure with its confidence interval.

    Attributes:
        value: the point estimate.
        low: lower end.
        high: upper end.
    """

    value: float
    low: float
    high: float


def wilson(hits: int, count: int, *, level: float = 0.95) -> Interval:
    """Return a proportion with Wilson's score interval; [0, 1] for a count of 0.

    Args:
        hits: number of hits.
        count: number of trials.
        level: confidence level.
    """
    if not 0 <= hits <= count:
        raise ValueError(f"{hits} hits of {count}")
    if not count:
        return Interval(0.0, 0.0, 1.0)
    z = NormalDist().inv_cdf(0.5 + level / 2)
    share = hits / count
    scale = 1 + z * z / count
    middle = (share + z * z / (2 * count)) / scale
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / scale
    # Exact at the ends, where rounding would leave a small error.
    low, high = middle - half if hits else 0.0, middle + half if hits < count else 1.0
    return Interval(share, low, high)


def paired_wilson(
    before: NDArray[np.bool_], after: NDArray[np.bool_], *, level: float = 0.95
) -> Interval:
    """Return the gain of a proportion on the same words, with its interval.

    Words that are right both times, or wrong both times, carry no information. Among the words that
    changed, Wilson's interval of the fraction that became right tells whether more did than by
    chance; a lower end above 0 corresponds to McNemar's test (1947).

    Args:
        before: `(N,)`, whether each word was right.
        after: `(N,)`, whether each word is right now.
        level: confidence level.

    Raises:
        ValueError: different numbers of words.
    """
    if before.shape != after.shape:
        raise ValueError(f"{len(before)} words before and {len(after)} after: expected the same")
    won, changed = int((after & ~before).sum()), int((after != before).sum())
    if not changed:
        return Interval(0.0, 0.0, 0.0)
    share, scale = wilson(won, changed, level=level), changed / len(before)
    return Interval(*((2 * end - 1) * scale for end in (share.value, share.low, share.high)))


def ratio_interval(
    above: NDArray[np.float64],
    below: NDArray[np.float64],
    *,
    level: float = 0.95,
    samples: int = 1000,
    seed: int = 0,
) -> Interval:
    """Return a ratio of sums, with a percentile bootstrap interval.

    Args:
        above: `(N,)`, summands of the numerator.
        below: `(N,)`, summands of the denominator; a sum of 0 is replaced by 1.
        level: confidence level.
        samples: number of bootstrap samples.
        seed: seed of the bootstrap.
    """
    count = len(above)
    value = float(above.sum() / (below.sum() or 1))
    if not count:
        return Interval(value, value, value)
    rng = np.random.default_rng(seed)
    draws = np.empty(samples)
    for sample in range(samples):
        chosen = rng.integers(0, count, count)
        draws[sample] = above[chosen].sum() / (below[chosen].sum() or 1)
    low, high = np.quantile(draws, [0.5 - level / 2, 0.5 + level / 2])
    return Interval(value, float(low), float(high))


def bootstrap_hmean(
    evaluation: Evaluation, *, samples: int = 10_000, level: float = 0.95, seed: int = 0
) -> Interval:
    """Return the hmean with a percentile bootstrap interval (Efron 1979) over images.

    Words of one image are found or missed together, so images are resampled, not words.

    Args:
        evaluation: of at least one image.
        samples: number of bootstrap samples.
        level: confidence level.
        seed: seed of the bootstrap.
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
    """Return the hmean of the second minus that of the first, with its interval.

    Both are computed on the same resampled images, so that images that are hard for both do not
    widen the interval. A difference whose interval contains 0 may be chance.

    Args:
        first: the first evaluation.
        second: of the same images in the same order, by the same protocol.
        samples: number of bootstrap samples.
        level: confidence level.
        seed: seed of the bootstrap.

    Raises:
        ValueError: the two have different images or protocols.
    """
    if first.protocol != second.protocol:
        raise ValueError(f"hmeans of {first.protocol} and of {second.protocol} do not compare")
    a, b = first.counts(), second.counts()
    if len(a) != len(b) or (a[:, 1] != b[:, 1]).any():
        raise ValueError(
            f"evaluations of {len(a)} images with {int(a[:, 1].sum())} words and of {len(b)} "
            f"with {int(b[:, 1].sum())}: expected the same images in the same order"
        )
    both = _resample(np.concatenate([a, b], axis=1), samples=samples, seed=seed)
    return _interval(second.hmean - first.hmean, both[:, 1] - both[:, 0], level)


def _resample(counts: Floats, *, samples: int, seed: int) -> Floats:
    """Return hmeans `(samples, K)` of resampled images from counts `(N, 4 K)`."""
    number = len(counts)
    if not number or samples < 1:
        raise ValueError(f"cannot draw {samples} samples of {number} images")
    generator = np.random.default_rng(seed)
    sums = np.empty((samples, counts.shape[1]))
    block = max(1, 2_000_000 // number)
    for begin in range(0, samples, block):
        rows = min(block, samples - begin)
        draws = generator.integers(0, number, (rows, number), dtype=np.int32)
        draws += number * np.arange(rows, dtype=np.int32)[:, None]
        times = np.bincount(draws.reshape(-1), minlength=rows * number).reshape(rows, number)
        sums[begin : begin + rows] = times.astype(np.float64) @ counts
    table = sums.reshape(samples, -1, 4)
    # 0 / 0 is 0, as in `Evaluation`.
    recall = table[:, :, 0] / np.maximum(table[:, :, 1], 1)
    precision = table[:, :, 2] / np.maximum(table[:, :, 3], 1)
    total = precision + recall
    return 2 * precision * recall / np.where(total == 0, 1, total)


def _interval(value: float, drawn: Floats, level: float) -> Interval:
    if not 0 < level < 1:
        raise ValueError(f"level is {level}, expected a number between 0 and 1")
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high))
