"""Compares weights before and after training, each at thresholds tuned by the same procedure.

For both, the thresholds of the config's `sweep` are tried on the pages of its `calibration`, and
the best are used on the pages of its `test`; the difference has a paired 95 % interval over
pictures. The same for the test pictures that share less than a third of their words with every
calibration picture (`new`): memorized words do not help there. `--forgetting` names other labeled
photos, which neither has been tuned on: there both are judged at their own tuned thresholds and at
EasyOCR's defaults (.7 / .4 / .4).

Score maps are cached in `--scores`, so that a second call needs no network.

Command: python benchmarks/lab/before_after.py --root DIR --after exp/borndigital
    [--forgetting IMAGES GT] [--mag_ratio 1.75]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # modules shared with benchmarks/

from detector_runs import CONFIGS, load_config
from tqdm import tqdm

from craftjax.detector import Detector
from craftjax.evaluate import OperatingPoint, ScoreCache, format_points, read_truth, sweep
from craftjax.options import DetectorOptions
from ocrcore.data.readers.icdar import read_icdar_folder
from ocrcore.evaluation.statistics import paired_bootstrap
from ocrcore.options import from_section
from ocrcore.pages import Page
from ocrcore.runtime.tuning import tune_process

DEFAULTS = (0.7, 0.4, 0.4)
SHARED = 1 / 3


class Judge:
    """One set of weights with its cached scores."""

    def __init__(self, weights: str, config: Any, scores: Path) -> None:
        self.weights, self.config, self.scores = weights, config, scores
        self.detector = Detector.from_weights(
            weights, options=from_section(DetectorOptions, config.detector, "config.detector")
        )

    def points(
        self, pages: Sequence[Page], grid: dict[str, Sequence[float]], **changes: Any
    ) -> list[OperatingPoint]:
        """Return operating points of all combinations, the best first."""
        options = replace(self.detector.options, **changes)
        cache = ScoreCache(self.scores, fingerprint=self.detector.fingerprint, options=options)
        with tqdm(total=len(pages), unit="page", disable=None) as progress:
            return sweep(
                self.detector,
                pages,
                options=options,
                protocol=self.config.eval.protocol,
                cache=cache,
                report=lambda _: progress.update(),
                text_thresholds=grid["text_threshold"],
                link_thresholds=grid["link_threshold"],
                low_texts=grid["low_text"],
            )


def grid_of(*points: tuple[float, float, float]) -> dict[str, Sequence[float]]:
    """Return the smallest grid that contains some thresholds."""
    names = ("text_threshold", "link_threshold", "low_text")
    return {
        name: sorted(set(column))
        for name, column in zip(names, zip(*points, strict=True), strict=True)
    }


def at(points: Sequence[OperatingPoint], thresholds: tuple[float, ...]) -> OperatingPoint:
    """Return the point with some thresholds."""
    return next(one for one in points if tuple(one.thresholds.values()) == thresholds)


def texts(page: Page) -> set[str]:
    """Return the words on a page, except single characters."""
    return {word.text.lower() for word in page.words if word.care and len(word.text or "") > 1}


def unlike(pages: Sequence[Page], others: Sequence[Page]) -> list[Page]:
    """Return pages that share less than `SHARED` of their words with every one of the others."""
    known = [texts(page) for page in others]
    return [
        page
        for page in pages
        if max(len(texts(page) & one) for one in known) < SHARED * max(len(texts(page)), 1)
    ]


def main() -> None:
    """Measure, print tables and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--config", type=Path, default=CONFIGS / "borndigital.py")
    parser.add_argument("--root", required=True, help="config.data.root")
    parser.add_argument("--before", help="default: the config's init_weights")
    parser.add_argument("--after", required=True, help="folder of a run, or weights")
    parser.add_argument("--mag_ratio", type=float, help="default: the config's detector.mag_ratio")
    parser.add_argument("--forgetting", nargs=2, metavar=("IMAGES", "GT"))
    parser.add_argument("--forgetting_canvas", type=int, default=1280)
    parser.add_argument("--scores", type=Path, default=Path("exp/benchmarks/scores"))
    parser.add_argument("--out", type=Path, default=Path("exp/benchmarks/before_after.json"))
    args = parser.parse_args()
    tune_process()

    config = load_config(args.config)
    config.data.root = args.root
    if args.mag_ratio:
        config.detector.mag_ratio = args.mag_ratio
    calibration, test = read_truth(config.calibration), read_truth(config.test)
    new = unlike(test, calibration)
    others = read_icdar_folder(*args.forgetting) if args.forgetting else []
    found: dict[str, Any] = {}
    judged: dict[str, list[OperatingPoint]] = {"test": [], "new": [], "own": [], "defaults": []}
    for name, weights in (
        ("before", args.before or config.init_weights),
        ("after", args.after),
    ):
        judge = Judge(weights, config, args.scores)
        tuned = judge.points(calibration, dict(config.sweep))[0]
        chosen = tuple(tuned.thresholds.values())
        (point,) = judge.points(test, grid_of(chosen))
        judged["test"].append(point)
        print(f"{name}: {weights}; tuned on {len(calibration)} pages:")
        print(format_points([tuned]))
        print(f"on the {len(test)} test pages:")
        print(format_points([point]))
        if new:
            judged["new"] += judge.points(new, grid_of(chosen))
            print(f"on the {len(new)} of them that are new:")
            print(format_points(judged["new"][-1:]))
        found[name] = {"weights": str(weights), "tuned": tuned.to_dict(), "test": point.to_dict()}
        if others:
            points = judge.points(
                others,
                grid_of(chosen, DEFAULTS),
                canvas_size=args.forgetting_canvas,
                mag_ratio=1.0,
            )
            for kind, thresholds in (("own", chosen), ("defaults", DEFAULTS)):
                judged[kind].append(at(points, thresholds))
                found[name][f"forgetting_{kind}"] = judged[kind][-1].to_dict()
            print(f"on {len(others)} other photos, at these thresholds and at the defaults:")
            print(format_points([judged["own"][-1], judged["defaults"][-1]]))
    for kind, points in judged.items():
        if points:
            before, after = (point.evaluation for point in points)
            change = paired_bootstrap(before, after)
            what = {"value": change.value, "low": change.low, "high": change.high}
            found[f"change_{kind}"] = what
            print(
                f"change of hmean, {kind}: {change.value:+.4f} "
                f"({change.low:+.4f} to {change.high:+.4f})"
            )
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
