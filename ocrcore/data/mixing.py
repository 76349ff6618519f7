"""How data sets are mixed, shuffled and repeated, by position; and the log of dropped samples.

Every position of the endless sequence of samples is known in advance: which data set, and which of
its samples. In each block of a thousand positions every data set has its exact share, in random
order; each data set is reshuffled for every pass over it.

Host code: no jax.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

BLOCK = 1000
"""Number of positions within which each data set has its exact share."""
_GRACE = 10  # this many dropped samples never stop a run
_MIXING, _SHUFFLING = 1, 2  # random streams derived from one seed; callers use others


class SourceError(ValueError):
    """Invalid setting of a data set; the message names it."""


class TooManyDropped(RuntimeError):
    """More samples were dropped than the config allows; the message is the summary.

    Attributes:
        drops: the samples that were not logged yet.
    """

    def __init__(self, message: str, drops: Sequence[Drop] = ()) -> None:
        super().__init__(message, drops)
        self.drops = drops

    def __str__(self) -> str:
        return str(self.args[0])


@dataclass(frozen=True, slots=True)
class Drop:
    """A sample that could not be used.

    Attributes:
        source: name of the data set.
        index: index of the sample in the data set.
        name: file of the sample.
        reason: a few words, used to group and count drops.
        error: the full error message.
    """

    source: str
    index: int
    name: str
    reason: str
    error: str


class DropLog:
    """Counts dropped samples, lists each once in a file, and stops a run with too many.

    Args:
        path: `dropped.jsonl`; appended to if it exists, created with the first drop. None writes
            nothing.
        most: largest allowed fraction of dropped samples, in [0, 1].

    Attributes:
        counts: samples by reason, each counted once; includes those of earlier starts of the run.
        undrawn: characters whose quads cannot be drawn, by reason, counted at every use.
    """

    def __init__(self, path: Path | None, *, most: float) -> None:
        self.path, self.most = path, most
        self.counts: Counter[str] = Counter()
        self.first = ""  # error of the first sample that was logged
        self.undrawn: Counter[str] = Counter()
        self._known: set[tuple[str, int]] = set()
        self._used = self._events = 0
        if path is not None and path.is_file():
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    entry = json.loads(line)
                    key, reason = (entry["source"], entry["index"]), str(entry["reason"])
                    new = key not in self._known
                except (ValueError, TypeError, KeyError):
                    continue  # a line cut off when the run was killed
                if new:
                    self._known.add(key)
                    self.counts[reason] += 1

    def add(self, drops: Iterable[Drop], *, used: int, undrawn: Counter[str] | None = None) -> None:
        """Log the drops of a batch.

        Args:
            drops: in the order encountered. A sample dropped again counts again in the fraction.
            used: how many samples were used.
            undrawn: characters of these samples that were not drawn, by reason.

        Raises:
            TooManyDropped: the allowed fraction is exceeded.
        """
        self._used += used
        self.undrawn.update(undrawn or {})
        self._events += self.note(drops)
        total = self._used + self._events
        if self._events > max(_GRACE, self.most * total):
            raise TooManyDropped(
                f"{self._events} of {total} samples could not be used, more than the fraction of "
                f"{self.most} that config.data.max_dropped allows: {counted(self.counts)}"
                + (f"; the first: {self.first}" if self.first else "")
                + (f"; listed in {self.path}" if self.path is not None else "")
            )

    def note(self, drops: Iterable[Drop]) -> int:
        """Count and list samples whatever their fraction; return the number of drops."""
        fresh = []
        events = 0
        for drop in drops:
            events += 1
            key = (drop.source, drop.index)
            if key in self._known:
                continue
            self._known.add(key)
            self.counts[drop.reason] += 1
            self.first = self.first or drop.error
            fresh.append(json.dumps(asdict(drop), ensure_ascii=False) + "\n")
        if fresh and self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.writelines(fresh)
        return events

    def summary(self) -> str:
        """Return one line: dropped samples, and characters that were not drawn, by reason."""
        line = counted(self.counts)
        if self.undrawn:
            parts = ", ".join(f"{reason}: {count}" for reason, count in self.undrawn.most_common())
            line += f"; characters not drawn (counted at every use): {parts}"
        return line


def counted(counts: Counter[str]) -> str:
    """Return one line: the number of dropped samples, by reason."""
    if not counts:
        return "no sample dropped"
    parts = ", ".join(f"{reason}: {count}" for reason, count in counts.most_common())
    return f"{counts.total()} sample{'s' * (counts.total() > 1)} dropped ({parts})"


def shares(ratios: Sequence[float]) -> tuple[int, ...]:
    """Return how many positions of a block each data set gets, at least one."""
    wanted = np.array(ratios) / sum(ratios) * BLOCK
    counts = np.maximum(np.floor(wanted).astype(int), 1)
    while counts.sum() != BLOCK:
        step = 1 if counts.sum() < BLOCK else -1
        lack = (wanted - counts) * step
        lack[(counts <= 1) & (step < 0)] = -np.inf
        counts[int(lack.argmax())] += step
    return tuple(counts.tolist())


@lru_cache(maxsize=16)
def arranged(
    seed: int, block: int, counts: tuple[int, ...]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return, for each position of a block, its data set and how many of that set come before."""
    order = np.repeat(np.arange(len(counts)), counts)
    np.random.default_rng([seed, _MIXING, block]).shuffle(order)
    rank = np.zeros_like(order)
    for which, count in enumerate(counts):
        rank[order == which] = np.arange(count)
    return order, rank


@lru_cache(maxsize=16)
def shuffled(seed: int, which: int, turn: int, length: int) -> NDArray[np.uint32]:
    """Return the order of a data set in one pass over it."""
    rng = np.random.default_rng([seed, _SHUFFLING, which, turn])
    return rng.permutation(np.arange(length, dtype=np.uint32))
