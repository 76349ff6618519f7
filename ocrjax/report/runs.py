"""Read the run directories of detectors and recognizers for a report.

Missing or damaged files become notes of the report, not errors; only a folder without any of them
is an error.

Host code: no jax.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from ocrcore.evaluation.matching import Evaluation, ImageResult
from ocrcore.evaluation.statistics import Interval, bootstrap_hmean, ratio_interval
from ocrcore.training.run_folder import RunFolder
from ocrjax.report.data import (
    Chart,
    Count,
    CropReading,
    Dropped,
    Report,
    Score,
    Series,
    Threshold,
    Thresholds,
)

_PACKAGES = ("ocrjax", "jax", "flax", "optax", "numpy", "opencv-python-headless")
_HASHED = 4 << 30  # bytes; larger files are not hashed
_SKIPPED = {"step", "learning_rate", "seconds_left", "images_per_s", "images_per_s_per_device"}
_SCORES = {
    "accuracy": "word accuracy",
    "alnum_accuracy": "word accuracy, 0-9 a-z",
    "one_minus_ned": "1-NED",
    "cer": "character error rate",
}
_COUNTED = {
    "unreadable": "cannot be read",
    "outside_charset": "label has characters outside the charset: counted as wrong",
}
_DETECTION = ("hmean", "precision", "recall")
Json = dict[str, Any]


class ReportError(ValueError):
    """There is nothing to report on; the message says what was expected."""


@dataclass(slots=True)
class Readings:
    """A recognizer's readings of sets of crops, with scores.

    Attributes:
        scores: intervals by set and name of the score.
        crops: all readings of the `*_readings.tsv` files, by set.
        weights: the weights that were used.
    """

    scores: dict[str, dict[str, Interval]] = field(default_factory=dict)
    crops: dict[str, list[CropReading]] = field(default_factory=dict)
    weights: str = ""


def read_run(folder: str | Path) -> Report:
    """Read a run directory, or a folder of run directories.

    Args:
        folder: a run directory of `craftjax` or `crnnjax`, or a folder of such directories.

    Returns:
        The report without what needs the networks: images of a detector, crops and suspects.

    Raises:
        ReportError: the folder has no files of a run.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ReportError(f"{folder}: no such folder; name the --workdir of a run")
    if runs := [one for one in _runs_in(folder) if one != folder]:
        reports = [(one, _read_one(one)) for one in runs]
        return _together(folder, reports)
    return _read_one(folder)


def _runs_in(folder: Path) -> list[Path]:
    """The folder if it is a run directory; else the run directories in it."""
    if _is_run(folder):
        return [folder]
    inside = sorted(one for one in folder.iterdir() if one.is_dir() and _is_run(one))
    if not inside:
        raise ReportError(
            f"{folder}: not a run directory: expected metrics.jsonl, recognition.json, "
            "result.json, evaluate.json or sweep.json in it, or in a folder inside. Name the "
            "--workdir of a run"
        )
    return inside


def _is_run(folder: Path) -> bool:
    names = ("metrics.jsonl", "recognition.json", "result.json", "evaluate.json", "sweep.json")
    return any((folder / name).is_file() for name in names)


def _read_one(folder: Path) -> Report:
    run, notes = RunFolder(folder), list[str]()
    config = _json(run.config, notes, missing="the training config is not known")
    config = config if isinstance(config.get("data"), dict) else {}
    charts = charts_of(run.metrics, notes)
    if run.metrics.is_file():
        if not charts:
            notes.append(f"{run.metrics}: has no curves")
    else:
        notes.append(f"{run.metrics}: does not exist, so there are no curves")
    scores: list[Score] = []
    crops: list[CropReading] = []
    columns = ("before", "this run")
    after = read_readings(folder, notes)
    if after is not None:
        before = _before(folder, after, notes)
        if before is not None:
            columns = (before.weights or "before", "this run")
        scores += compare_readings(before, after)
        crops = [crop for one in after.crops.values() for crop in one]
    scores += _detection(folder, notes)
    overlays = sorted((folder / "overlays").glob("*.png"))
    if not scores:
        notes.append(
            f"{folder}: has no recognition.json, result.json or evaluate.json, so there are no "
            "scores: the run has not finished"
        )
    weights = [one for one in sorted(folder.glob("weights.*")) if one.suffix != ".json"]
    if not weights:
        notes.append(f"{run.weights}: does not exist, so there is no hash of the weights")
    kept = [run.config, run.charset, run.operating_point]
    return Report(
        title=str(config.get("name") or folder.absolute().name),
        summary=_summary(config, charts),
        columns=columns,
        scores=tuple(scores),
        counts=_counts(config, run, after, notes),
        dropped=_dropped(folder, notes),
        charts=tuple(charts),
        crops=tuple(crops),
        thresholds=_thresholds(folder, notes),
        gallery=tuple((path.stem, path) for path in overlays),
        commands=_commands(run),
        environment=(*_settings(config), *environment()),
        hashes=hash_files([*weights, *filter(Path.is_file, kept)], notes),
        notes=tuple(notes),
    )


