"""Thresholds chosen on a few pictures, judged on the others: the overall best, and `choose_point`.

Sets of a few pictures are drawn from a folder, thresholds are chosen on each, and the hmean on the
rest is compared with that at EasyOCR's own thresholds.

Command: python benchmarks/lab/few_pictures.py --root DIR
    (DIR with images/ and gt/; the thresholds are those tried by configs/custom.py)
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from craftjax.detector import Detector
from craftjax.evaluate import OperatingPoint, choose_point, read_truth, sweep
from craftjax.options import DetectorOptions
from ocrcore.evaluation.matching import Evaluation

TRIED = {
    "text_thresholds": (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9),
    "link_thresholds": (0.1, 0.2, 0.3, 0.4, 0.5),
    "low_texts": (0.3, 0.35, 0.4, 0.45, 0.5, 0.55),
}


def part(points: list[OperatingPoint], pictures: np.ndarray) -> list[OperatingPoint]:
    """Return the same points on some of the pictures, in the same order."""
    out = []
    for point in points:
        images = tuple(point.evaluation.images[picture] for picture in pictures)
        out.append(OperatingPoint(*point.thresholds.values(), Evaluation("iou", images)))
    return out


def draw(points: list[OperatingPoint], size: int, options: DetectorOptions, seed: int) -> dict:
    """Choose on `size` pictures; return the change of hmean on the others by both rules."""
    order = np.random.default_rng([seed, size]).permutation(len(points[0].evaluation.images))
    drawn, rest = part(points, order[:size]), part(points, order[size:])
    hmeans = [point.evaluation.hmean for point in drawn]
    # `lowest`: ties go to the lowest thresholds. `ranked`: as `sweep` orders them.
    lowest = min(range(len(points)), key=lambda i: (-hmeans[i], *points[i].thresholds.values()))
    moves = [
        sum(abs(value - getattr(options, name)) for name, value in point.thresholds.items())
        for point in points
    ]
    ranked = sorted(range(len(points)), key=lambda i: (-hmeans[i], round(moves[i], 6)))
    choice = choose_point([drawn[i] for i in ranked], options)
    chosen = next(i for i in range(len(points)) if drawn[i] is choice.point)
    used = moves.index(0)
    change = {
        name: rest[i].evaluation.hmean - rest[used].evaluation.hmean
        for name, i in (("best", lowest), ("chosen", chosen))
    }
    return {"words": drawn[0].evaluation.truth_care, "moved": choice.moved, **change}


def main() -> None:
    """Print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--root", required=True, help="images/ and gt/")
    parser.add_argument("--canvas", type=int, default=1280)
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--sizes", type=int, nargs="+", default=[2, 5, 8, 12, 20, 40])
    parser.add_argument("--out", type=Path, default=Path("exp/benchmarks/few_pictures.json"))
    args = parser.parse_args()
    options = DetectorOptions(canvas_size=args.canvas)
    section = {"kind": "icdar", "root": args.root, "images": "images", "gt": "gt"}
    truth = read_truth({**section, "layout": "auto", "dont_care": ("###",)})
    detector = Detector.from_weights("craft_mlt_25k", options=options)
    points = sweep(detector, truth, options=options, **TRIED)
    words = points[0].evaluation.truth_care
    print(f"{len(truth)} pictures, {words} words; best {points[0].thresholds}")
    print("pictures  words  the best of all: mean, worst   choose_point: moved, mean, worst")
    rows = []
    for size in args.sizes:
        found = [draw(points, size, options, seed) for seed in range(args.draws)]
        mean = {name: float(np.mean([one[name] for one in found])) for name in found[0]}
        worst = {name: min(one[name] for one in found) for name in ("best", "chosen")}
        rows.append({"pictures": size, "mean": mean, "worst": worst})
        print(
            f"{size:8} {mean['words']:6.0f}  {mean['best']:+21.4f} {worst['best']:+.4f}   "
            f"{mean['moved']:12.0%} {mean['chosen']:+.4f} {worst['chosen']:+.4f}",
            flush=True,
        )
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
