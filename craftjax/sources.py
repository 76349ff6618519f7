"""What the detector is trained on: data sets, mixed, shuffled and repeated, by position.

Every position of the endless sequence of samples is known beforehand: which data set, which of its
samples. It depends on the seed and on the settings alone, so that any part of the sequence can be
made by any host, thread or worker. Of each thousand positions every data set has its exact share,
in random order; each data set is shuffled anew for every pass over it.

A sample that cannot be used is dropped, and the next of the same data set takes its place.

Host code: no jax.
"""

from __future__ import annotations

import difflib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from craftjax.augment import AugmentOptions
from ocrjax.images import ImageError
from ocrjax.pages import PageError, Sample
from ocrjax.readers.arrayrecord import ArrayRecords
from ocrjax.readers.characters import CharacterFolder
from ocrjax.readers.icdar import LabelError
from ocrjax.readers.synthtext_index import IndexedSynthText
from ocrjax.synth.config import preset
from ocrjax.synth.pages import PageSource

KINDS = ("synthtext", "icdar", "arrayrecord", "pages")
_BLOCK = 1000  # positions in which each data set has its exact share
_ATTEMPTS = 100  # samples tried for one position
_GRACE = 10  # dropped samples that never stop a run
_ENDLESS = 1 << 62


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
class SourceOptions:
    """One data set of the mix.

    Attributes:
        kind: "synthtext": a folder with `gt.mat`; "icdar": a folder of photos, words and
            characters (`ocrjax.readers.characters`); "arrayrecord": files that `ocrjax synth`
            writes; "pages": synthetic pages, made when they are asked for.
        path: folder or file; not of "pages".
        ratio: how many samples of this data set there are to those of others.
        start: the first sample that is used.
        stop: the sample before which to stop; None uses all.
        augment: what becomes of its pictures.
        images: of "icdar": folder of the pictures below `path`.
        labels: of "icdar": folder of the words.
        characters: of "icdar": folder of the characters.
        layout: of "icdar": as for `ocrjax.readers.icdar.read_icdar`.
        dont_care: of "icdar": texts of words that do not count.
        preset: of "pages": "plain", "scene" or "words".
        page: of "pages": fields of `ocrjax.synth.config.SynthConfig` with other values.
        seed: of "pages": other pages; None takes the seed of the run.

    Raises:
        SourceError: an unknown kind, or a value out of range.
    """

    kind: str
    path: str = ""
    ratio: float = 1.0
    start: int = 0
    stop: int | None = None
    augment: AugmentOptions = field(default_factory=AugmentOptions)
    images: str = "images"
    labels: str = "gt"
    characters: str = "chars"
    layout: str = "auto"
    dont_care: tuple[str, ...] = ("###",)
    preset: str = "scene"
    page: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise SourceError(f"kind is {self.kind!r}, expected one of {', '.join(KINDS)}")
        if (self.kind == "pages") == bool(self.path):
            needs = "no path, the pages are made" if self.path else "a folder or a file"
            raise SourceError(f"path is {self.path!r} for {self.kind}, expected {needs}")
        if not 0 < self.ratio < float("inf"):
            raise SourceError(f"ratio is {self.ratio!r}, expected a positive number")
        if self.start < 0 or (self.stop is not None and self.stop <= self.start):
            raise SourceError(f"start is {self.start}, stop is {self.stop}: expected start < stop")


def fill(kind: type[Any], values: Mapping[str, Any], where: str) -> Any:
    """Makes a dataclass of a section of the config.

    Raises:
        SourceError: a name that the dataclass lacks; the nearest right one is named.
        ValueError: a value that it refuses; the message begins with `where`.
    """
    known = [one.name for one in fields(kind)]
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"expected {', '.join(known)}"
            raise SourceError(f"{where}.{name} is not known: {hint}")
    try:
        return kind(**values)
    except (ValueError, TypeError) as error:
        raise SourceError(f"{where}: {error}") from error


@dataclass(frozen=True, slots=True)
class Drop:
    """A sample that could not be used.

    Attributes:
        source: name of the data set.
        index: of the sample in it.
        name: file of the sample.
        reason: a few words to count by: "picture", "no characters", "box count", "coordinates" or
            "labels".
        error: what is wrong, in full.
    """

    source: str
    index: int
    name: str
    reason: str
    error: str


