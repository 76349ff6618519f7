"""Training on word boxes: when pseudo labels are made, by which teacher, and when to stop.

Steps are divided into periods of equal length, usually one epoch of the word-labeled pages. At the
start of a period, the train loop requests its labels (`WeakSupervision.refresh`): those of all
pages that the period draws, made by one teacher and saved in `pseudo/STEP.npz` in the run
directory. The loader only reads them. The seed and the steps determine the pages. A run that was
killed reads the labels of its period again, or makes them again from the same weights.

`craftjax.weak.collapse` decides whether new labels may be used.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax

from craftjax.drawing import draw_labels
from craftjax.input_pipeline import BatchSource
from craftjax.models import CRAFT
from craftjax.sources import ATTEMPTS
from craftjax.weak.collapse import hmean_collapse, label_collapse
from craftjax.weak.crop_workers import UNREADABLE
from craftjax.weak.label_set import LabelSet, LabelSetError, join, make
from craftjax.weak.labeling import Labeled, Labeler
from craftjax.weak.options import SupervisionOptions
from ocrcore.data.mixing import SourceError
from ocrcore.images import write_image
from ocrcore.pages import Sample
from ocrcore.progress import Progress
from ocrcore.runtime.mesh import is_main, make_mesh, meet
from ocrcore.training.run import Run


class CollapseError(ValueError):
    """The first pseudo labels are unusable; the message says what the teacher does not see."""


@dataclass(frozen=True)
class LabelMemory:
    """What a run remembers about its labels; periods are identified by their first step.

    Attributes:
        first: statistics of the first labels.
        used: the period whose labels are in use.
        best: the period whose labels were in use at the best evaluation.
        collapsed: why no more labels are made; None while they are made.
        since: step from which the labels of `used` are kept for the rest of the run.
        origin: how the first labels were made.
    """

    first: dict[str, float] | None = None
    used: int = 0
    best: int = 0
    collapsed: str | None = None
    since: int = 0
    origin: str = ""


class PeriodLabels(NamedTuple):
    """The labels of a period, for `BatchSource.use_labels`.

    Attributes:
        path: their file.
        stop: the step that needs new labels; None if there will be no new ones.
        only: draw only pages with labels.
        labels: content of the file, if known.
    """

    path: Path
    stop: int | None
    only: bool = False
    labels: LabelSet | None = None


class WeakSupervision:
    """Makes pseudo labels on schedule.

    Args:
        options: `config.pseudo`.
        run: the run; its state has the teacher, its memory keeps `LabelMemory`.
        source: the loader, whose word-labeled pages are labeled.
        model: the network.
        start_weights: returns the start weights of the run, for a "fixed" teacher.

    Raises:
        SourceError: there is no word-labeled data set.

    Attributes:
        folder: folder of the label files; shared by all hosts.
        length: number of steps in a period.
    """

    def __init__(
        self,
        options: SupervisionOptions,
        run: Run,
        *,
        source: BatchSource,
        model: CRAFT,
        start_weights: Callable[[], Mapping[str, Any]],
    ) -> None:
        self.options, self.folder = options, run.folder.pseudo_labels
        self._run, self._source, self._start_weights = run, source, start_weights
        self._labeler = make_labeler(model, options)
        self.length = _period(options, source)
        self._origin = _origin(options, str(run.config.init_from or run.config.init_weights))
        new = not run.memory.pseudo
        self._memory = LabelMemory(**run.memory.pseudo)
        self._remember()
        if is_main():
            # A new run must not use labels of an earlier one. A resumed run remakes the labels of
            # later steps, because its weights at those steps may differ.
            for path in self.folder.glob("[0-9]*.*"):
                step = path.name.partition(".")[0]
                leftover = new or path.suffix not in (".npz", ".png")
                if step.isdecimal() and (leftover or int(step) > run.step):
                    path.unlink()
        meet("craftjax old labels removed")  # no host reads the folder before
        if self._memory.collapsed is not None:
            run.log(
                f"no pseudo labels are made since step {self._memory.since}, because of a "
                f"COLLAPSE: {self._memory.collapsed}. To make labels again, start a run in another "
                f"--workdir with --config.init_from={run.folder.path}"
            )

    def _remember(self, **changes: Any) -> None:
        self._memory = replace(self._memory, **changes)
        self._run.memory.pseudo = asdict(self._memory)

    @property
    def collapsed(self) -> str | None:
        """Why no more labels are made; None while they are made."""
        return self._memory.collapsed

    def path(self, start: int) -> Path:
        """Return the label file of the period that begins with a step."""
        return self.folder / f"{start:08}.npz"

    def period(self, step: int) -> tuple[int, int]:
        """Return the first step of a step's period, and the first step of the next period."""
        start = step // self.length * self.length
        return start, start + self.length

    def refresh(self) -> PeriodLabels:
        """Return the labels for the run's current step; call it when a period begins.

        Missing labels are made by the run's current weights. That takes long, so a checkpoint is
        saved before.

        Raises:
            CollapseError: the first labels are unusable.
        """
        step, memory = self._run.step, self._memory
        if memory.collapsed is not None and step >= memory.since:
            return PeriodLabels(self.path(memory.used), None, only=True)
        start, stop = self.period(step)
        path = self.path(start)
        labels, lacking = self._stored(start, stop)
        if labels is None:
            if step != start:
                self._run.log(
                    f"{path} {lacking}: its pseudo labels are made by the weights of step {step}, "
                    "so this run is not exactly reproducible"
                )
            self._run.save()
            with self._run.progress.paused():
                labels = self._make(step, start, stop)
        if memory.origin != labels.origin:  # statistics of another method are not comparable
            memory = replace(memory, first=None, origin=labels.origin)
        stats = labels.stats()
        if not stats["words"]:  # tells nothing about the teacher
            what = "with words that count" if labels.pages.size else "with words"
            self._run.log(
                f"step {step}: no pseudo labels, because no page {what} is drawn until step {stop}"
            )
            return PeriodLabels(path, stop, labels=labels)
        reasons = label_collapse(stats, memory.first, self.options.guard)
        if memory.collapsed is not None:  # found by an evaluation after this period began
            return PeriodLabels(path, stop, labels=labels)
        if memory.first is None:
            if reasons:
                path.unlink(missing_ok=True)
                raise CollapseError(
                    f"the first pseudo labels are unusable: {'; '.join(reasons)}. The teacher does "
                    "not see these words. Check the boxes with --mode=audit. If they are right, "
                    "start from weights that find text (config.init_weights) in another --workdir: "
                    "this one has saved its start weights"
                )
            self._remember(first=stats, origin=labels.origin)
        elif reasons:
            self._collapse(reasons, used=memory.used, since=step)
            return self.refresh()
        self._remember(used=start)
        self._prune(start)
        return PeriodLabels(path, stop, labels=labels)

    def evaluated(self, hmean: float, *, best: float | None) -> None:
        """Record an evaluation of the current step; one far below the best ends the labeling.

        Args:
            hmean: hmean of this evaluation.
            best: the highest hmean before, if this one is not better; else None.
        """
        memory = self._memory
        if best is None:
            self._remember(best=memory.used)
        elif (
            memory.collapsed is None
            and memory.first is not None  # otherwise no labels were used yet
            and (reasons := hmean_collapse(hmean, best, self.options.guard))
        ):
            # The current labels stay until their period ends, because batches may already be made
            # from them. If it ends with this step, the next labels are not made yet.
            start, stop = self.period(self._run.step)
            since = start if self._run.step == start else stop
            self._collapse(reasons, used=memory.best, since=since)

    def _collapse(self, reasons: list[str], *, used: int, since: int) -> None:
        why, step = "; ".join(reasons), self._run.step
        self._remember(collapsed=why, since=since, used=used)
        self._run.log(
            f"step {step}: COLLAPSE: {why}. No more pseudo labels are made: from step {since} on "
            f"the run trains on those of step {used}. The best checkpoint is kept"
        )
        self._run.writer.write(step, {"labels/collapsed": 1.0})

    def _make(self, step: int, start: int, stop: int) -> LabelSet:
        """Label all pages of a period and write their file."""
        begin = time.perf_counter()
        known = self._known()
        mine = label_places(
            self._labeler,
            self._source,
            self._teacher(step),
            self._places(start, stop),
            known=known,
            log=lambda line: self._run.log(f"step {step}: {line}"),
        )
        path, found = self.path(start), [*([known] if known else []), mine]
        if jax.process_count() == 1:
            replace(join(found), origin=self._origin).save(path)
        else:  # each host has labeled a share of the pages
            parts = [path.with_suffix(f".{part}") for part in range(jax.process_count())]
            mine.save(parts[jax.process_index()])
            meet("craftjax labels made")
            if is_main():
                joined = join([*found[:-1], *map(LabelSet.load, parts)])
                replace(joined, origin=self._origin).save(path)
                for part in parts:
                    part.unlink()
            meet("craftjax labels written")
        seconds = time.perf_counter() - begin
        labels = LabelSet.load(path)
        stats = labels.stats()
        made = len(labels.words) - (len(known.words) if known else 0)
        numbers = {**stats, "pages": len(labels.pages), "made": made, "seconds": seconds}
        self._run.writer.write(
            step, {f"labels/{name}": float(value) for name, value in numbers.items()}
        )
        sheet = self._draw(labels, start) if is_main() else ""
        shown = "  ".join(f"{name} {stats[name]:.3f}" for name in stats if name != "words")
        self._run.log(
            f"step {step}: {made:,} words labeled in {seconds:.1f} s ({made / seconds:.3g} per "
            f"second, {self._labeler.programs} programs), {len(labels.words):,} on "
            f"{len(labels.pages):,} pages: {shown}{sheet}"
        )
        return labels

    def _draw(self, labels: LabelSet, start: int) -> str:
        """Draw the words with the least confidence; return a note for the log."""
        mix = self._source.mix
        sheet = draw_labels(
            labels,
            lambda name, index: mix.words_of(mix.names.index(name), index),
            title=f"pseudo labels of step {start}: least confident of {len(labels.words):,} words",
        )
        if sheet is None:
            return ""
        path = self.path(start).with_suffix(".png")
        write_image(path, sheet)
        return f"; the least confident ones are drawn in {path}"

    def _teacher(self, step: int) -> Mapping[str, Any]:
        if self.options.teacher == "fixed" and step:
            return self._start_weights()
        state = self._run.state
        average = state.ema if self.options.teacher == "ema" else None
        variables: Mapping[str, Any] = jax.device_get(average or state.variables)
        return variables

    def _known(self) -> LabelSet | None:
        """Labels that can be reused: those of a fixed teacher."""
        if self.options.teacher != "fixed":
            return None
        try:
            labels = LabelSet.load(self.path(self._memory.used))
        except LabelSetError:
            return None
        return labels if labels.origin == self._origin else None

    def _places(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Places of the word-labeled pages that the steps of a period draw."""
        size, last = self._source.options.batch_size, self._run.config.steps
        stop = max(min(stop, last), start)
        return self._source.mix.word_places(start * size, stop * size)

    def _stored(self, start: int, stop: int) -> tuple[LabelSet | None, str]:
        """The existing labels of a period, or why they cannot be used."""
        path = self.path(start)
        if not path.is_file():
            return None, "is missing"
        try:
            labels = LabelSet.load(path)
        except LabelSetError:
            return None, "is damaged"
        if labels.origin != self._origin:
            return None, f"was made differently ({_changes(labels.origin, self._origin)})"
        mix = self._source.mix
        known = {(n, i) for n, name in enumerate(mix.names) for i in labels.indices(name)}
        pages = {(which, mix.index(which, place)) for which, place in self._places(start, stop)}
        for which, index in sorted(pages - known):
            try:
                mix.words_of(which, index)
            except UNREADABLE:
                continue
            return None, "lacks some pages"
        return labels, ""

    def _prune(self, start: int) -> None:
        """Remove labels that no checkpoint needs."""
        if not is_main():
            return
        needed = {self._memory.best, *(self.period(one)[0] for one in self._run.checkpoints.steps)}
        for path in self.folder.glob("*.npz"):
            if path.stem.isdecimal() and int(path.stem) < start and int(path.stem) not in needed:
                path.unlink()


def make_labeler(model: CRAFT, options: SupervisionOptions) -> Labeler:
    """Return a labeler for the devices of this process, configured by `config.pseudo`."""
    return Labeler(
        model,
        mesh=make_mesh(jax.local_devices()),
        options=options.labels,
        batch_size=options.batch_size,
        threads=options.threads,
        workers=options.workers,
    )


def label_places(
    labeler: Labeler,
    source: BatchSource,
    teacher: Mapping[str, Any],
    places: Sequence[tuple[int, int]],
    *,
    known: LabelSet | None = None,
    log: Callable[[str], object] = print,
) -> LabelSet:
    """Label this process's share of the pages that the loader draws at some places.

    Args:
        labeler: a labeler of `make_labeler`.
        source: the loader.
        teacher: variables of the teacher.
        places: places of `Mix.word_places`.
        known: existing labels to reuse.
        log: called with each human-readable message.
    """
    mix = source.mix
    places = [
        place for place in places if mix.index(*place) % jax.process_count() == jax.process_index()
    ]
    asked = set[tuple[int, int]]()
    if known is not None:
        asked = {(n, i) for n, name in enumerate(mix.names) for i in known.indices(name)}
    sets, unreadable = [make(mix.names, [], [], [], [])], set[tuple[int, int]]()
    for attempt in range(ATTEMPTS):
        # The loader replaces an unreadable page by the next one.
        page_of = {one: (one[0], mix.index(one[0], one[1] + attempt)) for one in places}
        fresh = sorted({*page_of.values()} - asked)
        asked |= {*fresh}
        if fresh:
            log(
                f"making pseudo labels for {len(fresh):,} pages: the network splits their words "
                "into characters"
            )
            with Progress("making pseudo labels", unit="page", total=len(fresh)) as progress:
                read = partial(_read, source, fresh)
                labeled = labeler.label(teacher, len(fresh), read, progress.update)
            unreadable |= {fresh[place] for place in labeled.errors}
            sets.append(_as_set(mix.names, fresh, labeled))
        places = [one for one, page in page_of.items() if page in unreadable]
        if not places:
            break
    return join(sets)


def _origin(options: SupervisionOptions, start_name: str) -> str:
    """How labels are made; labels that differ in this are not used together."""
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
            "config.pseudo is set, but config.data.train has no data set of kind 'words'"
        )
    # Mean number of pages of each data set per step.
    rates = {which: mix.shares[which] / sum(mix.shares) * size for which in sets}
    steps = options.every or max(
        math.ceil(mix.lengths[which] / rate) for which, rate in rates.items()
    )
    if options.chunk:
        steps = min(steps, int(options.chunk / sum(rates.values())))
    return max(steps, 1)
