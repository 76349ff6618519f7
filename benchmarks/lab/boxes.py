"""Boxes from maps: `craftjax.boxes` against EasyOCR's `craft_utils`, in the same run.

    python benchmarks/lab/boxes.py

Draws maps of 1120 x 1120 pixels with words, straight and slightly rotated, every tenth one curved;
checks that both find the same boxes and polygons; and times them in turns, on one OpenCV thread.
Without EasyOCR it times only ours.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # modules shared with benchmarks/

import cv2
import numpy as np
from peers import PeerMissing, import_easyocr, version

from craftjax.boxes import find_boxes

SIZE = 1120
COUNTS = (50, 300, 1000)
THRESHOLDS = {"text_threshold": 0.7, "link_threshold": 0.4, "low_text": 0.4}  # EasyOCR's
CELL = (50, 22)  # width and height, in pixels, of the cell of a word
LETTER = (7, 9)  # letter spacing and height


def draw_maps(words: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return region and affinity maps, `(SIZE, SIZE)` float32, with that many words."""
    rng = np.random.default_rng(seed)
    region = rng.uniform(0, 0.05, (SIZE, SIZE)).astype(np.float32)
    affinity = region[::-1].copy()
    columns, rows = SIZE // CELL[0], SIZE // CELL[1]
    cells = rng.permutation(columns * rows)[:words]
    for index, cell in enumerate(cells.tolist()):
        left, top = cell % columns * CELL[0], cell // columns * CELL[1]
        letters = int(rng.integers(2, 7))
        along = (np.arange(letters) - (letters - 1) / 2) * LETTER[0]
        bend = rng.choice([-1, 1]) * 0.02 if index % 10 == 0 else 0.0
        across = bend * (along**2 - (along**2).mean())
        angle = 0.0 if index % 2 else rng.uniform(-0.12, 0.12)
        c, s = math.cos(angle), math.sin(angle)
        x, y = c * along - s * across + CELL[0] / 2, s * along + c * across + CELL[1] / 2
        yy, xx = np.mgrid[: CELL[1], : CELL[0]].astype(np.float32)
        between = (x[1:] + x[:-1]) / 2, (y[1:] + y[:-1]) / 2
        for out, xs, ys in ((region, x, y), (affinity, *between)):
            window = out[top : top + CELL[1], left : left + CELL[0]]
            for px, py in zip(xs, ys, strict=True):
                squared = ((xx - px) / (0.4 * LETTER[0])) ** 2 + (
                    (yy - py) / (0.4 * LETTER[1])
                ) ** 2
                np.maximum(window, np.exp(-squared), out=window)
    return region, affinity


def is_folded(polygon: np.ndarray, quad: np.ndarray) -> bool:
    """Return whether the last line across the word runs from bottom to top."""
    return bool((polygon[8] - polygon[5]) @ (quad[3] - quad[0]) < 0)


def count_folded(ours: Any, quads: list, polygons: list) -> int:
    """Check that the peer's boxes and polygons equal ours, in order.

    If a word leaves the last slice of its box empty, the peer's polygon folds over. Ours is None
    then; such polygons are counted instead.
    """
    np.testing.assert_array_equal(ours.quads, np.array(quads, np.float32).reshape(-1, 4, 2))
    folded = 0
    for quad, mine, theirs in zip(ours.quads, ours.polygons, polygons, strict=True):
        if mine is None and theirs is not None and is_folded(theirs, quad):
            folded += 1
        elif mine is None or theirs is None:
            assert mine is theirs
        else:
            np.testing.assert_allclose(mine, theirs, atol=1e-3)
    return folded


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=5, help="timed calls of each")
    parser.add_argument("--out", type=Path, default=Path("exp/benchmarks/boxes.json"))
    args = parser.parse_args()

    cv2.setNumThreads(1)
    peer = None
    try:
        import_easyocr()
        from easyocr.craft_utils import getDetBoxes as peer
    except PeerMissing as error:
        print(f"{error}\nOnly ours is timed.\n")

    cases = []
    print(f"maps {SIZE} x {SIZE}, medians of {args.repeats}\n")
    print(
        "| words | polygons | found | outlined | ours ms | EasyOCR ms | ratio | folded by EasyOCR |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for words in COUNTS:
        region, affinity = draw_maps(words)
        for polygons in (False, True):
            functions = {
                "ours": lambda r=region, a=affinity, p=polygons: find_boxes(
                    r, a, **THRESHOLDS, polygons=p
                )
            }
            found = functions["ours"]()  # the first call of each is not timed
            assert len(found) == words, f"{len(found)} boxes for {words} words"
            if peer is not None:
                functions["easyocr"] = lambda r=region, a=affinity, p=polygons: peer(
                    r, a, *THRESHOLDS.values(), p
                )
                folded = count_folded(found, *functions["easyocr"]()[:2])
            times: dict[str, list[float]] = {name: [] for name in functions}
            for _ in range(args.repeats):
                for name, function in functions.items():
                    start = time.perf_counter()
                    function()
                    times[name].append((time.perf_counter() - start) * 1e3)
            outlined = sum(p is not None for p in found.polygons)
            case: dict[str, Any] = {
                "words": words,
                "polygons": polygons,
                "outlined": outlined,
                "milliseconds": times,
                "ours_ms": median(times["ours"]),
            }
            cells = [words, polygons, len(found), outlined, f"{case['ours_ms']:.1f}", "-", "-", "-"]
            if peer is not None:
                case["easyocr_ms"] = median(times["easyocr"])
                case["folded_by_easyocr"] = folded
                case["ratio"] = case["easyocr_ms"] / case["ours_ms"]
                cells[5:] = [f"{case['easyocr_ms']:.1f}", f"{case['ratio']:.1f}", folded]
            cases.append(case)
            print("|", " | ".join(map(str, cells)), "|", flush=True)
    versions = {name: version(name) for name in ("numpy", "opencv-python-headless", "easyocr")}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(
        json.dumps({"size": SIZE, "versions": versions, "cases": cases}, indent=1) + "\n"
    )
    print(f"\nwritten to {args.out}")


if __name__ == "__main__":
    main()
