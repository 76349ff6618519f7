"""Training on words alone: when pseudo labels are made, by which teacher, and when to stop that.

Steps are divided into periods of equal length, usually a pass over the word-labelled pages. The
labels of all pages that a period draws are made at its beginning, by one teacher, and kept in
`pseudo/STEP.npz` in the run's folder; the loader only reads them. Which pages those are follows
from the seed and the steps. A run that was killed reads the labels of its period again, or makes
them again from the same weights.

A teacher that learns from its own mistakes gets worse, and nothing in the loss tells. `judge`
compares new labels with the first ones, which the start weights have made, and evaluations with the
best one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax
from jax.experimental import multihost_utils

from craftjax.input_pipeline import Batch, BatchSource
from craftjax.label_set import LabelSet, join, make
from craftjax.labelling import UNREADABLE, Labelled, Labeller
from craftjax.models import CRAFT
from craftjax.pseudo_labels import PseudoOptions
from craftjax.sources import ATTEMPTS
from ocrjax.ahead import iterate
from ocrjax.mixing import SourceError, fill
from ocrjax.pages import Sample
from ocrjax.runtime.checkpoints import RunCheckpoints
from ocrjax.runtime.mesh import is_main, make_mesh
from ocrjax.runtime.state import TrainState

# The mean region score of a crop above which there is nothing but text in it; the targets of a
# word's characters have .46.
_ALL_TEXT = 0.8

TEACHERS = ("ema", "copy", "fixed")
Stats = Mapping[str, float]


class CollapseError(ValueError):
    """The first pseudo labels are of no use; the message says what the teacher does not see."""


@dataclass(frozen=True, slots=True)
class GuardOptions:
    """What counts as a collapse: the section `config.pseudo.guard`.

    Attributes:
        confidence: least mean confidence of new labels, as a share of that of the first ones.
        mass: least mean region score of the crops, likewise. That it rises is what training is for,
            where the start weights see words faintly; above .8 a teacher takes all for text, which
            counts, too. 0 turns off both.
        equal: greatest share of words that are split without the scores.
        hmean: least hmean of an evaluation, as a share of the best one.

    Raises:
        ValueError: a share outside of [0, 1].
    """

    confidence: float = 0.8
    mass: float = 0.5
    equal: float = 0.5
    hmean: float = 0.5

    def __post_init__(self) -> None:
        for one in fields(self):
            if not 0 <= getattr(self, one.name) <= 1:
                raise ValueError(f"{one.name} is {getattr(self, one.name)!r}, expected 0 to 1")


@dataclass(frozen=True, slots=True)
class SupervisionOptions:
    """The section `config.pseudo`, in which fields of `PseudoOptions` stand, too.

    Attributes:
        teacher: "ema": the moving average of the network; "copy": the network itself, as the
            original's; "fixed": the start weights, so that each page is labelled once.
        every: steps from one labelling to the next; 0 for a pass over the largest word-labelled
            data set.
        chunk: most pages that are labelled at once; the period is made shorter for it. 0 for any.
        batch_size: as for `craftjax.labelling.Labeller`.
        threads: likewise.
        guard: what counts as a collapse.
        labels: how words are cropped and cut.

    Raises:
        ValueError: a value out of range.
    """

    teacher: str = "ema"
    every: int = 0
    chunk: int = 0
    batch_size: int | None = None
    threads: int = 2
    guard: GuardOptions = field(default_factory=GuardOptions)
    labels: PseudoOptions = field(default_factory=PseudoOptions)

    def __post_init__(self) -> None:
        if self.teacher not in TEACHERS:
            raise ValueError(f"teacher is {self.teacher!r}, expected one of {', '.join(TEACHERS)}")
        for name in ("every", "chunk"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}, expected 0 or more")
        for name in ("threads", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}, expected 1 or more")

    @classmethod
    def from_config(cls, section: Mapping[str, Any]) -> SupervisionOptions:
        """Reads `config.pseudo`.

        Raises:
            SourceError: an unknown field, with the nearest right one, or an impossible value.
        """
        values = dict(section.items())
        guard = fill(GuardOptions, dict(values.pop("guard", {}).items()), "config.pseudo.guard")
        own = {one.name for one in fields(cls)} - {"labels", "guard"}
        mine = {name: values.pop(name) for name in own & set(values)}
        labels = fill(PseudoOptions, values, "config.pseudo")
        if labels.method == "watershed" and find_spec("skimage") is None:
            raise SourceError(
                "config.pseudo.method is 'watershed', which needs scikit-image: pip install "
                '"ocrjax[watershed]"'
            )
        options: SupervisionOptions = fill(
            cls, {**mine, "guard": guard, "labels": labels}, "config.pseudo"
        )
        return options


def judge(stats: Stats, first: Stats | None, options: GuardOptions) -> list[str]:
    """What is wrong with new labels; empty where nothing is.

    Args:
        stats: of `LabelSet.stats`.
        first: those of the first labels of the run; None for these themselves.
        options: thresholds.
    """
    if not stats["words"]:
        return ["no word could be labelled"]
    found = []
    if stats["equal"] > options.equal:
        found.append(
            f"{stats['equal']:.0%} of the words were split without the scores, which say too "
            f"little (guard.equal is {options.equal:g})"
        )
    if options.mass and stats["mass"] > _ALL_TEXT:
        found.append(
            f"the mean region score of words is {stats['mass']:.3f}: everything is taken for text, "
            "between the characters, too"
        )
    if first is None or not first["words"]:
        return found
    if stats["confidence"] < options.confidence * first["confidence"]:
        found.append(
            f"the mean confidence is {stats['confidence']:.3f}, after {first['confidence']:.3f} of "
            f"the first labels (guard.confidence is {options.confidence:g})"
        )
    if stats["mass"] < options.mass * first["mass"]:
        found.append(
            f"the mean region score of words is {stats['mass']:.3f}, after {first['mass']:.3f} "
            f"(guard.mass is {options.mass:g})"
        )
    return found


@dataclass(frozen=True)
class _Memory:
    """What a run must know of its labels to go on; periods are named by their first step.

    Attributes:
        first: statistics of the first labels.
        used: the period whose labels are in use.
        best: the one whose labels were in use at the best evaluation.
        collapsed: why no labels are made any more.
        since: from which step on those of `used` are trained on, for good.
    """

    first: dict[str, float] | None = None
    used: int = 0
    best: int = 0
    collapsed: str | None = None
    since: int = 0


class WeakSupervision:
    """Makes pseudo labels on schedule and hands them to the loader.

    Args:
        options: `config.pseudo`.
        source: the loader, whose word-labelled pages are labelled.
        model: the network.
        folder: takes the files of labels; on several hosts all see it.
        start: gives the start weights, for a "fixed" teacher.
        run: what the run's checkpoints keep beside the state; `pseudo` is added.
        checkpoints: of the run; the labels that they go on with are not removed.
        say: takes lines for people.

    Raises:
        SourceError: no word-labelled data set.

    Attributes:
        log: takes a step and numbers.
    """

    def __init__(
        self,
        options: SupervisionOptions,
        *,
        source: BatchSource,
        model: CRAFT,
        folder: Path,
        start: Callable[[], Mapping[str, Any]],
        run: dict[str, Any],
        checkpoints: RunCheckpoints,
        say: Callable[[str], object] = print,
    ) -> None:
        self.options, self.folder = options, Path(folder)
        self._source, self._start, self._say = source, start, say
        self.log: Callable[[int, dict[str, float]], object] = lambda step, values: None
        self._run, self._checkpoints = run, checkpoints
        self._state: TrainState | None = None
        self._labeller = Labeller(
            model,
            mesh=make_mesh(jax.local_devices()),
            options=options.labels,
            batch_size=options.batch_size,
            threads=options.threads,
        )
        self.length = _period(options, source)
        if "pseudo" not in self._run:  # a new run, to which no older labels belong
            self._run["pseudo"] = asdict(_Memory())
            if is_main():
                for path in self.folder.glob("*.npz"):
                    path.unlink()

    @property
    def _memory(self) -> _Memory:
        return _Memory(**self._run["pseudo"])

    def _remember(self, **changes: Any) -> None:
        # A new object each time: a checkpoint may still be writing the old one.
        self._run["pseudo"] = {**self._run["pseudo"], **changes}

    @property
    def collapsed(self) -> str | None:
        """Why no labels are made any more; None while they are."""
        return self._memory.collapsed

    def follow(self, state: TrainState) -> None:
        """Takes the state before each batch is asked for; the teacher is made of it."""
        self._state = state

    def path(self, start: int) -> Path:
        """The file with the labels of the period that begins with a step."""
        return self.folder / f"{start:08}.npz"

    def period(self, step: int) -> tuple[int, int]:
        """The first step of a step's period, and of the one after it."""
        start = step // self.length * self.length
        return start, start + self.length

    def batches(self, first: int, *, threads: int, workers: int) -> Generator[Batch, None, None]:
        """Yields batches from a step on, and makes labels in between; close it when done.

        Args:
            first: updates made so far.
            threads: as for `ocrjax.ahead.iterate`.
            workers: likewise.

        Raises:
            CollapseError: the first labels are of no use.
        """
        step: int | None = first
        while step is not None:
            stop = self.prepare(step)
            made = iterate(self._source, step, stop_step=stop, threads=threads, workers=workers)
            with closing(made):
                yield from made
            step = stop

    def prepare(self, step: int) -> int | None:
        """Sees to it that the loader has the labels of a step.

        Returns:
            The step that needs other labels; None where there will be no others.

        Raises:
            CollapseError: the first labels are of no use.
        """
        memory = self._memory
        if memory.collapsed is not None and step >= memory.since:
            self._source.use_labels(self.path(memory.used), only=True)
            return None
        start, stop = self.period(step)
        path = self.path(start)
        if not (path.is_file() and self._serves(path, start, stop)):
            if step != start:
                what = "has not all pages" if path.is_file() else "is missing"
                self._say(
                    f"{path} {what}: its pseudo labels are made from the weights of step "
                    f"{step}, so that this run does not repeat exactly"
                )
            self._make(step, start, stop)
        stats = LabelSet.load(path).stats()
        reasons = judge(stats, memory.first, self.options.guard)
        if memory.collapsed is not None:  # by an evaluation; this period began before
            self._source.use_labels(path)
            return stop
        if memory.first is None:
            if reasons:
                path.unlink(missing_ok=True)
                raise CollapseError(
                    f"the first pseudo labels are of no use: {'; '.join(reasons)}. The teacher "
                    "does not see these words: do their boxes lie on them (--mode=audit)? If so, "
                    "start from weights that find text (config.init_weights)"
                )
            self._remember(first=stats)
        elif reasons:
            self._collapse(step, reasons, used=memory.used, since=step)
            return self.prepare(step)
        self._remember(used=start)
        self._source.use_labels(path)
        self._prune(start)
        return stop

    def evaluated(self, step: int, hmean: float, *, best: float) -> None:
        """Notes an evaluation; one far below the best ends the making of labels.

        Args:
            step: updates made so far.
            hmean: of this evaluation.
            best: the highest so far, this one included.
        """
        memory = self._memory
        if hmean >= best:
            self._remember(best=memory.used)
        elif memory.collapsed is None and hmean < self.options.guard.hmean * best:
            reason = (
                f"hmean is {hmean:.4f}, after {best:.4f} at best (guard.hmean is "
                f"{self.options.guard.hmean:g})"
            )
            # Batches with the present labels are made already, so these are used up. Those of the
            # next ones are not made yet where a period ends with this step.
            start, stop = self.period(step)
            since = step if step == start else stop
            self._collapse(step, [reason], used=memory.best, since=since)

    def _collapse(self, step: int, reasons: list[str], *, used: int, since: int) -> None:
        why = "; ".join(reasons)
        self._remember(collapsed=why, since=since, used=used)
        self._say(
            f"step {step}: COLLAPSE: {why}. No pseudo labels are made any more: from step {since} "
            f"on the run trains on those of step {used}. The best checkpoint is kept"
        )
        self.log(step, {"labels/collapsed": 1.0})

    def _make(self, step: int, start: int, stop: int) -> None:
        """Labels all pages of a period and writes their file."""
        begin = time.perf_counter()
        known = self._known(start)
        mine = self._label(self._teacher(step), start, stop, known)
        path = self.path(start)
        if jax.process_count() == 1:
            (join([known, mine]) if known else mine).save(path)
        else:  # each has labelled a share of the pages
            parts = [path.with_suffix(f".{part}") for part in range(jax.process_count())]
            mine.save(parts[jax.process_index()])
            multihost_utils.sync_global_devices("craftjax labels made")
            if is_main():
                join([*([known] if known else []), *map(LabelSet.load, parts)]).save(path)
                for part in parts:
                    part.unlink()
            multihost_utils.sync_global_devices("craftjax labels written")
        seconds = time.perf_counter() - begin
        labels = LabelSet.load(path)
        stats = labels.stats()
        made = len(labels.words) - (len(known.words) if known else 0)
        numbers = {**stats, "pages": len(labels.pages), "made": made, "seconds": seconds}
        self.log(step, {f"labels/{name}": float(value) for name, value in numbers.items()})
        shown = "  ".join(f"{name} {stats[name]:.3f}" for name in stats if name != "words")
        self._say(
            f"step {step}: {made:,} words labelled in {seconds:.1f} s ({made / seconds:.3g} a "
            f"second, {self._labeller.programs} programs), {len(labels.words):,} on "
            f"{len(labels.pages):,} pages: {shown}"
        )

    def _teacher(self, step: int) -> Mapping[str, Any]:
        state = self._state
        assert state is not None  # `follow` comes before each batch
        if self.options.teacher == "fixed" and step:
            return self._start()
        average = state.ema if self.options.teacher == "ema" else None
        variables: Mapping[str, Any] = jax.device_get(average or state.variables)
        return variables

    def _known(self, start: int) -> LabelSet | None:
        """Labels that stay good: those of a teacher that does not change."""
        memory = self._memory
        path = self.path(memory.used)
        if self.options.teacher != "fixed" or memory.used == start or not path.is_file():
            return None
        return LabelSet.load(path)

    def _label(
        self, teacher: Mapping[str, Any], start: int, stop: int, known: LabelSet | None
    ) -> LabelSet:
        """Labels this process's share of the pages that steps draw."""
        mix, size = self._source.mix, self._source.options.batch_size
        places = [
            place
            for place in mix.word_places(start * size, stop * size)
            if mix.index(*place) % jax.process_count() == jax.process_index()
        ]
        asked = set[tuple[int, int]]()
        if known is not None:
            asked = {(n, i) for n, name in enumerate(mix.names) for i in known.indices(name)}
        sets, unreadable = [make(mix.names, [], [], [], [])], set[tuple[int, int]]()
        for attempt in range(ATTEMPTS):
            # In the place of a page that cannot be read the loader takes the next one.
            page_of = {one: (one[0], mix.index(one[0], one[1] + attempt)) for one in places}
            fresh = sorted({*page_of.values()} - asked)
            asked |= {*fresh}
            if fresh:
                labelled = self._labeller.label(
                    teacher, len(fresh), partial(_read, self._source, fresh)
                )
                unreadable |= {fresh[place] for place in labelled.errors}
                sets.append(_as_set(mix.names, fresh, labelled))
            places = [one for one, page in page_of.items() if page in unreadable]
            if not places:
                break
        return join(sets)

    def _serves(self, path: Path, start: int, stop: int) -> bool:
        """Whether a file has the pages of a period: the run's config may have been another."""
        mix, size = self._source.mix, self._source.options.batch_size
        labels = LabelSet.load(path)
        known = {(n, i) for n, name in enumerate(mix.names) for i in labels.indices(name)}
        places = mix.word_places(start * size, stop * size)
        lacking = sorted({(which, mix.index(which, place)) for which, place in places} - known)
        for which, index in lacking:
            try:
                mix.words_of(which, index)
            except UNREADABLE:
                continue
            return False
        return True

    def _prune(self, start: int) -> None:
        """Removes labels that no checkpoint needs."""
        if not is_main():
            return
        needed = {self._memory.best, *(self.period(one)[0] for one in self._checkpoints.steps)}
        for path in self.folder.glob("*.npz"):
            if path.stem.isdecimal() and int(path.stem) < start and int(path.stem) not in needed:
                path.unlink()


