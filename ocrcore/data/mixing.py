"""How data sets are mixed, shuffled and repeated, by position; and what is dropped of them.

Every position of the endless sequence of samples is known beforehand: which data set, and which of
its samples. Of each thousand positions every data set has its exact share, in random order; each
data set is shuffled again for every pass over it.

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
"""Positions in which each data set has its exact share."""
_GRACE = 10  # dropped samples that never stop a run
_MIXING, _SHUFFLING = 1, 2  # streams of random numbers of one seed; others are the callers'


class SourceError(ValueError):
    """A setting of a data set that cannot be; the message names it."""


class TooManyDropped(RuntimeError):
    """More samples were dropped than the config allows; the message is the summary.

    Attributes:
        drops: those that were not noted yet.
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
        index: of the sample in it.
        name: file of the sample.
        reason: a few words to count by.
        error: what is wrong, in full.
    """

    source: str
    index: int
    name: str
    reason: str
    error: str


class DropLog:
    """Counts what is dropped, names each sample once in a file, and ends a run with too many.

    Args:
        path: `dropped.jsonl`; continued where it exists, written with the first drop. None writes
            nothing.
        most: the greatest share of samples that may be dropped, in [0, 1].

    Attributes:
        counts: samples by reason, each counted once; those of earlier starts included.
        undrawn: characters whose quads cannot be drawn, by reason, each time that they came up.
    """

    def __init__(self, path: Path | None, *, most: float) -> None:
        self.path, self.most = path, most
        self.counts: Counter[str] = Counter()
        self.first = ""  # what is wrong with the first that was noted
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
                    continue  # a line that a killed run left unfinished
                if new:
                    self._known.add(key)
                    self.counts[reason] += 1

    def add(self, drops: Iterable[Drop], *, used: int, undrawn: Counter[str] | None = None) -> None:
        """Notes what was dropped on the way to some samples.

        Args:
            drops: in the order in which they were met; those known already count for the share.
            used: how many samples were found.
            undrawn: characters of theirs that were not drawn, by reason.

        Raises:
            TooManyDropped: the share is exceeded.
        """
        self._used += used
        self.undrawn.update(undrawn or {})
        self._events += self.note(drops)
        total = self._used + self._events
        if self._events > max(_GRACE, self.most * total):
            raise TooManyDropped(
                f"{self._events} of {total} samples could not be used, more than the share of "
                f"{self.most} that config.data.max_dropped allows: {counted(self.counts)}"
                + (f"; the first: {self.first}" if self.first else "")
                + (f"; {self.path} names them" if self.path is not None else "")
            )

    def note(self, drops: Iterable[Drop]) -> int:
        """Counts and names samples, whatever their share; returns how many these are."""
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
        """One line: how many samples were dropped, and what was not drawn, by reason."""
        line = counted(self.counts)
        if self.undrawn:
            parts = ", ".join(f"{reason}: {count}" for reason, count in self.undrawn.most_common())
            line += f"; characters not drawn, each time that they came up: {parts}"
        return line


def counted(counts: Counter[str]) -> str:
    """One line: how many samples there are, by reason."""
    if not counts:
        return "no sample dropped"
    parts = ", ".join(f"{reason}: {count}" for reason, count in counts.most_common())
    return f"{counts.total()} sample{'s' * (counts.total() > 1)} dropped ({parts})"


def shares(ratios: Sequence[float]) -> tuple[int, ...]:
    """Returns how many positions of a block each data set has: one at least."""
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
    """Returns the data set of each position of a block, and how many of it are before."""
    order = np.repeat(np.arange(len(counts)), counts)
    np.random.default_rng([seed, _MIXING, block]).shuffle(order)
    rank = np.zeros_like(order)
    for which, count in enumerate(counts):
        rank[order == which] = np.arange(count)
    return order, rank


@lru_cache(maxsize=16)
def shuffled(seed: int, which: int, turn: int, length: int) -> NDArray[np.uint32]:
    """Returns the order of a data set in one of the passes over it."""
    rng = np.random.default_rng([seed, _SHUFFLING, which, turn])
    return rng.permutation(np.arange(length, dtype=np.uint32))
