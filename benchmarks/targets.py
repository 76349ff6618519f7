"""Drawing the detector's target maps: `craftjax.targets` against the original's loop.

    python benchmarks/targets.py

The loop is EasyOCR's, rewritten from a description of it: for each character enlarge the box with
scalar arithmetic, warp the 200 x 200 patch into it at the picture's own resolution and take the
maximum; the same for each affinity; then halve both maps. (The original also resamples them once or
twice for augmentation; that is not counted.) Ours draws directly at half the resolution. Both draw
the same words, and the maps must agree. One thread; the two take turns.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import median

import cv2
import numpy as np

from craftjax.targets import affinity_quads, draw_targets, gaussian

SIZE = 768
COUNTS = (100, 300, 1000)
TOLERANCE = 0.02  # mean absolute difference of the maps


def make_words(characters: int, seed: int = 0) -> list[np.ndarray]:
    """Make words, slightly rotated and in perspective, all inside the picture.

    The more characters, the smaller, so that at most about half of the picture is text.
    """
    rng = np.random.default_rng(seed)
    words: list[np.ndarray] = []
    left = characters
    while left:
        count = min(int(rng.integers(1, 10)), left)
        height = rng.uniform(16, 40) * min(1.0, math.sqrt(300 / characters))
        width = 0.6 * height
        lefts = np.arange(count) * width
        quads = np.stack(
            [
                np.array([(x, 0), (x + width, 0), (x + width, height), (x, height)], np.float64)
                for x in lefts
            ]
        )
        angle = rng.uniform(-0.35, 0.35)
        c, s = math.cos(angle), math.sin(angle)
        quads = quads @ np.array([[c, s], [-s, c]])
        quads += rng.uniform(-0.05, 0.05, quads.shape) * height
        spread = quads.max((0, 1)) - quads.min((0, 1)) + height
        if (spread > SIZE).any():
            continue
        quads += rng.uniform(0, SIZE - spread) - quads.min((0, 1)) + height / 2
        words.append(quads.astype(np.float32))
        left -= count
    return words


def enlarge(box: np.ndarray, share: float = 0.5) -> list[tuple[int, int]]:
    """Enlarges a box like the original, corner by corner, clipped to the picture and truncated."""
    start = min(range(4), key=lambda i: float(box[i][0] + box[i][1]))
    corners = [(float(x), float(y)) for x, y in np.roll(box, -start, axis=0)]
    (ax, ay), (bx, by), (cx, cy), (dx, dy) = corners
    first = (cy - ay) / (cx - ax + 1e-7)
    second = (by - dy) / (bx - dx + 1e-7)
    x = ((dy - second * dx) - (ay - first * ax)) / (first - second)
    y = first * x + ay - first * ax
    out = []
    for (px, py), (sx, sy) in zip(corners, ((-1, -1), (1, -1), (1, 1), (-1, 1)), strict=True):
        angle = abs(math.atan((py - y) / (px - x + 1e-7)))
        reach = share * math.hypot(px - x, py - y)
        px, py = px + sx * math.cos(angle) * reach, py + sy * math.sin(angle) * reach
        out.append((int(min(max(px, 0), SIZE)), int(min(max(py, 0), SIZE))))
    return out


def draw_one(heat: np.ndarray, box: np.ndarray, patch: np.ndarray) -> None:
    """Warps the patch into the enlarged box, in place."""
    corners = np.array(enlarge(box), np.float32)
    left, top = corners.min(axis=0).astype(int)
    corners -= (left, top)
    width, height = corners.max(axis=0).astype(int)
    if not width or not height:
        return
    source = np.array([(0, 0), (200, 0), (200, 200), (0, 200)], np.float32)
    matrix = cv2.getPerspectiveTransform(source, corners)
    warped = cv2.warpPerspective(patch, matrix, (int(width), int(height)))
    window = heat[top : top + height, left : left + width]
    np.maximum(window, warped[: window.shape[0], : window.shape[1]], out=window)


def draw_loop(words: list[np.ndarray], patch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return both maps at half the resolution, drawn like the original."""
    region = np.zeros((SIZE, SIZE), np.float32)
    affinity = np.zeros((SIZE, SIZE), np.float32)
    for word in words:
        for box in word:
            draw_one(region, box, patch)
        for one, two in pairwise(word):
            first, second = one.mean(axis=0), two.mean(axis=0)
            between = [
                (one[0] + one[1] + first) / 3,
                (two[0] + two[1] + second) / 3,
                (two[2] + two[3] + second) / 3,
                (one[2] + one[3] + first) / 3,
            ]
            draw_one(affinity, np.stack(between), patch)
    half = (SIZE // 2, SIZE // 2)
    return (
        cv2.resize(region, half, interpolation=cv2.INTER_CUBIC),
        cv2.resize(affinity, half, interpolation=cv2.INTER_CUBIC),
    )


def draw_ours(words: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return both maps, from quads in the picture's coordinates."""
    targets = draw_targets([word / 2 for word in words], (SIZE // 2, SIZE // 2))
    return targets.region, targets.affinity


def in_turn(calls: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Return milliseconds of each call; the calls take turns."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            begin = time.process_time()
            call()
            times[name].append(1000 * (time.process_time() - begin))
    return times


def main() -> None:
    """Print a table and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=25)
    parser.add_argument("--out", type=Path, default=Path("exp/benchmarks/targets.json"))
    args = parser.parse_args()
    cv2.setNumThreads(1)
    offset = np.mgrid[:200, :200] - 100
    patch = gaussian((offset**2).sum(axis=0) / 100**2)
    results = []
    print(f"region and affinity, {SIZE}x{SIZE} picture, ms: median (least) of {args.repeats}")
    print("| characters | affinities | loop | ours | ratio of medians | mean difference |")
    print("| --- | --- | --- | --- | --- | --- |")
    for count in COUNTS:
        words = make_words(count)
        differences = [
            float(np.abs(a - b).mean())
            for a, b in zip(draw_loop(words, patch), draw_ours(words), strict=True)
        ]
        assert max(differences) <= TOLERANCE, differences
        times = in_turn(
            {
                "loop": lambda words=words: draw_loop(words, patch),
                "ours": lambda words=words: draw_ours(words),
            },
            args.repeats,
        )
        row = {
            "characters": count,
            "affinities": len(affinity_quads(words)),
            "median_ms": {name: median(values) for name, values in times.items()},
            "least_ms": {name: min(values) for name, values in times.items()},
            "mean_difference": differences,
        }
        row["ratio"] = row["median_ms"]["ours"] / row["median_ms"]["loop"]
        results.append(row)
        cells = [f"{median(times[n]):.1f} ({min(times[n]):.1f})" for n in ("loop", "ours")]
        print(
            f"| {count} | {row['affinities']} | {cells[0]} | {cells[1]} | {row['ratio']:.3f} | "
            f"{differences[0]:.4f}, {differences[1]:.4f} |"
        )
    args.out.parent.mkdir(parents=True, exist_ok=True)
    report = {
        "machine": platform.platform(),
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "results": results,
    }
    args.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