def _read(source: BatchSource, pages: list[tuple[int, int]], place: int) -> Sample:
    return source.mix.words_of(*pages[place])


def _as_set(names: list[str], pages: list[tuple[int, int]], labelled: Labelled) -> LabelSet:
    good = [place for place in range(len(pages)) if place not in labelled.errors]
    row = {place: number for number, place in enumerate(good)}
    return make(
        names,
        [(*pages[place], labelled.marks[place]) for place in good],
        [(row[one.page], one.word, len(one.label.quads)) for one in labelled.words],
        [(one.label.confidence, one.label.equal, one.mass) for one in labelled.words],
        [one.label.quads for one in labelled.words],
    )


def _period(options: SupervisionOptions, source: BatchSource) -> int:
    """Steps from one labelling to the next."""
    mix, size = source.mix, source.options.batch_size
    sets = mix.word_sets
    if not sets:
        raise SourceError(
            "config.pseudo is there, but no data set of kind 'words' in config.data.train"
        )
    # Pages of each data set in a step, on average.
    rates = {which: mix.shares[which] / sum(mix.shares) * size for which in sets}
    steps = options.every or max(
        math.ceil(mix.lengths[which] / rate) for which, rate in rates.items()
    )
    if options.chunk:
        steps = min(steps, int(options.chunk / sum(rates.values())))
    return max(steps, 1)
