"""Evaluation of a run on labeled pages and threshold tuning: the modes `evaluate` and `sweep`."""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from craftjax.config import check, pages
from craftjax.detector import Detector
from craftjax.evaluate import (
    Choice,
    OperatingPoint,
    ScoreCache,
    check_words,
    choose_point,
    format_points,
    read_truth,
    sweep,
    truth_notes,
    with_used,
)
from craftjax.options import (
    THRESHOLDS,
    DetectorOptions,
    describe_options,
    operating_point_path,
    options_of,
    save_operating_point,
)
from craftjax.report import describe_truth
from ocrcore.files import write_json
from ocrcore.options import from_section
from ocrcore.pages import LabelError, Page, Sample
from ocrcore.progress import Progress
from ocrcore.training.run_folder import RunFolder
from ocrcore.weights.named import find_weights

_SHOWN = 10  # points of a sweep to print


def evaluate_run(
    config: ConfigDict,
    workdir: str | Path,
    weights: str | None = None,
    images: str | None = None,
    gt: str | None = None,
    *,
    skip_bad: bool = False,
    sweeping: bool = False,
    overrides: Collection[str] = (),
) -> OperatingPoint:
    """Evaluate a run, or other weights, as `ocrjax detect` uses them, or tune their thresholds.

    Args:
        config: sections `detector`, `eval`, `test` and, for a sweep, `sweep`. In an evaluation, an
            operating point next to the weights takes precedence over `config.detector`.
        workdir: the run directory; gets `evaluate.json` or `sweep.json`, and the tuned thresholds.
        weights: a name, file or checkpoint to use instead of the run's best checkpoint, or instead
            of `config.weights` if there is no run.
        images: a folder of images to use instead of `config.test.images`; requires `gt`.
        gt: a folder of label files; requires `images`.
        skip_bad: leave out malformed lines of label files and list them.
        sweeping: try all thresholds of `config.sweep`, by default on the pages of
            `config.calibration`, else of `config.eval.pages`, else of the test, and keep the best
            if they are significantly better than those of the config (`choose_point`).
        overrides: fields of `config.detector` that take precedence over the operating point.

    Returns:
        The point that was evaluated or chosen.

    Raises:
        ValueError: (subclasses) invalid fields, weights or labels.
    """
    check(config)
    run = RunFolder(Path(workdir))
    run.check_place()
    name, section = _pages(config, images, gt, sweeping=sweeping)
    bad: list[LabelError] = []
    truth = read_truth(section, bad=bad if skip_bad else None)
    notes = truth_notes(section)
    if bad:
        print(f"left out {len(bad)} malformed lines:", *bad, sep="\n  ", file=sys.stderr)
    check_words(truth, name)
    trained = run.checkpoints.is_dir()
    source = weights or (not trained and config.weights) or run.path
    options, origin = _options(config, source, sweeping, overrides)
    points = _score(config, run, Detector.from_weights(source, options=options), truth, sweeping)
    choice = choose_point(points, options)
    print(f"{source} on {name}, {describe_truth(truth)}; {config.eval.protocol}")
    print(describe_options(options, origin))
    print(format_points(points[: _SHOWN if sweeping else 1]))
    report = {
        "weights": str(source),
        "options": asdict(options),
        "points": [point.to_dict() for point in points],
        "best": choice.point.evaluation.to_dict(),
        "malformed": [str(error) for error in bad],
    }
    out = run.path / ("sweep.json" if sweeping else "evaluate.json")
    write_json(out, report)
    print(f"written: {out}", *notes, sep="\n")
    if sweeping:
        _keep_thresholds(run, source, choice, options)
    return choice.point


def _options(
    config: ConfigDict, source: str | Path, sweeping: bool, overrides: Collection[str]
) -> tuple[DetectorOptions, str]:
    """The options to use, and where they come from; a sweep starts from the config's thresholds."""
    own = from_section(DetectorOptions, config.detector, "config.detector")
    if sweeping:
        return own, "config.detector"
    options, origin = options_of(find_weights(source), own, "config.detector")
    options = replace(options, **{name: getattr(own, name) for name in overrides})
    if overrides and origin != "config.detector":
        origin += f"; {', '.join(overrides)} from the command line"
    others = [
        f"{name} {getattr(own, name):g}"
        for name in (*THRESHOLDS, "canvas_size", "mag_ratio")
        if getattr(own, name) != getattr(options, name)
    ]
    if others:
        origin += (
            f"; config.detector has {', '.join(others)}; --config.detector.NAME=VALUE would use "
            "that"
        )
    return options, origin


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
    thresholds: dict[str, Any] = {
        f"{name}s": with_used(config.sweep[name] if sweeping else (), getattr(options, name))
        for name in THRESHOLDS
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
    run: RunFolder, source: str | Path, choice: Choice, options: DetectorOptions
) -> None:
    """Write thresholds to the run directory and next to the weights; nothing with few words."""
    place = Path(source)
    beside = operating_point_path(place)
    if choice.few:
        print(f"not tuned, nothing written: {choice.why}")
        if beside.is_file():
            print(f"unchanged: {describe_options(*options_of(place, options, ''))}")
        return
    print(f"{'tuned' if choice.moved else 'thresholds unchanged'}: {choice.why}")
    where = [run.operating_point]
    # An unfinished run has no weights file yet that others could load.
    if place.exists() and (place != run.path or run.weights.is_file()):
        where.append(beside)
    tuned, measured = replace(options, **choice.point.thresholds), choice.point.to_dict()
    for path in where:
        save_operating_point(path, tuned, measured=measured, chosen=f"--mode=sweep: {choice.why}")
        print(f"written: {path}")


def _pages(
    config: ConfigDict, images: str | None, gt: str | None, *, sweeping: bool
) -> tuple[str, dict[str, Any]]:
    """The section to evaluate, with its name; a sweep uses the test pages only as a last resort."""
    if images or gt:
        if not (images and gt):
            raise ValueError("--images and --gt must be given together")
        test = config.test or pages("icdar")
        labels = {"layout": test.layout, "dont_care": test.dont_care}
        return "--images", {"kind": "icdar", "root": "", "images": images, "gt": gt, **labels}
    if sweeping and config.calibration:
        return "config.calibration", dict(config.calibration)
    if sweeping and config.eval.pages:
        return "config.eval.pages", dict(config.eval.pages)
    if not config.test:
        raise ValueError("config.test is missing: name images with --images and --gt")
    return "config.test", dict(config.test)