class Mix:
    """The endless sequence of samples.

    Args:
        options: of each data set, by name.
        seed: of the run.
        cache: for what is indexed once; None is the user's cache folder.

    Raises:
        SourceError: no data set, or one without samples between `start` and `stop`.
        LabelError: a data set that cannot be read.

    Attributes:
        names: of the data sets.
        options: of each.
        lengths: how many samples each has.
        shares: how many of each thousand positions each has.
    """

    def __init__(
        self, options: Mapping[str, SourceOptions], *, seed: int, cache: str | Path | None = None
    ) -> None:
        if not options:
            raise SourceError("no data set to train on: expected one or more in config.data.train")
        self.seed = seed
        self.names = list(options)
        self.options = list(options.values())
        self._samples = [_open(one, seed=seed, cache=cache) for one in self.options]
        self.lengths = []
        for name, one, samples in zip(self.names, self.options, self._samples, strict=True):
            stop = len(samples) if one.stop is None else min(one.stop, len(samples))
            if stop <= one.start:
                raise SourceError(
                    f"config.data.train.{name}: no sample from start={one.start} to "
                    f"stop={one.stop}: there are {len(samples)}"
                )
            self.lengths.append(stop - one.start)
        self.shares = _shares([one.ratio for one in self.options])
        self._bad: dict[tuple[int, int], Drop] = {}

    def sample(self, position: int) -> tuple[int, Sample, str, list[Drop]]:
        """Returns the sample of a position.

        Returns:
            Which data set it is from, the sample, its name, and what was dropped before it.

        Raises:
            TooManyDropped: one bad sample after the other.
        """
        which, place = self.pick(position)
        dropped: list[Drop] = []
        for attempt in range(_ATTEMPTS):
            index = self.index(which, place + attempt)
            known = self._bad.get((which, index))
            if known is None:
                sample = self._read(which, index)
                if isinstance(sample, Sample):
                    return which, sample, self.name(which, index), dropped
                self._bad[which, index] = known = sample
            dropped.append(known)
        by_sample = {drop.index: drop.reason for drop in dropped}
        raise TooManyDropped(
            f"{_ATTEMPTS} samples of {self.names[which]} in a row cannot be used; the last is "
            f"{dropped[-1].error}\n{_counted(Counter(by_sample.values()))}",
            dropped,
        )

    def pick(self, position: int) -> tuple[int, int]:
        """Returns which data set a position is of, and the place in its own endless sequence."""
        if len(self.shares) == 1:
            return 0, position
        block, offset = divmod(position, _BLOCK)
        order, rank = _arranged(self.seed, block, self.shares)
        which = int(order[offset])
        return which, block * self.shares[which] + int(rank[offset])

    def index(self, which: int, place: int) -> int:
        """Returns the index of a place in the endless sequence of a data set."""
        length = self.lengths[which]
        if self.options[which].kind == "pages":  # each is drawn at random, and there is no end
            return self.options[which].start + place % length
        turn, offset = divmod(place, length)
        return self.options[which].start + int(_shuffled(self.seed, which, turn, length)[offset])

    def name(self, which: int, index: int) -> str:
        """Returns the file of a sample, or what else it is called."""
        samples = self._samples[which]
        if isinstance(samples, PageSource):
            return f"page {index} of {self.names[which]}, seed {samples.seed}"
        return samples.name(index)

    def problems(self) -> dict[str, str]:
        """Fonts and backgrounds of synthetic pages that cannot be used: path to reason."""
        found: dict[str, str] = {}
        for samples in self._samples:
            if isinstance(samples, PageSource):
                found |= samples.problems
        return found

    def close(self) -> None:
        """Lets go of the files; no sample can be had any more."""
        self._samples = []

    def _read(self, which: int, index: int) -> Sample | Drop:
        options = self.options[which]
        try:
            sample: Sample = self._samples[which][index]
        except ImageError as error:
            # Backgrounds of synthetic pages are the user's choice, not data.
            if options.kind == "pages":
                raise
            return self._drop(which, index, "picture", str(error))
        except LabelError as error:
            return self._drop(which, index, error.reason, str(error))
        except PageError as error:
            return self._drop(which, index, "labels", str(error))
        words = sample.page.words
        if not any(word.care and word.characters for word in words):
            # A page that is empty on purpose teaches what is no text; one whose words were never
            # taken apart teaches nothing.
            empty = options.kind in ("pages", "arrayrecord") and not any(w.care for w in words)
            if not empty:
                name = self.name(which, index)
                return self._drop(
                    which, index, "no characters", f"{name}: none of {len(words)} words has any"
                )
        return sample

    def _drop(self, which: int, index: int, reason: str, error: str) -> Drop:
        return Drop(self.names[which], index, self.name(which, index), reason, error)


