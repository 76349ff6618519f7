"""Scoring of detected words: `ocrcore.evaluation.matching` against a loop over shapely pairs.

    python benchmarks/lab/matching.py

Makes pictures of 20 true and 20 found words, a tenth of the true ones "don't care", and scores them
by the protocol `iou`. The loop is built like the evaluation of EasyOCR's CRAFT trainer, which makes
its polygons again for every pair and every operation. It scores only the first `--loop` pictures;
ours scores the same ones, for the ratio, and then all of them. Both must agree on every pair.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1]))  # modules shared with benchmarks/

import numpy as np
import shapely
from peers import version
from shapely.geometry import Polygon

from ocrcore.evaluation.matching import PROTOCOLS, evaluate
from ocrcore.evaluation.statistics import bootstrap_hmean

WORDS = 20
SIZE = (1280, 720)  # of a picture, in pixels


def draw(pictures: int, seed: int = 0) -> tuple[list, list, list]:
    """Make true quads, the mask of those that count, and found quads, for each picture."""
    rng = np.random.default_rng(seed)
    truth, care, found = [], [], []
    unit = np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)])
    for _ in range(pictures):
        sides = np.stack([rng.uniform(20, 150, WORDS), rng.uniform(10, 50, WORDS)], 1)
        angle = rng.normal(0, 0.2, WORDS)
        c, s = np.cos(angle), np.sin(angle)
        turn = np.stack([c, s, -s, c], 1).reshape(-1, 2, 2)
        quads = (unit * sides[:, None]) @ turn + rng.uniform(0, SIZE, (WORDS, 1, 2))
        truth.append(quads)
        care.append(rng.random(WORDS) > 0.1)
        found.append(rng.permutation(quads + rng.normal(0, 4, quads.shape)))
    return truth, care, found


def loop(truth: list, care: list, found: list) -> list[list[tuple[int, int]]]:
    """Matches pair by pair with shapely, like EasyOCR's trainer."""

    def shared(a: np.ndarray, b: np.ndarray) -> float:
        return Polygon(a).intersection(Polygon(b)).area

    results = []
    for true, counts, boxes in zip(truth, care, found, strict=True):
        true_ok = [i for i, p in enumerate(true) if Polygon(p).is_valid and Polygon(p).is_simple]
        found_ok = [i for i, p in enumerate(boxes) if Polygon(p).is_valid and Polygon(p).is_simple]
        ignored = set()
        for j in found_ok:
            for i in true_ok:
                if not counts[i] and shared(true[i], boxes[j]) / Polygon(boxes[j]).area > 0.5:
                    ignored.add(j)
                    break
        iou = np.zeros((len(true), len(boxes)))
        for i in true_ok:
            for j in found_ok:
                union = Polygon(true[i]).union(Polygon(boxes[j])).area
                iou[i, j] = shared(true[i], boxes[j]) / union
        pairs: list[tuple[int, int]] = []
        free_true, free_found = set(true_ok), set(found_ok)
        for i in true_ok:
            for j in found_ok:
                free = i in free_true and j in free_found and counts[i] and j not in ignored
                if free and iou[i, j] > 0.5:
                    pairs.append((i, j))
                    free_true.remove(i)
                    free_found.remove(j)
        results.append(pairs)
    return results


def measure(functions: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Times the functions in turn, in milliseconds; the first call of each is not counted."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(repeats + 1):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            if turn:
                times[name].append((time.perf_counter() - start) * 1e3)
    return times


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pictures", type=int, default=500)
    parser.add_argument("--loop", type=int, default=50, help="pictures for the shapely loop")
    parser.add_argument("--repeats", type=int, default=5, help="timed calls per function")
    parser.add_argument("--out", type=Path, default=Path("exp/benchmarks/matching.json"))
    args = parser.parse_args()

    everything = draw(args.pictures)
    few = tuple(part[: args.loop] for part in everything)
    pairs = [list(image.pairs) for image in evaluate(*few).images]
    assert pairs == loop(*few), "the shapely loop and `evaluate` give different pairs"

    evaluation = evaluate(*everything)
    functions: dict[str, Callable[[], object]] = {
        "shapely loop": lambda: loop(*few),
        "iou, as many": lambda: evaluate(*few),
    }
    for protocol in PROTOCOLS:
        functions[protocol] = lambda p=protocol: evaluate(*everything, protocol=p)
    functions["bootstrap"] = lambda: bootstrap_hmean(evaluation)
    times = measure(functions, args.repeats)
    medians = {name: median(values) for name, values in times.items()}
    ratio = medians["shapely loop"] / medians["iou, as many"]

    print(f"{WORDS} true and {WORDS} found words per picture, medians of {args.repeats}\n")
    print("| what | pictures | ms | ms per picture |\n|---|---|---|---|")
    for name, value in medians.items():
        number = len(few[0]) if name in ("shapely loop", "iou, as many") else args.pictures
        print(f"| {name} | {number} | {value:.1f} | {value / number:.3f} |")
    print(
        f"\nours is {ratio:.0f} times as fast on the same {len(few[0])} pictures; all pairs agree"
    )

    versions = {"numpy": version("numpy"), "shapely": version("shapely")}
    versions["geos"] = shapely.geos_version_string
    result = {"words": WORDS, "pictures": args.pictures, "loop_pictures": len(few[0])}
    result |= {"ratio": ratio, "milliseconds": times, "versions": versions}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    print(f"\nwritten: {args.out}")


if __name__ == "__main__":
    main()