def _together(folder: Path, reports: Sequence[tuple[Path, Report]]) -> Report:
    """Merge the reports of several runs; names are prefixed by the run."""
    scores, charts, hashes, notes = [], [], [], list[str]()
    for path, one in reports:
        scores += [replace(score, note=f"{path.name}: {score.note}") for score in one.scores]
        charts += [replace(chart, title=f"{path.name}: {chart.title}") for chart in one.charts]
        notes += one.notes
        hashes += [(f"{path.name}/{name}", value) for name, value in one.hashes]
    every = [one for _, one in reports]
    return Report(
        title=folder.absolute().name,
        scores=tuple(scores),
        counts=tuple(
            replace(count, note=f"{path.name}: {count.note}")
            for path, one in reports
            for count in one.counts
        ),
        dropped=tuple(drop for one in every for drop in one.dropped),
        charts=tuple(charts),
        crops=tuple(crop for one in every for crop in one.crops),
        thresholds=next((one.thresholds for one in every if one.thresholds), None),
        gallery=tuple(picture for one in every for picture in one.gallery),
        commands=tuple(command for one in every for command in one.commands),
        environment=environment(),
        hashes=tuple(hashes),
        notes=tuple(notes),
    )


def compared(first: tuple[str, Report], second: tuple[str, Report]) -> Report:
    """Compare two runs in one report: the scores of the first are the ones before.

    Args:
        first: name and report of the first run.
        second: name and report of the second run, whose crops, images and thresholds are shown.

    Returns:
        The report; gains have paired intervals if both runs read the same crops.
    """
    (name, one), (other, two) = first, second
    before = {(score.name, score.note): score.after for score in one.scores}
    right = {_key(crop): crop.truth == crop.read for crop in one.crops}
    scores = []
    for score in two.scores:
        was = before.get((score.name, score.note))
        gain = None
        if score.name == _SCORES["accuracy"] and was is not None:
            crops = [crop for crop in two.crops if crop.set == score.note or not score.note]
            gain = _paired(crops, right)
        scores.append(replace(score, before=was, gain=gain))
    charts = [
        replace(chart, title=f"{label}: {chart.title}")
        for label, report in (first, second)
        for chart in report.charts
    ]
    hashes = [
        (f"{label}/{file}", value)
        for label, report in (first, second)
        for file, value in report.hashes
    ]
    return replace(
        two,
        title=f"{name} and {other}",
        columns=(name, other),
        scores=tuple(scores),
        charts=tuple(charts),
        hashes=tuple(hashes),
        notes=(*one.notes, *two.notes),
    )