class DropLog:
    """Counts what is dropped, names each sample once in a file, and ends a run with too many.

    Args:
        path: `dropped.jsonl`; continued where it exists, written with the first drop. None writes
            nothing.
        most: the greatest share of samples that may be dropped, in [0, 1].

    Attributes:
        counts: samples by reason, each counted once.
    """

    def __init__(self, path: Path | None, *, most: float) -> None:
        self.path, self.most = path, most
        self.counts: Counter[str] = Counter()
        self._known: set[tuple[str, int]] = set()
        self._written: set[tuple[str, int]] = set()
        self._used = self._events = 0
        if path is not None and path.is_file():
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    entry = json.loads(line)
                    self._written.add((entry["source"], entry["index"]))
                except (ValueError, TypeError, KeyError):
                    continue  # a line that a killed run left unfinished

    def add(self, drops: Iterable[Drop], *, used: int) -> None:
        """Notes what was dropped on the way to some samples.

        Args:
            drops: in the order in which they were met; those known already count for the share.
            used: how many samples were found.

        Raises:
            TooManyDropped: the share is exceeded.
        """
        self._used += used
        self._events += self.note(drops)
        total = self._used + self._events
        if self._events > max(_GRACE, self.most * total):
            raise TooManyDropped(
                f"{self._events} of {total} samples could not be used, more than the share of "
                f"{self.most} that config.data.max_dropped allows: {self.summary()}"
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
            if key not in self._written:
                self._written.add(key)
                fresh.append(json.dumps(asdict(drop), ensure_ascii=False) + "\n")
        if fresh and self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.writelines(fresh)
        return events

    def summary(self) -> str:
        """One line: how many samples were dropped, by reason."""
        return _counted(self.counts)


def _counted(counts: Counter[str]) -> str:
    if not counts:
        return "no sample dropped"
    parts = ", ".join(f"{reason}: {count}" for reason, count in counts.most_common())
    return f"{counts.total()} sample{'s' * (counts.total() > 1)} dropped ({parts})"


def _open(options: SourceOptions, *, seed: int, cache: str | Path | None) -> Any:
    path = Path(options.path)
    if options.kind == "synthtext":
        return IndexedSynthText(path, cache=cache)
    if options.kind == "arrayrecord":
        return ArrayRecords(path)
    if options.kind == "icdar":
        return CharacterFolder(
            path / options.images,
            path / options.labels,
            path / options.characters,
            layout=options.layout,
            dont_care=tuple(options.dont_care),
        )
    return PageSource(
        preset(options.preset, **options.page),
        seed if options.seed is None else options.seed,
        length=_ENDLESS,
    )


def _shares(ratios: Sequence[float]) -> tuple[int, ...]:
    """Returns how many positions of a block each data set has: one at least."""
    wanted = np.array(ratios) / sum(ratios) * _BLOCK
    counts = np.maximum(np.floor(wanted).astype(int), 1)
    while counts.sum() != _BLOCK:
        step = 1 if counts.sum() < _BLOCK else -1
        lack = (wanted - counts) * step
        lack[(counts <= 1) & (step < 0)] = -np.inf
        counts[int(lack.argmax())] += step
    return tuple(counts.tolist())


@lru_cache(maxsize=16)
def _arranged(
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
def _shuffled(seed: int, which: int, turn: int, length: int) -> NDArray[np.uint32]:
    """Returns the order of a data set in one of the passes over it."""
    rng = np.random.default_rng([seed, _SHUFFLING, which, turn])
    return rng.permutation(np.arange(length, dtype=np.uint32))


# Streams of random numbers of one seed; `craftjax.input_pipeline` has another.
_MIXING, _SHUFFLING = 1, 2
