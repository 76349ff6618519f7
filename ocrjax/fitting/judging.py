"""Evaluation of a reader on one part of the split, and threshold tuning on another."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from craftjax.detector import Detector
from craftjax.evaluate import OperatingPoint, choose_point, count_words, sweep, with_used
from craftjax.options import THRESHOLDS, DetectorOptions, magnification_of, too_few
from crnnjax.crop_index import open_crops
from crnnjax.evaluate import read_set
from crnnjax.recognizer import Recognizer
from ocrcore.evaluation.end_to_end import evaluate_readings
from ocrcore.evaluation.matching import Evaluation, evaluate_pages
from ocrcore.evaluation.statistics import (
    bootstrap_hmean,
    paired_bootstrap,
    paired_wilson,
    wilson,
)
from ocrcore.files import write_json
from ocrcore.pages import Page, read_pages, write_pages
from ocrcore.progress import Progress
from ocrcore.text import fold
from ocrjax.reader import Reader
from ocrjax.report.images import small_maps

GRID: Mapping[str, tuple[float, ...]] = {
    "text_threshold": (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9),
    "link_threshold": (0.2, 0.3, 0.4),
    "low_text": (0.3, 0.4, 0.5),
}
"""Thresholds to try, in every combination."""
MAGNIFICATIONS = (1.0, 1.5, 2.0)
"""Magnifications to try."""
_LEVEL = 0.99  # confidence level; strict because the best of many choices is tested


class WordReading(NamedTuple):
    """The reading of a labeled crop.

    Attributes:
        name: name of the crop file.
        truth: the label, normalized by the charset.
        read: the text that was read.
        confidence: confidence of the reading.
    """

    name: str
    truth: str
    read: str
    confidence: float


@dataclass(frozen=True, slots=True)
class Judged:
    """Predictions on the test part.

    Attributes:
        found: a page for each image: all detected words with their readings.
        words: readings of the labeled crops.
        seconds: seconds per image (`test_page`) and per labeled crop (`crop`).
    """

    found: list[Page]
    words: list[WordReading]
    seconds: dict[str, float] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write `found.jsonl` and `words.json`."""
        write_pages(folder / "found.jsonl", self.found)
        write_json(folder / "words.json", self.words)


def judge(
    reader: Reader, truth: Sequence[Page], crops: Path, *, maps: Path | None = None
) -> Judged:
    """Read images end to end, and labeled crops.

    Args:
        reader: the reader to evaluate.
        truth: the labeled pages.
        crops: the `labels.tsv` of the crops.
        maps: folder for a small score map of each image; None: they are not saved.
    """
    begun = time.monotonic()
    pages: dict[int, Page] = {}
    paths = [str(page.path) for page in truth]
    with Progress("reading the test images", unit="image", total=len(truth)) as progress:
        for found in reader.detector.stream(paths):
            if found.page is None or found.scores is None:
                assert found.error is not None
                raise found.error
            words = [
                # A Reader drops these words; their boxes still count for the detector.
                word
                if (word.confidence or 0.0) >= reader.options.min_confidence
                else replace(word, text="")
                for word in reader.recognize(paths[found.index], found.page.quads)
            ]
            pages[found.index] = found.page.with_words(words)
            if maps is not None:
                maps.mkdir(parents=True, exist_ok=True)
                np.save(maps / f"{found.index}.npy", small_maps(found.scores.valid("crop")))
            progress.update(len(pages))
    between = time.monotonic()
    words_read = read_words(reader.recognizer, crops)
    seconds = {
        "test_page": (between - begun) / max(len(truth), 1),
        "crop": (time.monotonic() - between) / max(len(words_read), 1),
    }
    return Judged([pages[index] for index in range(len(truth))], words_read, seconds)


def read_words(recognizer: Recognizer, crops: Path) -> list[WordReading]:
    """Read labeled crops; return an empty list if there are none."""
    if not crops.read_text(encoding="utf-8"):
        return []
    found = read_set(recognizer, open_crops("tsv", crops), name=crops.parent.name)
    return [
        WordReading(Path(crop.name).name, truth, read, round(reading.confidence, 4))
        for crop, truth, read, reading in zip(
            found.crops, found.scores.truth, found.scores.read, found.readings, strict=True
        )
    ]


def load_judged(folder: Path) -> Judged:
    """Read what `Judged.save` wrote."""
    words = json.loads((folder / "words.json").read_text(encoding="utf-8"))
    return Judged(list(read_pages(folder / "found.jsonl")), [WordReading(*one) for one in words])


@dataclass(frozen=True, slots=True)
class Figures:
    """Evaluations of predictions.

    Attributes:
        detection: evaluation of word boxes.
        end_to_end: evaluation of boxes and texts.
        right: `(N,)`, whether each labeled crop was read correctly.
    """

    detection: Evaluation
    end_to_end: Evaluation
    right: np.ndarray


def figures(truth: Sequence[Page], judged: Judged) -> Figures:
    """Evaluate predictions against the labels."""
    return Figures(
        evaluate_pages(truth, judged.found),
        evaluate_readings(truth, judged.found),
        np.array([one.truth == one.read for one in judged.words], np.bool_),
    )


NAMES = {
    "hmean": "hmean of the detector",
    "word_accuracy": "word accuracy",
    "end_to_end": "end-to-end F",
}
"""The figures with their displayed names."""


