"""Training on words alone: when pseudo labels are made, by which teacher, and when to stop that.

Steps are divided into periods of equal length, usually a pass over the word-labeled pages. When a
period begins, the train loop asks for its labels (`WeakSupervision.refresh`): those of all pages
that the period draws, made by one teacher and kept in `pseudo/STEP.npz` in the run's folder. The
loader only reads them. Which pages those are follows from the seed and the steps. A run that was
killed reads the labels of its period again, or makes them again from the same weights.

`craftjax.weak.collapse` tells whether new labels may be trained on.
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
    """The first pseudo labels are of no use; the message says what the teacher does not see."""


@dataclass(frozen=True)
class LabelMemory:
    """What a run remembers of its labels; periods are named by their first step.

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


class PeriodLabels(NamedTuple):
    """The labels of a period, as `BatchSource.use_labels` takes them.

    Attributes:
        path: their file.
        stop: the step that needs other labels; None where there will be no others.
        only: draw no page without labels.
        labels: what is in the file, if that is known.
    """

    path: Path
    stop: int | None
    only: bool = False
    labels: LabelSet | None = None


class WeakSupervision:
    """Makes pseudo labels on schedule.

    Args:
        options: `config.pseudo`.
        run: its state is the teacher's, its memory keeps `LabelMemory`.
        source: the loader, whose word-labeled pages are labeled.
        model: the network.
        start_weights: gives the weights that the run began with, for a "fixed" teacher.

    Raises:
        SourceError: no word-labeled data set.

    Attributes:
        folder: of the files of labels; on several hosts all see it.
        length: steps of a period.
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
            # Labels of an earlier run do not belong to a new one. A run that goes on makes those
            # of later steps again: the weights that made them may have gone another way.
            for path in self.folder.glob("[0-9]*.*"):
                step = path.name.partition(".")[0]
                leftover = new or path.suffix not in (".npz", ".png")
                if step.isdecimal() and (leftover or int(step) > run.step):
                    path.unlink()
        meet("craftjax old labels removed")  # nobody looks into the folder before
        if self._memory.collapsed is not None:
            run.log(
                f"since step {self._memory.since} no pseudo labels are made, because of a "
                f"COLLAPSE: {self._memory.collapsed}. To make them again, start another --workdir "
                f"with --config.init_from={run.folder.path}"
            )

    def _remember(self, **changes: Any) -> None:
        self._memory = replace(self._memory, **changes)
        self._run.memory.pseudo = asdict(self._memory)

    @property
    def collapsed(self) -> str | None:
        """Why no labels are made any more; None while they are."""
        return self._memory.collapsed

    def path(self, start: int) -> Path:
        """The file with the labels of the period that begins with a step."""
        return self.folder / f"{start:08}.npz"

    def period(self, step: int) -> tuple[int, int]:
        """The first step of a step's period, and of the one after it."""
        start = step // self.length * self.length
        return start, start + self.length

    def refresh(self) -> PeriodLabels:
        """The labels of the run's present step; call it when a period begins.

        Labels that are missing are made by the run's present weights. That takes long, so what
        there is is saved before.

        Raises:
            CollapseError: the first labels cannot be trained on.
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
                    f"{path} {lacking}: its pseudo labels are made from the weights of step "
                    f"{step}, so that this run does not repeat exactly"
                )
            self._run.save()
            with self._run.progress.paused():
                labels = self._make(step, start, stop)
        if memory.origin != labels.origin:  # figures of another method say nothing about these
            memory = replace(memory, first=None, origin=labels.origin)
        stats = labels.stats()
        if not stats["words"]:  # that says nothing of the teacher
            what = "with words that count" if labels.pages.size else "with words"
            self._run.log(
                f"step {step}: no page {what} is drawn until step {stop}: no pseudo labels"
            )
            return PeriodLabels(path, stop, labels=labels)
        reasons = label_collapse(stats, memory.first, self.options.guard)
        if memory.collapsed is not None:  # by an evaluation; this period began before
            return PeriodLabels(path, stop, labels=labels)
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
            self._collapse(reasons, used=memory.used, since=step)
            return self.refresh()
        self._remember(used=start)
        self._prune(start)
        return PeriodLabels(path, stop, labels=labels)

    def evaluated(self, hmean: float, *, best: float | None) -> None:
        """Note an evaluation of the run's present step; one far below the best ends the labeling.

        Args:
            hmean: of this evaluation.
            best: the highest before, where this one is not better; else None.
        """
        memory = self._memory
        if best is None:
            self._remember(best=memory.used)
        elif (
            memory.collapsed is None
            and memory.first is not None  # else no labels were trained on
            and (reasons := hmean_collapse(hmean, best, self.options.guard))
        ):
            # The present labels serve until their period ends, as their batches may be made
            # already. Where it ends with this step, those of the next one are not made yet.
            start, stop = self.period(self._run.step)
            since = start if self._run.step == start else stop
            self._collapse(reasons, used=memory.best, since=since)

    def _collapse(self, reasons: list[str], *, used: int, since: int) -> None:
        why, step = "; ".join(reasons), self._run.step
        self._remember(collapsed=why, since=since, used=used)
        self._run.log(
            f"step {step}: COLLAPSE: {why}. No pseudo labels are made any more: from step {since} "
            f"on the run trains on those of step {used}. The best checkpoint is kept"
        )
        self._run.writer.write(step, {"labels/collapsed": 1.0})

    def _make(self, step: int, start: int, stop: int) -> LabelSet:
        """Labels all pages of a period and writes their file."""
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
        else:  # each has labeled a share of the pages
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
            f"step {step}: {made:,} words labeled in {seconds:.1f} s ({made / seconds:.3g} a "
            f"second, {self._labeler.programs} programs), {len(labels.words):,} on "
            f"{len(labels.pages):,} pages: {shown}{sheet}"
        )
        return labels

    def _draw(self, labels: LabelSet, start: int) -> str:
        """Leave a picture of the words that the teacher is least sure of, and say so."""
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
        return f"; the least sure ones are drawn in {path}"

    def _teacher(self, step: int) -> Mapping[str, Any]:
        if self.options.teacher == "fixed" and step:
            return self._start_weights()
        state = self._run.state
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
        size, last = self._source.options.batch_size, self._run.config.steps
        stop = max(min(stop, last), start)
        return self._source.mix.word_places(start * size, stop * size)

    def _stored(self, start: int, stop: int) -> tuple[LabelSet | None, str]:
        """The labels of a period that are there already, or why they cannot be used."""
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
        """Remove labels that no checkpoint needs."""
        if not is_main():
            return
        needed = {self._memory.best, *(self.period(one)[0] for one in self._run.checkpoints.steps)}
        for path in self.folder.glob("*.npz"):
            if path.stem.isdecimal() and int(path.stem) < start and int(path.stem) not in needed:
                path.unlink()


def make_labeler(model: CRAFT, options: SupervisionOptions) -> Labeler:
    """What labels with the devices of this process, by `config.pseudo`."""
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
    """Labels this process's share of the pages that the loader draws at some places.

    Args:
        labeler: of `make_labeler`.
        source: the loader.
        teacher: variables of the network that labels.
        places: of `Mix.word_places`.
        known: labels of pages that need no others.
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
        # In the place of a page that cannot be read the loader takes the next one.
        page_of = {one: (one[0], mix.index(one[0], one[1] + attempt)) for one in places}
        fresh = sorted({*page_of.values()} - asked)
        asked |= {*fresh}
        if fresh:
            log(
                f"making pseudo labels of {len(fresh):,} pages: the network takes their words "
                "apart into characters"
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
