"""Plans of batches: data sets are mixed and shuffled, and crops are grouped by width.

Each position of the endless sequence of crops determines a data set, one of its crops, and its
width (`ocrcore.data.mixing`). Positions are grouped into windows of several batches. Within a
window they are sorted by width bucket and split into batches, and the batches are shuffled. So the
rows of a batch share one of a few widths, every crop is used, and everything is still a function of
the config, the seed and the step.

For synthetic words the position determines a length class instead (`crnnjax.synthetic`).

Host code: no jax.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crnnjax.crop_index import Rules
from crnnjax.sources import RealSet, Set
from crnnjax.synthetic import CLASSES
from ocrcore.data.batches import check_step
from ocrcore.data.mixing import BLOCK, arranged, shares, shuffled

# Streams of random numbers of one seed; 1 and 2 are those of `ocrcore.data.mixing`.
WINDOWS, ROWS = 3, 4
_OTHERS = 100  # most crops of other batches of the window to try for a row


@dataclass(frozen=True, eq=False)
class Window:
    """Batches that were arranged together.

    Attributes:
        which: `(N,)`, index of each position's data set.
        number: `(N,)`, index of its crop; for synthetic crops the length class.
        inner: `(N,)`, width of the crop at the network's height; planned for synthetic crops.
        width: `(N,)`, width that the network reads, including padding.
        order: `(batches, rows)`, the positions of each batch, relative to the window's first.
        buckets: `(batches,)`, width of each batch.
    """

    which: NDArray[np.intp]
    number: NDArray[np.int64]
    inner: NDArray[np.int64]
    width: NDArray[np.int64]
    order: NDArray[np.intp]
    buckets: NDArray[np.int64]


class BatchPlan(NamedTuple):
    """The plan of a batch.

    Attributes:
        step: step of the batch.
        window: its window.
        order: `(rows,)`, positions of its rows in the window.
        bucket: its width.
    """

    step: int
    window: Window
    order: NDArray[np.intp]
    bucket: int

    def candidates(self, rank: int) -> Iterator[int]:
        """Yield positions to try for a row: its own, later ones of its batch, others."""
        yield from self.order[rank:].tolist()
        yield from self.order[:rank].tolist()
        others = np.flatnonzero(self.window.width <= self.bucket)
        yield from others[~np.isin(others, self.order)][:_OTHERS].tolist()


class BatchPlanner:
    """The endless sequence of batch plans.

    Args:
        sets: the data sets.
        ratios: proportion of each data set in the mix.
        seed: seed of the run.
        rows: rows of a batch, over all hosts.
        batches: batches of a window.
        widths: possible widths of a batch, ascending.
        rules: the rules of the data sets.
        p_reader_pad: share of crops that are padded as in EasyOCR.

    Attributes:
        shares: number of positions out of a thousand for each data set.
    """

    def __init__(
        self,
        sets: Sequence[Set],
        ratios: Sequence[float],
        *,
        seed: int,
        rows: int,
        batches: int,
        widths: Sequence[int],
        rules: Rules,
        p_reader_pad: float,
    ) -> None:
        self.sets, self.seed, self.rows, self.batches = list(sets), seed, rows, batches
        self.widths = np.array(widths)
        self.rules, self.p_reader_pad = rules, p_reader_pad
        self.shares = shares(ratios)
        self.window = lru_cache(maxsize=4)(self._window)

    def plan(self, step: int) -> BatchPlan:
        """Return the plan of the batch of a step.

        Raises:
            IndexError: the step is negative.
        """
        step = check_step(step)
        number, at = divmod(step, self.batches)
        window = self.window(number)
        return BatchPlan(step, window, window.order[at], int(window.buckets[at]))

    def describe_widths(self) -> str:
        """Return a line on the widths of the first batches."""
        window = self.window(0)
        found = Counter(window.buckets.tolist())
        parts = [f"{width}: {found[width] / self.batches:.0%}" for width in sorted(found)]
        read = window.inner[window.order].sum(axis=1) / self.rows
        idle = 1 - float(read.sum() / window.buckets.sum())
        return (
            f"widths of the first {self.batches} batches: {', '.join(parts)}; "
            f"{idle:.0%} of the columns are padding"
        )

    def _window(self, number: int) -> Window:
        """Arrange the batches of a window."""
        count = self.rows * self.batches
        start = number * count
        rng = np.random.default_rng([self.seed, WINDOWS, number])
        chance = rng.random((2, count))
        which, place = self._picks(start, start + count)
        numbers = np.zeros(count, np.int64)
        inner = np.full(count, self.rules.width, np.int64)
        width = inner.copy()
        for one, crops in enumerate(self.sets):
            mine = np.flatnonzero(which == one)
            if not len(mine):
                continue
            if not isinstance(crops, RealSet):
                kinds = np.searchsorted(CLASSES, chance[1, mine], side="right") - 1
                numbers[mine] = kinds
                if not self.rules.fixed:
                    inner[mine] = np.minimum(crops.planned[kinds], self.rules.width)
                    width[mine] = inner[mine]
                continue
            turns, offsets = np.divmod(place[mine], len(crops))
            for turn in np.unique(turns).tolist():
                those = turns == turn
                turned = shuffled(self.seed, one, turn, len(crops))
                numbers[mine[those]] = crops.filtered.kept[turned[offsets[those]]]
            if not self.rules.fixed:
                inner[mine] = crops.widths(numbers[mine])
                width[mine] = np.maximum(inner[mine], crops.least_widths(numbers[mine]))
                padded = mine[chance[0, mine] < self.p_reader_pad]
                if len(padded):
                    reader = crops.reader_widths(numbers[padded])
                    width[padded] = np.maximum(width[padded], reader)
        buckets = np.searchsorted(self.widths, width)
        if self.rules.fixed:
            order = np.arange(count).reshape(self.batches, self.rows)
        else:
            # Keep the order within a bucket, so that a crop is repeated only in another batch.
            order = np.argsort(buckets, kind="stable").reshape(self.batches, self.rows)
            # Shuffle, so that the position of a batch or a row does not depend on the width.
            order = rng.permuted(rng.permutation(order), axis=1)
        widest = self.widths[buckets[order].max(axis=1)]
        return Window(which, numbers, inner, width, order, widest)

    def _picks(self, start: int, stop: int) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
        """Data set of each position, and the place in the endless sequence of that set."""
        if len(self.shares) == 1:
            return np.zeros(stop - start, np.intp), np.arange(start, stop)
        which, place = [], []
        for block in range(start // BLOCK, (stop - 1) // BLOCK + 1):
            order, rank = arranged(self.seed, block, self.shares)
            which.append(order)
            place.append(block * np.array(self.shares)[order] + rank)
        cut = slice(start - start // BLOCK * BLOCK, stop - start // BLOCK * BLOCK)
        return np.concatenate(which)[cut], np.concatenate(place)[cut]
