"""All that a report shows, as plain frozen dataclasses; `ocrjax.report.page` makes a page of it.

A program fills a `Report` and calls `write_report`:

    from ocrjax.report.data import Chart, Count, Dropped, Picture, Report, Score, Series
    from ocrjax.report.page import write_report

    report = Report(
        title="plates",
        summary=("The detector was kept, the recognizer stays as it was: ...",),
        columns=("start weights", "fine-tuned"),
        scores=(Score("hmean", before=Interval(.80, .77, .83), after=Interval(.85, .83, .87),
                      gain=Interval(.05, .03, .07)),),
        counts=(Count("words to train on", 3564, "of 300 pictures"),),
        dropped=(Dropped("words", "character outside the charset", 12, ("img_3.jpg: '€5'",)),),
        charts=(*charts_of("fit/detector/metrics.jsonl"),),  # of ocrjax.report.runs
        pictures=(Picture(truth=page_of_labels, found=page_of_the_reader, maps=maps),),
    )
    write_report("fit/report.html", report)

How `fit` fills it:

- `scores`: a row for each figure of stage 7 (`hmean`, `word accuracy`, `end-to-end F`) with the
  intervals of `ocrcore.evaluation.statistics`; `gain` is the paired one. Where there is no before
  (or no after) the field stays None and its cell is left empty. `higher=False` for error rates.
- `counts` and `dropped`: what the audit and the split say, in their order. Every reason for which
  something was left out is one `Dropped`, with a few examples by name.
- `pictures`: of the test part, one for each, in any order: the page sorts them by their cost.
  `truth` and `found` are `ocrcore.pages.Page` of the same picture; what `Reader.read` returns goes
  in as it is. Matches, misses and false alarms are worked out here by `matching.evaluate_pages`
  unless `matches` is given; texts are compared as `texts` says. `maps` are the detector's, of the
  whole picture without padding (`Scores.valid("crop")`), or a `.npy` of them; call
  `ocrjax.report.images.small_maps` on each as it comes, so that 500 take 15 MB, not 1 GB.
- `crops`: what the recognizer read of test crops, right ones included: the confusion pairs are
  counted over all, and the page shows the worst `Report.worst`. Give `picture` as a path, or as an
  array for crops that are cut out of pages.
- `thresholds`: all points of a sweep (`OperatingPoint.to_dict()` has the names).
- `suspects`: `ocrcore.evaluation.label_errors.suspects(...)` over the training labels.
- `environment`, `hashes`: of `ocrjax.report.runs.environment()` and `hash_files(...)`.
- `notes`: a line for what is missing and why: "no crops were judged: the recognizer was not
  trained". Such lines stand at the foot of the page.

Whatever is left at its default makes no section. Texts are taken as they are: the page escapes.
Values that are not finite are shown as a dash.

Host code: no jax.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ocrcore.evaluation.label_errors import Suspect
from ocrcore.evaluation.matching import ImageResult
from ocrcore.evaluation.statistics import Interval
from ocrcore.images import ImageLike
from ocrcore.pages import FloatArray, Page

TEXTS = ("exact", "alnum")
"""How texts are compared: as they are (in NFC), or lower case and only 0-9 and a-z of both."""


@dataclass(frozen=True, slots=True)
class Score:
    """A row of the table of before and after.

    Attributes:
        name: of the figure, as `end-to-end F`.
        before: of the start, with its interval; None where it was not measured.
        after: of the result.
        gain: after minus before, with its paired interval.
        note: what it was measured on and how, in a few words.
        higher: whether more is better.
        percent: whether it is shown in percent points; else with four decimals.
    """

    name: str
    before: Interval | None = None
    after: Interval | None = None
    gain: Interval | None = None
    note: str = ""
    higher: bool = True
    percent: bool = False


@dataclass(frozen=True, slots=True)
class Count:
    """How many there are of something.

    Attributes:
        name: of what, as `words to train on`.
        value: how many.
        note: in a few words.
    """

    name: str
    value: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class Dropped:
    """What was left out, or is wrong, and why.

    Attributes:
        what: kind of thing, as `pictures`; of a fault how bad it is.
        reason: in a few words.
        count: how many.
        examples: some of them by name, as the messages say it.
    """

    what: str
    reason: str
    count: int
    examples: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Series:
    """A named line of a chart.

    Attributes:
        name: for the legend.
        points: `(step, value)`, by step.
    """

    name: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """Curves over steps.

    Attributes:
        title: of the chart.
        series: its lines.
        logarithmic: whether the values have a logarithmic axis; what is not positive is left out.
        best: the step whose weights were kept, if known; it is marked.
    """

    title: str
    series: tuple[Series, ...]
    logarithmic: bool = False
    best: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A labeled picture, and what was found in it.

    Attributes:
        truth: its labels. Words with `care=False` do not count.
        found: what was found, with texts where it was also read.
        image: to show; None: the file at `truth.path`, page `truth.number` of it. EXIF orientation
            is applied, as for the labels.
        matches: of `found` with `truth`; None: worked out by `protocol` "iou".
        maps: `(h, w, 2)` float in [0, 1], or uint8 in [0, 255]: region and affinity of the whole
            picture; or the `.npy` file of such an array.
    """

    truth: Page
    found: Page
    image: ImageLike | None = None
    matches: ImageResult | None = None
    maps: FloatArray | NDArray[np.uint8] | Path | None = None


