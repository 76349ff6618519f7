"""Evaluates a run on labeled pages, and tunes its thresholds: the modes `evaluate` and `sweep`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from craftjax.config import check, pages
from craftjax.detector import Detector
from craftjax.evaluate import (
    OperatingPoint,
    ScoreCache,
    check_words,
    format_points,
    read_truth,
    sweep,
    truth_notes,
)
from craftjax.options import (
    DetectorOptions,
    load_operating_point,
    operating_point_path,
    save_operating_point,
)
from craftjax.report import describe_truth
from ocrcore.files import write_json
from ocrcore.options import from_section
from ocrcore.pages import LabelError, Page, Sample
from ocrcore.progress import Progress
from ocrcore.training.run_folder import RunFolder

_SHOWN = 10  # points of a sweep


def evaluate_run(
    config: ConfigDict,
    workdir: str | Path,
    weights: str | None = None,
    images: str | None = None,
    gt: str | None = None,
    *,
    skip_bad: bool = False,
    sweeping: bool = False,
) -> OperatingPoint:
    """Evaluates a run, or other weights, at the config's thresholds, or tunes them.

    Args:
        config: `detector`, `eval`, `test` and, to tune, `sweep`.
        workdir: of the run; takes `evaluate.json` or `sweep.json`, and the tuned thresholds.
        weights: a name, file or checkpoint instead of the run's best checkpoint, or of
            `config.weights` where there is no run.
        images: a folder of pictures instead of `config.test.images`; goes with `gt`.
        gt: a folder of label files.
        skip_bad: leave out malformed lines of label files and list them.
        sweeping: try all thresholds of `config.sweep`, by default on the pages of
            `config.calibration`, else of `config.eval.pages`, else of the test, and keep the best.

    Returns:
        The thresholds with the best hmean.

    Raises:
        ValueError: (its subclasses) invalid fields, weights or labels.
    """
    check(config)
    run = RunFolder(Path(workdir))
    name, section = _pages(config, images, gt, sweeping=sweeping)
    bad: list[LabelError] = []
    truth = read_truth(section, bad=bad if skip_bad else None)
    notes = truth_notes(section)
    if bad:
        print(f"left out {len(bad)} malformed lines:", *bad, sep="\n  ", file=sys.stderr)
    check_words(truth, name)
    trained = run.checkpoints.is_dir()
    source = weights or (not trained and config.weights) or run.path
    options = from_section(DetectorOptions, config.detector, "config.detector")
    points = _score(config, run, Detector.from_weights(source, options=options), truth, sweeping)
    print(f"{source} on {name}, {describe_truth(truth)}; {config.eval.protocol}")
    print(format_points(points[: _SHOWN if sweeping else 1]))
    best = points[0]
    report = {
        "weights": str(source),
        "options": dict(config.detector),
        "points": [point.to_dict() for point in points],
        "best": best.evaluation.to_dict(),
        "malformed": [str(error) for error in bad],
    }
    out = run.path / ("sweep.json" if sweeping else "evaluate.json")
    write_json(out, report)
    print(f"written: {out}", *notes, sep="\n")
    if sweeping:
        _keep_thresholds(run, Path(source), best, options)
    else:
        _compare_thresholds(Path(source), best)  # last: a damaged file costs no result
    return best


def _score(
    config: ConfigDict,
    run: RunFolder,
    detector: Detector,
    truth: Sequence[Page | Sample],
    sweeping: bool,
) -> list[OperatingPoint]:
    options = detector.options
    run.path.mkdir(parents=True, exist_ok=True)
    cache = None
    if config.eval.keep_scores:
        cache = ScoreCache(run.path / "scores", fingerprint=detector.fingerprint, options=options)
    thresholds = {
        f"{name}s": tuple(config.sweep[name]) if sweeping else (getattr(options, name),)
        for name in ("text_threshold", "link_threshold", "low_text")
    }
    with Progress("finding words", unit="page", total=len(truth)) as progress:
        return sweep(
            detector,
            truth,
            options=options,
            protocol=config.eval.protocol,
            cache=cache,
            report=progress.update,
            **thresholds,
        )


def _keep_thresholds(
    run: RunFolder, source: Path, best: OperatingPoint, options: DetectorOptions
) -> None:
    """Writes the tuned thresholds into the run's folder, and beside the weights."""
    where = [run.operating_point]
    # A run that has not finished has no file of weights yet that others would load.
    if source.exists() and (source != run.path or run.weights.is_file()):
        where.append(operating_point_path(source))
    for path in where:
        save_operating_point(path, replace(options, **best.thresholds), measured=best.to_dict())
        print(f"written: {path}")


def _compare_thresholds(source: Path, used: OperatingPoint) -> None:
    """Prints how to evaluate at the thresholds beside the weights, where these differ."""
    kept = operating_point_path(source)
    if not kept.is_file():
        return
    point = load_operating_point(kept)
    tuned = {name: getattr(point, name) for name in used.thresholds}
    if tuned != used.thresholds:
        given = " ".join(f"--config.detector.{name}={x:g}" for name, x in tuned.items())
        print(f"at the config's thresholds; {kept} has those tuned for these weights: {given}")


def _pages(
    config: ConfigDict, images: str | None, gt: str | None, *, sweeping: bool
) -> tuple[str, dict[str, Any]]:
    """What is evaluated, by name. Thresholds are tuned on the test only for want of other pages."""
    if images or gt:
        if not (images and gt):
            raise ValueError("--images and --gt go together")
        test = config.test or pages("icdar")
        labels = {"layout": test.layout, "dont_care": test.dont_care}
        return "--images", {"kind": "icdar", "root": "", "images": images, "gt": gt, **labels}
    if sweeping and config.calibration:
        return "config.calibration", dict(config.calibration)
    if sweeping and config.eval.pages:
        return "config.eval.pages", dict(config.eval.pages)
    if not config.test:
        raise ValueError("this config has no config.test: name pictures with --images and --gt")
    return "config.test", dict(config.test)