def charts_of(metrics: str | Path, notes: list[str] | None = None) -> list[Chart]:
    """Return the curves of a run's `metrics.jsonl`: losses, evaluation scores, and the rest.

    Args:
        metrics: the file; without it there are no charts.
        notes: collects notes on damaged lines.

    Returns:
        The charts that have at least one value.
    """
    path = Path(metrics)
    columns: dict[str, list[tuple[float, float]]] = {}
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    bad = 0
    for line in lines:
        try:
            row = json.loads(line)
            step = float(row["step"])
            values = {str(k): float(v) for k, v in row.items() if v is not None}
            if not math.isfinite(step):
                raise ValueError("a step that is not finite")
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
            bad += 1
            continue
        for name, value in values.items():
            if name not in _SKIPPED and math.isfinite(value):
                columns.setdefault(name, []).append((step, value))
    if bad and notes is not None:
        notes.append(f"{path}: {bad:,} of {len(lines):,} lines are not metrics and are left out")
    losses = {n: p for n, p in columns.items() if n.endswith("loss")}
    evaluated = {n: p for n, p in columns.items() if n.startswith("eval/")}
    thresholds = {n: p for n, p in evaluated.items() if n.endswith(("threshold", "low_text"))}
    errors = {n: p for n, p in evaluated.items() if n.endswith(("cer", "forgotten"))}
    labels = {n: p for n, p in columns.items() if n.startswith("labels/")}
    shares = {
        n: labels[n] for n in ("labels/confidence", "labels/equal", "labels/mass") if n in labels
    }
    scores = {n: p for n, p in evaluated.items() if n not in thresholds and n not in errors}
    groups = (
        ("Losses", losses, any(y > 0 for points in losses.values() for _, y in points)),
        ("Scores in evaluations", scores, False),
        ("Errors in evaluations", errors, False),
        ("Thresholds in evaluations", thresholds, False),
        ("Pseudo labels", shares, False),
        ("Gradient norm", {n: p for n, p in columns.items() if n == "grad_norm"}, True),
        (
            "Share of time spent waiting for data",
            {n: p for n, p in columns.items() if n == "data_wait"},
            False,
        ),
    )
    return [
        Chart(
            title,
            tuple(Series(name.partition("/")[2] or name, tuple(p)) for name, p in group.items()),
            logarithmic,
        )
        for title, group, logarithmic in groups
        if group
    ]


def read_readings(folder: str | Path, notes: list[str]) -> Readings | None:
    """Read `recognition.json` and the readings next to it.

    Args:
        folder: folder of a run or of an evaluation.
        notes: collects notes on missing or damaged files.

    Returns:
        The readings; None if the file is missing or damaged.
    """
    path = Path(folder) / "recognition.json"
    if not path.is_file():
        return None
    report = _json(path, notes)
    sets = report.get("sets")
    if not isinstance(sets, dict):
        return None
    found = Readings(weights=Path(str(report.get("weights") or "")).name)
    for name, one in sets.items():
        values = {score: _interval(one.get(score)) for score in _SCORES if isinstance(one, dict)}
        found.scores[str(name)] = {k: v for k, v in values.items() if v is not None}
        stem = "".join(c if c.isalnum() or c in "-_." else "_" for c in str(name))
        file = path.with_name(f"{stem}_readings.tsv")
        if file.is_file():
            found.crops[str(name)] = _tsv(file, str(name), notes)
        else:
            notes.append(f"{file}: does not exist, so the words of {name} are not shown")
    return found


def compare_readings(before: Readings | None, after: Readings) -> list[Score]:
    """Return the rows of the table of scores.

    Args:
        before: readings before training, on the same crops; None: there are none.
        after: readings of the run.

    Returns:
        A row for each set and score. Gains in word accuracy have paired intervals if both read the
        same crops.
    """
    rows = []
    for name, values in after.scores.items():
        old = before.scores.get(name, {}) if before else {}
        for score, value in values.items():
            gain = None
            if score == "accuracy" and before is not None:
                right = {_key(c): c.truth == c.read for c in before.crops.get(name, [])}
                gain = _paired(after.crops.get(name, []), right)
            higher = score != "cer"
            rows.append(Score(_SCORES[score], old.get(score), value, gain, name, higher))
    return rows