@dataclass(frozen=True, slots=True, eq=False)
class CropReading:
    """A crop, what stands there and what was read.

    Attributes:
        name: of the crop, as a path or `page.jpg, word 3`.
        truth: the label.
        read: the reading.
        confidence: of the reading, in [0, 1]; None where it is not known.
        picture: to show; None: without a picture.
        set: of which set of crops.
    """

    name: str
    truth: str
    read: str
    confidence: float | None = None
    picture: ImageLike | None = None
    set: str = ""


@dataclass(frozen=True, slots=True)
class Threshold:
    """What a detector reached with some thresholds.

    Attributes:
        text_threshold: as of the detector.
        link_threshold: as of the detector.
        low_text: as of the detector.
        hmean: in [0, 1].
        precision: in [0, 1].
        recall: in [0, 1].
    """

    text_threshold: float
    link_threshold: float
    low_text: float
    hmean: float
    precision: float
    recall: float


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The surface of a sweep.

    Attributes:
        points: all that were tried.
        used: before the sweep, if it is one of them.
        chosen: the point that was taken.
        why: the reason for the choice.
    """

    points: tuple[Threshold, ...]
    used: Threshold | None = None
    chosen: Threshold | None = None
    why: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class ShownSuspect:
    """A suspected label error with what is needed to look at it.

    Attributes:
        suspect: of `ocrcore.evaluation.label_errors`.
        picture: the crop of its word, to show; None: without one.
    """

    suspect: Suspect
    picture: ImageLike | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """A whole report; whatever is left at its default is not on the page.

    Attributes:
        title: of the page, as the name of the run.
        summary: sentences at the top: what was done, decided and why.
        columns: names of before and after in the table of scores.
        scores: its rows.
        counts: of the data.
        dropped: what was left out.
        faults: what is wrong with the data.
        charts: curves over steps.
        pictures: of a test, with what was found.
        crops: readings, right and wrong.
        worst: how many of the wrong readings are shown at most.
        texts: how texts are compared, one of `TEXTS`.
        thresholds: of a sweep.
        suspects: suspected label errors, the most suspicious first.
        gallery: other pictures by their captions, as overlays that a training left.
        commands: what to do next: `(what for, command)`.
        environment: `(name, value)`: versions, machine, time, options.
        hashes: `(file, SHA-256)`.
        notes: a line for what is missing, and why.
    """

    title: str
    summary: tuple[str, ...] = ()
    columns: tuple[str, str] = ("before", "after")
    scores: tuple[Score, ...] = ()
    counts: tuple[Count, ...] = ()
    dropped: tuple[Dropped, ...] = ()
    faults: tuple[Dropped, ...] = ()
    charts: tuple[Chart, ...] = ()
    pictures: Sequence[Picture] = ()
    crops: Sequence[CropReading] = ()
    worst: int = 300
    texts: str = "exact"
    thresholds: Thresholds | None = None
    suspects: Sequence[ShownSuspect] = ()
    gallery: Sequence[tuple[str, ImageLike]] = ()
    commands: tuple[tuple[str, str], ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    hashes: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.texts not in TEXTS:
            raise ValueError(f"texts is {self.texts!r}, expected one of {', '.join(TEXTS)}")
