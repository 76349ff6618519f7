"""Which crops a batch holds and how wide it is: data sets are mixed, shuffled and sorted by width.

Every position of the endless sequence of crops is known beforehand (`ocrcore.data.mixing`): which
data set, which of its crops, and how wide that will be. Positions are taken in windows of some
batches. Within a window they are sorted by the bucket that their width falls into and cut into
batches, and the batches are shuffled. So the rows of a batch share one of a few widths, every crop
has its turn, and the whole is still a function of the configuration, the seed and the step alone.

Of synthetic words a class of lengths is known (`crnnjax.synthetic`).

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
_OTHERS = 100  # crops of other batches of the window that are tried for a row


@dataclass(frozen=True, eq=False)
class Window:
    """Some batches that were arranged together.

    Attributes:
        which: `(N,)` which data set each position is of.
        number: `(N,)` which crop of that; of synthetic ones the class of length.
        inner: `(N,)` width of the crop at the network's height; of synthetic ones what is planned.
        width: `(N,)` width that the network is to read, padding included.
        order: `(batches, rows)` the positions of each batch, counted from the window's first.
        buckets: `(batches,)` width of each batch.
    """

    which: NDArray[np.intp]
    number: NDArray[np.int64]
    inner: NDArray[np.int64]
    width: NDArray[np.int64]
    order: NDArray[np.intp]
    buckets: NDArray[np.int64]


class BatchPlan(NamedTuple):
    """What is known of a batch before it is made.

    Attributes:
        step: of the batch.
        window: that it is in.
        order: `(rows,)` positions of its rows in the window.
        bucket: its width.
    """

    step: int
    window: Window
    order: NDArray[np.intp]
    bucket: int

    def candidates(self, rank: int) -> Iterator[int]:
        """Positions for a row: its own, those of its batch after it, and others of the window."""
        yield from self.order[rank:].tolist()
        yield from self.order[:rank].tolist()
        others = np.flatnonzero(self.window.width <= self.bucket)
        yield from others[~np.isin(others, self.order)][:_OTHERS].tolist()


class BatchPlanner:
    """The endless sequence of batches, as plans.

    Args:
        sets: the data sets.
        ratios: of each, how many crops there are to those of others.
        seed: of the run.
        rows: of a batch, over all hosts.
        batches: of a window.
        widths: that a batch may have, rising.
        rules: as for the data sets.
        p_reader_pad: share of crops that are padded as EasyOCR pads them.

    Attributes:
        shares: how many of each thousand positions each data set has.
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
        """Say what the batch of a step is made of.

        Raises:
            IndexError: a step that is negative.
        """
        step = check_step(step)
        number, at = divmod(step, self.batches)
        window = self.window(number)
        return BatchPlan(step, window, window.order[at], int(window.buckets[at]))

    def describe_widths(self) -> str:
        """One line: how wide the first batches are."""
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
            # Of one bucket in their own order, so that a crop comes again in another batch only.
            order = np.argsort(buckets, kind="stable").reshape(self.batches, self.rows)
            # Where a batch stands in the window and a row in its batch tells nothing of the width.
            order = rng.permuted(rng.permutation(order), axis=1)
        widest = self.widths[buckets[order].max(axis=1)]
        return Window(which, numbers, inner, width, order, widest)

    def _picks(self, start: int, stop: int) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
        """Data set of each position, and the place in that one's own endless sequence."""
        if len(self.shares) == 1:
            return np.zeros(stop - start, np.intp), np.arange(start, stop)
        which, place = [], []
        for block in range(start // BLOCK, (stop - 1) // BLOCK + 1):
            order, rank = arranged(self.seed, block, self.shares)
            which.append(order)
            place.append(block * np.array(self.shares)[order] + rank)
        cut = slice(start - start // BLOCK * BLOCK, stop - start // BLOCK * BLOCK)
        return np.concatenate(which)[cut], np.concatenate(place)[cut]
