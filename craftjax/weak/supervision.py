"""Training on words alone: when pseudo labels are made, by which teacher, and when to stop that.

Steps are divided into periods of equal length, usually a pass over the word-labeled pages. The
labels of all pages that a period draws are made at its beginning, by one teacher, and kept in
`pseudo/STEP.npz` in the run's folder; the loader only reads them. Which pages those are follows
from the seed and the steps. A run that was killed reads the labels of its period again, or makes
them again from the same weights.

`craftjax.weak.collapse` tells whether new labels may be trained on.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax
from jax.experimental import multihost_utils
from tqdm import tqdm

from craftjax.input_pipeline import BatchSource
from craftjax.models import CRAFT
from craftjax.sources import ATTEMPTS
from craftjax.weak.collapse import GuardOptions, judge
from craftjax.weak.label_set import LabelSet, LabelSetError, join, make
from craftjax.weak.labeling import Labeled, Labeler
from craftjax.weak.pseudo_labels import PseudoOptions
from craftjax.weak.word_crops import UNREADABLE
from ocrcore.data.batches import Batch
from ocrcore.data.mixing import SourceError
from ocrcore.data.prefetch import iterate
from ocrcore.options import from_section
from ocrcore.pages import Sample
from ocrcore.runtime.mesh import is_main, make_mesh
from ocrcore.training.checkpoints import RunCheckpoints
from ocrcore.training.state import TrainState

TEACHERS = ("ema", "copy", "fixed")


class CollapseError(ValueError):
    """The first pseudo labels are of no use; the message says what the teacher does not see."""


@dataclass(frozen=True, slots=True)
class SupervisionOptions:
    """The section `config.pseudo`, in which fields of `PseudoOptions` stand, too.

    Attributes:
        teacher: "ema": the moving average of the network; "copy": the network itself, as the
            original's; "fixed": the start weights, so that each page is labeled once.
        every: steps from one labeling to the next; 0 for a pass over the largest word-labeled
            data set.
        chunk: most pages that are labeled at once; the period is made shorter for it. 0 for any.
        batch_size: as for `craftjax.weak.labeling.Labeler`.
        threads: likewise.
        workers: likewise.
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
    workers: int = 0
    guard: GuardOptions = field(default_factory=GuardOptions)
    labels: PseudoOptions = field(default_factory=PseudoOptions)

    def __post_init__(self) -> None:
        if self.teacher not in TEACHERS:
            raise ValueError(f"teacher is {self.teacher!r}, expected one of {', '.join(TEACHERS)}")
        for name in ("every", "chunk", "workers"):
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
            OptionsError: an unknown field, or a bad value.
            SourceError: a package is missing.
        """
        values = dict(section.items())
        own = {one.name for one in fields(cls)} - {"labels"}
        mine = {name: values.pop(name) for name in own & set(values)}
        labels = from_section(PseudoOptions, values, "config.pseudo")
        if labels.method == "watershed" and find_spec("skimage") is None:
            raise SourceError(
                "config.pseudo.method is 'watershed', which needs scikit-image: pip install "
                '"ocrjax[watershed]"'
            )
        return from_section(cls, {**mine, "labels": labels}, "config.pseudo")


@dataclass(frozen=True)
class _Memory:
    """What a run must know of its labels to go on; periods are named by their first step.

    Attributes:
        first: statistics of the first labels.
        used: the period whose labels are in use.
        best: the one whose labels were in use at the best evaluation.
        collapsed: why no labels are made any more.
        since: from which step on those of `used` are trained on, for good.
        origin: how the first labels were made.
    """

    first: dict[str, float] | None = None
    used: int = 0
    best: int = 0
    collapsed: str | None = None
    since: int = 0
    origin: str = ""


class WeakSupervision:
    """Makes pseudo labels on schedule and hands them to the loader.

    Args:
        options: `config.pseudo`.
        source: the loader, whose word-labeled pages are labeled.
        model: the network.
        folder: takes the files of labels; on several hosts all see it.
        start: gives the start weights, for a "fixed" teacher.
        start_name: what these are called.
        first: updates made so far.
        steps: of the whole run; no page is labeled that it does not draw.
        run: what the run's checkpoints keep beside the state; `pseudo` is added.
        checkpoints: of the run; the labels that they go on with are not removed.
        log: called with each human-readable message.

    Raises:
        SourceError: no word-labeled data set.

    Attributes:
        log: takes a step and numbers.
        paused: entered while labels are made, which is no training.
    """

    def __init__(
        self,
        options: SupervisionOptions,
        *,
        source: BatchSource,
        model: CRAFT,
        folder: Path,
        start: Callable[[], Mapping[str, Any]],
        steps: int,
        run: dict[str, Any],
        checkpoints: RunCheckpoints,
        start_name: str = "",
        first: int = 0,
        log: Callable[[str], object] = print,
    ) -> None:
        self.options, self.folder, self.steps = options, Path(folder), steps
        self._source, self._start, self._log = source, start, log
        self.log: Callable[[int, dict[str, float]], object] = lambda step, values: None
        self.paused: Callable[[], AbstractContextManager[object]] = nullcontext
        self._run, self._checkpoints = run, checkpoints
        self._state: TrainState | None = None
        self._labeler = Labeler(
            model,
            mesh=make_mesh(jax.local_devices()),
            options=options.labels,
            batch_size=options.batch_size,
            threads=options.threads,
            workers=options.workers,
        )
        self.length = _period(options, source)
        self._origin = _origin(options, start_name)
        new = "pseudo" not in self._run
        if new:
            self._run["pseudo"] = asdict(_Memory())
        if is_main():
            # To a new run no older labels belong, to one that goes on none of the steps that it
            # takes again: the weights that made them may have gone another way.
            for path in self.folder.glob("[0-9]*.*"):
                step = path.name.partition(".")[0]
                leftover = new or path.suffix != ".npz"
                if step.isdecimal() and (leftover or int(step) > first):
                    path.unlink()
        if jax.process_count() > 1:  # nobody looks into the folder before
            multihost_utils.sync_global_devices("craftjax labels of before removed")
        memory = self._memory
        if memory.collapsed is not None:
            self._log(
                f"since step {memory.since} no pseudo labels are made, for a COLLAPSE: "
                f"{memory.collapsed}. To have them made again, begin another --workdir with "
                f"--config.init_from={self.folder.parent}"
            )

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

    def labels_after(self, step: int) -> bool:
        """Whether labels are due after a step, which takes long: time to save what there is."""
        return step % self.length == 0 and self._memory.collapsed is None

    def batches(self, first: int, *, threads: int, workers: int) -> Generator[Batch, None, None]:
        """Yields batches from a step on, and makes labels in between; close it when done.

        Args:
            first: updates made so far.
            threads: as for `ocrcore.data.prefetch.iterate`.
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
        labels, lacking = self._stored(start, stop)
        if labels is None:
            if step != start:
                self._log(
                    f"{path} {lacking}: its pseudo labels are made from the weights of step "
                    f"{step}, so that this run does not repeat exactly"
                )
            with self.paused():
                labels = self._make(step, start, stop)
        if memory.origin != labels.origin:  # figures of another method say nothing about these
            memory = replace(memory, first=None, origin=labels.origin)
        stats = labels.stats()
        reasons = judge(stats, memory.first, self.options.guard)
        if memory.collapsed is not None:  # by an evaluation; this period began before
            self._source.use_labels(path, labels=labels)
            return stop
        if memory.first is None:
            if reasons:
                path.unlink(missing_ok=True)
                raise CollapseError(
                    f"the first pseudo labels are of no use: {'; '.join(reasons)}. The teacher "
                    "does not see these words: do their boxes lie on them (--mode=audit)? If so, "
                    "start from weights that find text (config.init_weights, and another "
                    "--workdir: in this one the weights are saved that it began with)"
                )
            self._remember(first=stats, origin=labels.origin)
        elif reasons:
            self._collapse(step, reasons, used=memory.used, since=step)
            return self.prepare(step)
        self._remember(used=start)
        self._source.use_labels(path, labels=labels)
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
        self._log(
            f"step {step}: COLLAPSE: {why}. No pseudo labels are made any more: from step {since} "
            f"on the run trains on those of step {used}. The best checkpoint is kept"
        )
        self.log(step, {"labels/collapsed": 1.0})

    def _make(self, step: int, start: int, stop: int) -> LabelSet:
        """Labels all pages of a period and writes their file."""
        begin = time.perf_counter()
        known = self._known()
        mine = self._label(self._teacher(step), step, self._places(start, stop), known)
        path, found = self.path(start), [*([known] if known else []), mine]
        if jax.process_count() == 1:
            replace(join(found), origin=self._origin).save(path)
        else:  # each has labeled a share of the pages
            parts = [path.with_suffix(f".{part}") for part in range(jax.process_count())]
            mine.save(parts[jax.process_index()])
            multihost_utils.sync_global_devices("craftjax labels made")
            if is_main():
                joined = join([*found[:-1], *map(LabelSet.load, parts)])
                replace(joined, origin=self._origin).save(path)
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
        self._log(
            f"step {step}: {made:,} words labeled in {seconds:.1f} s ({made / seconds:.3g} a "
            f"second, {self._labeler.programs} programs), {len(labels.words):,} on "
            f"{len(labels.pages):,} pages: {shown}"
        )
        return labels

    def _teacher(self, step: int) -> Mapping[str, Any]:
        state = self._state
        assert state is not None  # `follow` comes before each batch
        if self.options.teacher == "fixed" and step:
            return self._start()
        average = state.ema if self.options.teacher == "ema" else None
        variables: Mapping[str, Any] = jax.device_get(average or state.variables)
        return variables

    def _known(self) -> LabelSet | None:
        """Labels that stay good: those of a teacher that does not change."""
        if self.options.teacher != "fixed":
            return None
        try:
            labels = LabelSet.load(self.path(self._memory.used))
        except LabelSetError:
            return None
        return labels if labels.origin == self._origin else None

    def _places(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Places of the word-labeled pages that the steps of a period draw."""
        size = self._source.options.batch_size
        return self._source.mix.word_places(start * size, max(min(stop, self.steps), start) * size)

    def _label(
        self,
        teacher: Mapping[str, Any],
        step: int,
        wanted: Sequence[tuple[int, int]],
        known: LabelSet | None,
    ) -> LabelSet:
        """Labels this process's share of some pages."""
        mix = self._source.mix
        places = [
            place
            for place in wanted
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
                self._log(f"step {step}: pseudo labels of {len(fresh):,} pages are made")
                with tqdm(total=len(fresh), unit="page", disable=None) as progress:
                    read = partial(_read, self._source, fresh)
                    labeled = self._labeler.label(teacher, len(fresh), read, progress.update)
                unreadable |= {fresh[place] for place in labeled.errors}
                sets.append(_as_set(mix.names, fresh, labeled))
            places = [one for one, page in page_of.items() if page in unreadable]
            if not places:
                break
        return join(sets)

    def _stored(self, start: int, stop: int) -> tuple[LabelSet | None, str]:
        """The labels of a period, as they lie in the run's folder, or why they are of no use."""
        path = self.path(start)
        if not path.is_file():
            return None, "is missing"
        try:
            labels = LabelSet.load(path)
        except LabelSetError:
            return None, "is damaged"
        if labels.origin != self._origin:
            return None, f"was made otherwise ({_changes(labels.origin, self._origin)})"
        mix = self._source.mix
        known = {(n, i) for n, name in enumerate(mix.names) for i in labels.indices(name)}
        pages = {(which, mix.index(which, place)) for which, place in self._places(start, stop)}
        for which, index in sorted(pages - known):
            try:
                mix.words_of(which, index)
            except UNREADABLE:
                continue
            return None, "has not all pages"
        return labels, ""

    def _prune(self, start: int) -> None:
        """Removes labels that no checkpoint needs."""
        if not is_main():
            return
        needed = {self._memory.best, *(self.period(one)[0] for one in self._checkpoints.steps)}
        for path in self.folder.glob("*.npz"):
            if path.stem.isdecimal() and int(path.stem) < start and int(path.stem) not in needed:
                path.unlink()


def _origin(options: SupervisionOptions, start_name: str) -> str:
    """How labels are made: two that differ in this are not used together."""
    fixed = {"start": start_name} if options.teacher == "fixed" else {}
    return json.dumps({"teacher": options.teacher, **fixed, **asdict(options.labels)})


def _changes(before: str, now: str) -> str:
    old, new = json.loads(before), json.loads(now)
    names = (name for name in {**old, **new} if old.get(name) != new.get(name))
    return ", ".join(f"{name} was {old.get(name)!r}, is {new.get(name)!r}" for name in names)


def _read(source: BatchSource, pages: list[tuple[int, int]], place: int) -> Sample:
    return source.mix.words_of(*pages[place])


def _as_set(names: list[str], pages: list[tuple[int, int]], labeled: Labeled) -> LabelSet:
    good = [place for place in range(len(pages)) if place not in labeled.errors]
    row = {place: number for number, place in enumerate(good)}
    return make(
        names,
        [(*pages[place], labeled.marks[place]) for place in good],
        [(row[one.page], one.word, len(one.label.quads)) for one in labeled.words],
        [(one.label.confidence, one.label.equal, one.mass) for one in labeled.words],
        [one.label.quads for one in labeled.words],
    )


def _period(options: SupervisionOptions, source: BatchSource) -> int:
    """Steps from one labeling to the next."""
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