def scores(found: Figures) -> dict[str, dict[str, float]]:
    """Return each of `NAMES` with its 95 % interval."""
    out = {
        "hmean": bootstrap_hmean(found.detection),
        "end_to_end": bootstrap_hmean(found.end_to_end),
    }
    if len(found.right):
        out["word_accuracy"] = wilson(int(found.right.sum()), len(found.right))
    return {name: asdict(out[name]) for name in NAMES if name in out}


def gains(before: Figures, after: Figures) -> dict[str, dict[str, float]]:
    """Return after minus before for each of `NAMES`, with its paired 95 % interval."""
    out = {
        "hmean": paired_bootstrap(before.detection, after.detection),
        "end_to_end": paired_bootstrap(before.end_to_end, after.end_to_end),
    }
    if len(before.right):
        out["word_accuracy"] = paired_wilson(before.right, after.right)
    return {name: asdict(out[name]) for name in NAMES if name in out}


def describe(values: Mapping[str, Mapping[str, float]], *, signed: bool = False) -> str:
    """Format each figure with its interval, in one line."""
    form = "+.3f" if signed else ".3f"
    return ", ".join(
        f"{NAMES[name]} {one['value']:{form}} ({one['low']:{form}} to {one['high']:{form}})"
        for name, one in values.items()
    )


ERRORS = ("read correctly", "found but read wrong", "not found", "false positives")
"""Kinds of `errors_by_kind`."""


def errors_by_kind(truth: Sequence[Page], judged: Judged) -> dict[str, int]:
    """Count the end-to-end results by kind.

    Labeled words that count are read correctly, found but read wrong (the box matches), or not
    found. Detected words that count and match no labeled word are false positives.
    """
    places, read = figures(truth, judged).detection, figures(truth, judged).end_to_end
    counts = dict.fromkeys(ERRORS, 0)
    for page, found, place, hit in zip(
        truth, judged.found, places.images, read.images, strict=True
    ):
        matched = dict(place.pairs)
        right = {true for true, _ in hit.pairs}
        for index, word in enumerate(page.words):
            if not word.care or not fold(word.text or ""):
                continue
            if index in right:
                counts["read correctly"] += 1
            elif index in matched:
                counts["found but read wrong"] += 1
            else:
                counts["not found"] += 1
        taken = {*matched.values(), *place.ignored, *hit.ignored}
        counts["false positives"] += sum(
            index not in taken and bool(fold(word.text or ""))
            for index, word in enumerate(found.words)
        )
    return counts


@dataclass(frozen=True, slots=True)
class Tuned:
    """Detector options that were chosen by tuning.

    Attributes:
        options: the chosen options.
        point: their result on the pages used for tuning; None if there were too few words.
        why: the reason, for the user.
        seconds: seconds per page with these options.
        points: all results at the chosen magnification.
    """

    options: DetectorOptions
    point: OperatingPoint | None
    why: str
    seconds: float = 0.0
    points: tuple[OperatingPoint, ...] = ()


def try_thresholds(
    detector: Detector, truth: Sequence[Page], options: DetectorOptions, task: str
) -> list[OperatingPoint]:
    """Evaluate all thresholds of `GRID` with one pass of the network; return the best first."""
    text, link, low = (with_used(GRID[name], getattr(options, name)) for name in THRESHOLDS)
    with Progress(task, unit="picture", total=len(truth)) as progress:
        return sweep(
            detector,
            truth,
            options=options,
            text_thresholds=text,
            link_thresholds=link,
            low_texts=low,
            report=progress.update,
        )


def tune(
    detector: Detector, truth: Sequence[Page], *, magnifications: Sequence[float], seconds: float
) -> Tuned:
    """Choose thresholds and magnification; change them only for a significant gain.

    Args:
        detector: the detector with the current options.
        truth: labeled pages to tune on.
        magnifications: magnifications to try.
        seconds: time after which no further magnification is tried.
    """
    options = detector.options
    if few := too_few(*count_words(truth)):
        return Tuned(options, None, few)
    begun = time.monotonic()
    points = try_thresholds(detector, truth, options, "trying thresholds")
    each = (time.monotonic() - begun) / len(truth)
    choice = choose_point(points, options)
    best = Tuned(
        replace(options, **choice.point.thresholds), choice.point, choice.why, each, tuple(points)
    )
    seen = {_sizes(truth, options)}
    for magnification in magnifications:
        other = replace(options, mag_ratio=magnification)
        if _sizes(truth, other) in seen:
            continue
        cost = each * len(truth) * (magnification / options.mag_ratio) ** 2
        if time.monotonic() - begun + cost > seconds:
            continue
        seen.add(_sizes(truth, other))
        start = time.monotonic()
        task = f"trying thresholds at magnification {magnification:g}"
        points = try_thresholds(detector, truth, other, task)
        took = (time.monotonic() - start) / len(truth)
        assert best.point is not None
        gain = paired_bootstrap(best.point.evaluation, points[0].evaluation, level=_LEVEL)
        if gain.low > 0:
            why = (
                f"magnification {magnification:g}: hmean {gain.value:+.4f} "
                f"({gain.low:+.4f} to {gain.high:+.4f})"
            )
            found = replace(other, **points[0].thresholds)
            best = Tuned(found, points[0], why, took, tuple(points))
    return best


def _sizes(truth: Sequence[Page], options: DetectorOptions) -> tuple[float, ...]:
    """The scale of each page at the network input."""
    return tuple(magnification_of(page, options) for page in truth)


def thresholds_of(points: Sequence[OperatingPoint]) -> list[dict[str, Any]]:
    """Return operating points as JSON values."""
    return [point.to_dict() for point in points]
