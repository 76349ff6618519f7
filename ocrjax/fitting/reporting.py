"""The HTML report of a fit."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from craftjax.options import THRESHOLDS
from crnnjax.crop_index import open_crops
from crnnjax.label_readings import read_labels
from crnnjax.recognizer import Recognizer
from ocrcore.evaluation.label_errors import crop_suspects, ranked
from ocrcore.evaluation.statistics import Interval
from ocrcore.files import write_text
from ocrcore.progress import Progress
from ocrjax.fitting.crops import labels_of
from ocrjax.fitting.judging import NAMES, load_judged
from ocrjax.fitting.pictures import PARTS, pages_of_part
from ocrjax.report.data import (
    Count,
    CropReading,
    Dropped,
    Picture,
    Report,
    Score,
    ShownSuspect,
    Threshold,
    Thresholds,
)
from ocrjax.report.page import write_report
from ocrjax.report.runs import charts_of, environment, hash_files

_LEAST = 1.0  # nats; suspicions below this are not shown
_SUSPECTS = 500  # most suspicious labels to show
_SHOWN = 500  # most images to show
_EXAMPLES = 5


def write_fit_report(
    out: Path, name: str, results: Mapping[str, Any], summary: Sequence[str], *, judging: int
) -> tuple[Path, int]:
    """Write `report.html`, and the suspected label errors as `suspects.tsv`.

    Args:
        out: the output folder.
        name: name of the reader.
        results: results of the stages, by name.
        summary: sentences for the top of the report.
        judging: most labels to judge.

    Returns:
        The path of the report, and the number of suspected labels.
    """
    report = fit_report(out, name, results, summary, judging=judging)
    lines = [
        f"{one.suspect.suspicion:.3f}\t{one.suspect.page}\t{one.suspect.label}\t{one.suspect.read}"
        for one in report.suspects
    ]
    write_text(out / "suspects.tsv", "\n".join(["suspicion\tcrop\tlabel\tread", *lines]) + "\n")
    return write_report(out / "report.html", report), len(report.suspects)


def fit_report(
    out: Path, name: str, results: Mapping[str, Any], summary: Sequence[str], *, judging: int
) -> Report:
    """Collect the report of a fit; the arguments are those of `write_fit_report`."""
    notes: list[str] = []
    truth, after = pages_of_part(out, "test"), load_judged(out / "after")
    maps = [out / "after" / "maps" / f"{index}.npy" for index in range(len(truth))]
    pictures = [
        Picture(page, found, maps=place if place.is_file() else None)
        for page, found, place in zip(truth, after.found, maps, strict=True)
    ]
    if len(pictures) > _SHOWN:
        notes.append(f"images: the first {_SHOWN} of {len(pictures):,} are shown")
    folder = labels_of(out, "test").parent
    suspects = _suspects(out, judging, notes)
    return Report(
        title=name,
        summary=tuple(summary),
        columns=("pretrained", "fitted"),
        scores=_scores(results),
        counts=tuple(
            Count(f"{what} in the {part} part", count)
            for part, counts in results["split"]["counts"].items()
            for what, count in counts.items()
        ),
        dropped=_dropped(out, results),
        charts=tuple(
            chart
            for network in ("detector", "recognizer")
            if results[network]["steps"]
            for chart in charts_of(out / network / "metrics.jsonl", notes)
        ),
        pictures=pictures[:_SHOWN],
        crops=[
            CropReading(one.name, one.truth, one.read, one.confidence, folder / one.name)
            for one in after.words
        ],
        thresholds=_thresholds(out, results["before"]),
        suspects=suspects,
        environment=environment(),
        hashes=hash_files(
            [out / "weights" / "detector.pth", out / "weights" / "recognizer" / "weights.pth"],
            notes,
        ),
        notes=tuple(notes),
    )


def _scores(results: Mapping[str, Any]) -> tuple[Score, ...]:
    before, after = results["before"]["scores"], results["after"]["scores"]
    gained = results["after"]["gains"]
    return tuple(
        Score(
            title,
            Interval(**before[name]),
            Interval(**after[name]),
            Interval(**gained[name]),
            "test part; intervals of gains are paired",
        )
        for name, title in NAMES.items()
        if name in after
    )


def _dropped(out: Path, results: Mapping[str, Any]) -> tuple[Dropped, ...]:
    left_out = (out / "data" / "left_out.txt").read_text(encoding="utf-8").splitlines()
    found = [Dropped("images", "with a fault", len(left_out), tuple(left_out[:_EXAMPLES]))]
    for part, reasons in results["crops"]["left_out"].items():
        found += [Dropped(f"words of the {part} part", reason, n) for reason, n in reasons.items()]
    return tuple(one for one in found if one.count)


def _thresholds(out: Path, before: Mapping[str, Any]) -> Thresholds | None:
    """All thresholds that were tried with the pretrained weights."""
    points = json.loads((out / "before" / "thresholds.json").read_text(encoding="utf-8"))
    if not points:
        return None
    names = (*THRESHOLDS, "hmean", "precision", "recall")
    surface = tuple(Threshold(**{name: point[name] for name in names}) for point in points)
    chosen = Threshold(**{name: before["tuned"][name] for name in names})
    return Thresholds(surface, chosen=chosen, why=before["why"])


def _suspects(out: Path, most: int, notes: list[str]) -> list[ShownSuspect]:
    """Labels that the fitted recognizer contradicts, most suspicious first."""
    files = [labels_of(out, part) for part in PARTS]
    crops = [crop for file in files if file.stat().st_size for crop in open_crops("tsv", file)]
    if len(crops) > most:
        notes.append(f"labels: only {most:,} of {len(crops):,} were judged")
        crops = crops[:most]
    if not crops:
        return []
    recognizer = Recognizer.from_weights(out / "weights" / "recognizer" / "weights.pth")
    labels = [crop.text for crop in crops]
    with Progress("judging labels", unit="word", total=len(crops)) as progress:
        readings = read_labels(recognizer, [crop.name for crop in crops], labels, progress.update)
    found = ranked([crop_suspects([crop.name for crop in crops], labels, readings)])
    return [ShownSuspect(one, one.page) for one in found[:_SUSPECTS] if one.suspicion >= _LEAST]