def environment() -> tuple[tuple[str, str], ...]:
    """Return versions, machine and time for the page."""
    rows = [("report written", datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"))]
    for package in _PACKAGES:
        try:
            rows.append((package, version(package)))
        except PackageNotFoundError:
            continue
    rows.append(("Python", platform.python_version()))
    rows.append(("system", f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs"))
    return tuple(rows)


def hash_files(
    paths: Sequence[str | Path], notes: list[str] | None = None
) -> tuple[tuple[str, str], ...]:
    """Return the SHA-256 of files, by name.

    Args:
        paths: paths of the files.
        notes: collects notes on unreadable files.
    """
    rows = []
    for path in map(Path, paths):
        try:
            if path.stat().st_size > _HASHED:
                continue
            with path.open("rb") as file:
                rows.append((path.name, hashlib.file_digest(file, "sha256").hexdigest()))
        except OSError as error:
            if notes is not None:
                notes.append(f"{path}: no hash: {error.strerror}")
    return tuple(rows)


def _json(path: Path, notes: list[str], *, missing: str = "") -> Json:
    """Read a JSON object; empty if the file is missing or damaged."""
    if not path.is_file():
        if missing:
            notes.append(f"{path}: does not exist, so {missing}")
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        notes.append(f"{path}: damaged, left out: {error}")
        return {}
    if not isinstance(value, dict):
        notes.append(f"{path}: left out: expected a JSON object")
        return {}
    return value


def _interval(value: Any) -> Interval | None:
    try:
        return Interval(*(float(value[name]) for name in ("value", "low", "high")))
    except (TypeError, KeyError, ValueError):
        return None


def _tsv(path: Path, name: str, notes: list[str]) -> list[CropReading]:
    crops, bad = [], 0
    text = path.read_text(encoding="utf-8", errors="replace")
    for line in text.split("\n")[1:]:
        try:
            crop, truth, read, sure = line.split("\t")
            crops.append(CropReading(crop, truth, read, float(sure), None, name))
        except ValueError:
            bad += bool(line)
    if bad:
        notes.append(f"{path}: {bad:,} lines left out: expected path, truth, read, confidence")
    return crops


def _key(crop: CropReading) -> tuple[str, str, str]:
    return crop.set, crop.name, crop.truth


def _paired(crops: Sequence[CropReading], right: Mapping[Any, bool]) -> Interval | None:
    """Paired gain in word accuracy; None if the crops differ."""
    if not crops or any(_key(crop) not in right for crop in crops):
        return None
    change = [float(crop.truth == crop.read) - right[_key(crop)] for crop in crops]
    return ratio_interval(np.array(change), np.ones(len(change)))


def _before(folder: Path, after: Readings, notes: list[str]) -> Readings | None:
    """Readings of the same crops by other weights, if the run has exactly one such evaluation."""
    found = []
    for path in sorted(folder.glob("evaluate-*/recognition.json")):
        one = read_readings(path.parent, notes)
        if one is not None and one.scores.keys() == after.scores.keys():
            found.append(replace(one, weights=path.parent.name.removeprefix("evaluate-")))
    return found[0] if len(found) == 1 else None


def _detection(folder: Path, notes: list[str]) -> list[Score]:
    """Scores of a detector: of an evaluation by image, else those at the end of the run."""
    best = _json(folder / "evaluate.json", notes).get("best")
    if isinstance(best, dict):
        try:
            known = {one.name for one in fields(ImageResult)}
            images = [
                ImageResult(**{k: v for k, v in image.items() if k in known})
                for image in best["images"]
            ]
            evaluation = Evaluation(str(best["protocol"]), tuple(images))
            note = f"{len(images):,} images of evaluate.json, {evaluation.protocol}"
            rows = [Score("hmean", after=bootstrap_hmean(evaluation), note=note)]
            return rows + [
                Score(name, after=_bare(getattr(evaluation, name)), note=note)
                for name in _DETECTION[1:]
            ]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            notes.append(f"{folder / 'evaluate.json'}: left out: {error}")
    result = _json(folder / "result.json", notes)
    note = f"{result.get('pages', '')}, {result.get('protocol', '')}".strip(", ")
    rows = [
        Score(name, after=_bare(float(result[name])), note=note)
        for name in _DETECTION
        if isinstance(result.get(name), int | float)
    ]
    match result.get("interval"):
        case [int() | float() as low, int() | float() as high] if isinstance(
            result.get("hmean"), int | float
        ):
            rows[0] = replace(rows[0], after=Interval(float(result["hmean"]), low, high))
        case _ if rows:
            notes.append(f"{folder / 'result.json'}: has no intervals: from an earlier version")
    return rows


def _bare(value: float) -> Interval:
    """A value without an interval."""
    return Interval(value, math.nan, math.nan)


def _thresholds(folder: Path, notes: list[str]) -> Thresholds | None:
    sweep = _json(folder / "sweep.json", notes)
    names = [one.name for one in fields(Threshold)]
    try:
        points = [Threshold(*(float(p[name]) for name in names)) for p in sweep.get("points", [])]
    except (TypeError, KeyError, ValueError) as error:
        notes.append(f"{folder / 'sweep.json'}: left out: not the result of a sweep: {error}")
        return None
    if not points:
        return None
    kept = _json(folder / "operating_point.json", notes)

    def at(options: Any) -> Threshold | None:
        if not isinstance(options, dict):
            return None
        wanted = [options.get(name) for name in names[:3]]
        same = (p for p in points if [getattr(p, name) for name in names[:3]] == wanted)
        return next(same, None)

    why = str(kept.get("chosen", "")).removeprefix("--mode=sweep: ")
    return Thresholds(tuple(points), at(sweep.get("options")), at(kept.get("options")), why)


def _counts(
    config: Json, run: RunFolder, readings: Readings | None, notes: list[str]
) -> tuple[Count, ...]:
    rows = []
    for name, files in _json(run.data, notes).items():
        if isinstance(files, dict):
            rows.append(Count("training files", len(files), f"set {name}"))
    for name, crops in (readings.crops if readings else {}).items():
        rows.append(Count("crops read", len(crops), f"set {name}"))
    if isinstance(config.get("steps"), int):
        rows.append(Count("steps", config["steps"], f"batches of {config.get('batch_size')}"))
    return tuple(rows)


def _dropped(folder: Path, notes: list[str]) -> tuple[Dropped, ...]:
    """What evaluations left out."""
    rows = []
    sets = _json(folder / "recognition.json", notes).get("sets")
    for name, one in sets.items() if isinstance(sets, dict) else ():
        for field_name, why in _COUNTED.items():
            count = one.get(field_name) if isinstance(one, dict) else 0
            if isinstance(count, int) and count:
                named = one.get(f"{field_name}_named")
                examples = tuple(map(str, named)) if isinstance(named, list) else ()
                rows.append(Dropped(f"crops of {name}", why, count, examples))
    for file in ("evaluate.json", "sweep.json"):
        bad = _json(folder / file, notes).get("malformed")
        if isinstance(bad, list) and bad:
            named = tuple(map(str, bad[:20]))
            rows.append(Dropped("lines of label files", f"malformed ({file})", len(bad), named))
    return tuple(rows)


def _summary(config: Json, charts: Sequence[Chart]) -> tuple[str, ...]:
    ends = [points[-1][0] for chart in charts for _, points in _series(chart) if points]
    if not ends:
        return ()
    steps = config.get("steps")
    of = f" of {steps:,}" if isinstance(steps, int) else ""
    start = config.get("init_from") or config.get("init_weights")
    begun = f", initialized from {start}" if start else ""
    return (f"{int(max(ends)):,}{of} steps{begun}.",)


def _series(chart: Chart) -> Iterator[tuple[str, tuple[tuple[float, float], ...]]]:
    return ((one.name, one.points) for one in chart.series)


def _settings(config: Json) -> tuple[tuple[str, str], ...]:
    names = ("name", "seed", "steps", "batch_size", "init_from", "init_weights")
    return tuple(
        (f"config.{name}", str(config[name]))
        for name in names
        if config.get(name) not in (None, "")
    )


def _commands(run: RunFolder) -> tuple[tuple[str, str], ...]:
    if not run.weights.is_file():
        return ()
    name = re.sub(r"(?<!^)\s", r"\ ", str(run.path))
    if run.charset.is_file():
        return (("use in EasyOCR", f"ocrjax export easyocr {name} --check --install"),)
    weights = f"{name}/{run.weights.name}"
    return (("find words", f"ocrjax detect PHOTOS --weights {weights} --overlay exp/mine"),)
