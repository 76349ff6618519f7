"""The content of a report as frozen dataclasses; `ocrjax.report.page` renders it as a page.

Fill a `Report` and call `write_report`:

    from ocrjax.report.data import Chart, Count, Dropped, Picture, Report, Score, Series
    from ocrjax.report.page import write_report

    report = Report(
        title="plates",
        summary=("The detector was fine-tuned, the recognizer was not: ...",),
        columns=("pretrained", "fine-tuned"),
        scores=(Score("hmean", before=Interval(.80, .77, .83), after=Interval(.85, .83, .87),
                      gain=Interval(.05, .03, .07)),),
        counts=(Count("training words", 3564, "in 300 images"),),
        dropped=(Dropped("words", "character outside the charset", 12, ("img_3.jpg: '€5'",)),),
        charts=(*charts_of("fit/detector/metrics.jsonl"),),  # of ocrjax.report.runs
        pictures=(Picture(truth=page_of_labels, found=page_of_the_reader, maps=maps),),
    )
    write_report("fit/report.html", report)

How `fit` fills it:

- `scores`: a row for each figure of the final evaluation (`hmean`, `word accuracy`, `end-to-end F`)
  with the intervals of `ocrcore.evaluation.statistics`; the interval of `gain` is paired. Without a
  before (or after) the field stays None and its cell is empty. `higher=False` for error rates.
- `counts` and `dropped`: the results of the audit and the split, in order. Each reason for leaving
  something out is one `Dropped`, with a few examples by name.
- `pictures`: the test images in any order; the page sorts them by cost. `truth` and `found` are
  `ocrcore.pages.Page` of the same image; results of `Reader.read` can be used unchanged. Hits,
  misses and false positives are computed by `matching.evaluate_pages` unless `matches` is given;
  texts are compared as `texts` says. `maps` are the detector's score maps of the whole image
  without padding (`Scores.valid("crop")`), or a `.npy` file of them. Call
  `ocrjax.report.images.small_maps` on each at once, so that 500 take 15 MB, not 1 GB.
- `crops`: all readings of test crops, including correct ones: confusions are counted over all, and
  the page shows the worst `Report.worst`. Give `picture` as a path, or as an array for crops that
  are cut out of pages.
- `thresholds`: all points of a sweep (`OperatingPoint.to_dict()` has the names).
- `suspects`: `ocrcore.evaluation.label_errors.suspects(...)` of the training labels.
- `environment`, `hashes`: results of `ocrjax.report.runs.environment()` and `hash_files(...)`.
- `notes`: a line for each thing that is missing and why, such as "no crops were evaluated: the
  recognizer was not trained". They are shown at the end of the page.

A field left at its default makes no section. The page escapes all texts. Values that are not finite
are shown as a dash.

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
"""How texts are compared: exactly (in NFC), or only 0-9 and a-z, ignoring case."""


@dataclass(frozen=True, slots=True)
class Score:
    """A row of the table of scores.

    Attributes:
        name: name of the score, such as `end-to-end F`.
        before: score before training, with its interval; None if it was not measured.
        after: score of the result, in the same form.
        gain: after minus before, with its paired interval.
        note: what it was measured on and how, in a few words.
        higher: whether higher is better.
        percent: whether it is shown in percent; else with four decimals.
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
    """A count, such as the number of training words.

    Attributes:
        name: what is counted, such as `training words`.
        value: the number.
        note: an explanation in a few words.
    """

    name: str
    value: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class Dropped:
    """Things that were left out or are faulty, for one reason.

    Attributes:
        what: the kind of thing, such as `images`; for a fault its severity.
        reason: the reason in a few words.
        count: the number of things.
        examples: some of them by name, as in the messages.
    """

    what: str
    reason: str
    count: int
    examples: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Series:
    """A named line of a chart.

    Attributes:
        name: name for the legend.
        points: `(step, value)`, ordered by step.
    """

    name: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """Curves over steps.

    Attributes:
        title: title of the chart.
        series: its lines.
        logarithmic: whether the value axis is logarithmic; values that are not positive are left
            out.
        best: the step whose weights were kept, if known; it is marked.
    """

    title: str
    series: tuple[Series, ...]
    logarithmic: bool = False
    best: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A labeled image and the predictions for it.

    Attributes:
        truth: its labels. Words with `care=False` do not count.
        found: the predicted words, with texts if they were read.
        image: the image to show; None: page `truth.number` of the file at `truth.path`. The EXIF
            orientation is applied, as for the labels.
        matches: matches of `found` with `truth`; None: computed with the protocol "iou".
        maps: region and affinity scores of the whole image, `(h, w, 2)` float in [0, 1] or uint8
            in [0, 255]; or the `.npy` file of such an array.
    """

    truth: Page
    found: Page
    image: ImageLike | None = None
    matches: ImageResult | None = None
    maps: FloatArray | NDArray[np.uint8] | Path | None = None


@dataclass(frozen=True, slots=True, eq=False)
class CropReading:
    """A crop with its label and its reading.

    Attributes:
        name: name of the crop, such as a path or `page.jpg, word 3`.
        truth: the label.
        read: the reading.
        confidence: confidence of the reading, in [0, 1]; None if it is not known.
        picture: the image to show; None: no image.
        set: name of its set of crops.
    """

    name: str
    truth: str
    read: str
    confidence: float | None = None
    picture: ImageLike | None = None
    set: str = ""


@dataclass(frozen=True, slots=True)
class Threshold:
    """A detector's scores with some thresholds.

    Attributes:
        text_threshold: option of the detector.
        link_threshold: option of the detector.
        low_text: option of the detector.
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
    """The results of a threshold sweep.

    Attributes:
        points: all points that were tried.
        used: the point in use before the sweep, if it is one of them.
        chosen: the point that was chosen.
        why: the reason for the choice.
    """

    points: tuple[Threshold, ...]
    used: Threshold | None = None
    chosen: Threshold | None = None
    why: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class ShownSuspect:
    """A suspected label error with its crop.

    Attributes:
        suspect: a suspect of `ocrcore.evaluation.label_errors`.
        picture: the crop of its word; None: no crop.
    """

    suspect: Suspect
    picture: ImageLike | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """A complete report; fields left at their defaults are not on the page.

    Attributes:
        title: title of the page, such as the name of the run.
        summary: sentences at the top: what was done and decided, and why.
        columns: names of the columns before and after in the table of scores.
        scores: rows of the table of scores.
        counts: counts of the data.
        dropped: what was left out of the data.
        faults: faults of the data.
        charts: curves over steps.
        pictures: test images with predictions.
        crops: readings, correct and wrong.
        worst: most wrong readings to show.
        texts: how texts are compared, one of `TEXTS`.
        thresholds: results of a threshold sweep.
        suspects: suspected label errors, the most suspicious first.
        gallery: other images by caption, such as overlays written by a training.
        commands: what to do next: `(purpose, command)`.
        environment: `(name, value)`: versions, machine, time, options.
        hashes: `(file, SHA-256)`.
        notes: lines about what is missing, and why.
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
