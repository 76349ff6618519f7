r"""Our boxes against stored boxes of EasyOCR's CRAFT, with the cause of each difference.

    python benchmarks/lab/peer_boxes.py --boxes FILE --set NAME --images DIR --gt DIR \
        --config configs/ic13.py

FILE is JSON: `{NAME: {"images": {STEM: {"0.75/0.2/0.5": [four corners, ...]}}, "scores": {...}}}`,
corners in pixels rounded to two decimals, keys text/link/low threshold. The boxes of a photo are
identical when their number is the same and the corners of each agree within 0.05 pixels, in any
order.

A score close to a threshold decides boxes by its last digits. The stored boxes were made from maps
rounded to float16 (`--rounded`). This moves scores near 0.5 by up to 2.4e-4, and a score that is
rounded to the threshold itself changes from "above" to "not above". So our boxes are computed
twice: from the maps as they are, and from maps rounded the same way. For each box that rounding
changes, the list names the scores around it that cross a threshold when rounded. Where boxes differ
even with rounded maps, the list names the smallest shift of the thresholds that makes them equal:
about 1e-5 is the noise of two float32 implementations. A difference that needs a larger shift, or
that no shift explains, has another cause.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # modules shared with benchmarks/

import numpy as np
from detector_runs import Ours, add_arguments, at_thresholds
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from craftjax.boxes import find_boxes, scale_boxes
from craftjax.detector import Scores
from craftjax.options import DetectorOptions
from ocrcore.evaluation.matching import Evaluation, evaluate
from ocrcore.evaluation.statistics import paired_bootstrap

Floats = NDArray[np.floating[Any]]

TOLERANCE = 0.05  # pixels
# Stored corners have two decimals; the rounding of theirs and ours may differ.
SLACK = 1e-6
MARGIN = 12  # pixels of the map around a changed box that are searched for the cause
SHIFTS = (1e-6, 3e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2)


def boxes_of(maps: Floats, ratio: float, options: DetectorOptions) -> Floats:
    """Find boxes in score maps: quads `(N, 4, 2)` in pixels of the photo."""
    found = find_boxes(
        maps[:, :, 0],
        maps[:, :, 1],
        text_threshold=options.text_threshold,
        link_threshold=options.link_threshold,
        low_text=options.low_text,
    )
    return scale_boxes(found, ratio).quads.astype(np.float64).reshape(-1, 4, 2)


def compare(ours: Floats, given: Floats) -> tuple[list[int], list[int], list[float]]:
    """Pairs two sets of boxes.

    Returns:
        Indices of our boxes and of the given boxes without an identical partner, and the largest
        distance of corners, in x or y, for each pair among them, in descending order.
    """
    if not len(ours) or not len(given):
        return list(range(len(ours))), list(range(len(given))), []
    apart = np.abs(np.round(ours, 2)[:, None] - given[None]).max((2, 3))
    rows, columns = linear_sum_assignment(np.minimum(apart, 1e3))
    distance = apart[rows, columns]
    same = distance <= TOLERANCE + SLACK
    mine = sorted(set(range(len(ours))) - set(rows[same].tolist()))
    theirs = sorted(set(range(len(given))) - set(columns[same].tolist()))
    return mine, theirs, np.sort(distance[~same])[::-1].tolist()


def crossed(
    maps: Floats, rounded: Floats, window: tuple[slice, slice], options: DetectorOptions
) -> list[dict[str, Any]]:
    """Return the scores in a window that rounding moves across a threshold.

    `at` is their position `(x, y)` in the map.
    """
    found = []
    for channel, name, threshold in (
        (0, "low_text", options.low_text),
        (1, "link_threshold", options.link_threshold),
        (0, "text_threshold", options.text_threshold),
    ):
        limit = np.float32(threshold)
        before, after = maps[*window, channel], rounded[*window, channel]
        # A word's highest score must be >= the text threshold; the other two need >.
        if name == "text_threshold":
            differs = (before >= limit) != (after >= limit)
        else:
            differs = (before > limit) != (after > limit)
        for row, column in np.argwhere(differs).tolist():
            value = float(before[row, column])
            found.append(
                {
                    "threshold": name,
                    "score": value,
                    "off": abs(value - float(limit)),
                    "at": [window[1].start + column, window[0].start + row],
                }
            )
    return found


def smallest_shift(
    maps: Floats, ratio: float, options: DetectorOptions, given: Floats
) -> float | None:
    """Return the smallest tried shift of the thresholds that yields the given boxes, or None.

    Every given box that ocrjax lacks must appear at one of the shifts, and every surplus box must
    vanish at one. These may be different shifts, because a single pixel decides each box.
    """
    names = ("text_threshold", "link_threshold", "low_text")
    current = boxes_of(maps, ratio, options)
    extra, lacking, _ = compare(current, given)
    for size in SHIFTS:
        for signs in product((-1, 0, 1), repeat=3):
            moved = {
                n: getattr(options, n) + s * size for n, s in zip(names, signs, strict=True) if s
            }
            boxes = boxes_of(maps, ratio, replace(options, **moved))
            absent = compare(boxes, given[lacking])[1]
            gone = compare(boxes, current[extra])[1]
            lacking = [lacking[k] for k in absent]
            extra = [index for k, index in enumerate(extra) if k not in gone]
            if not lacking and not extra:
                return size
    return None


def explain(
    scores: Scores, rounded: Floats, options: DetectorOptions, given: Floats
) -> dict[str, Any] | None:
    """Report how a photo's boxes differ from the given ones; None if they are identical."""
    ratio = scores.fit.ratio
    maps = scores.valid(options.border)
    ours = boxes_of(maps, ratio, options)
    mine, theirs, distances = compare(ours, given)
    again = boxes_of(rounded, ratio, options)
    still = compare(again, given)
    if not mine and not theirs and not still[0] and not still[1]:
        return None
    pixels: list[dict[str, Any]] = []
    for box in (*ours[mine], *given[theirs]):
        corners = box * ratio / 2
        left, top = np.maximum(corners.min(0) - MARGIN, 0).astype(int).tolist()
        right, bottom = (corners.max(0).astype(int) + MARGIN).tolist()
        found = crossed(maps, rounded, (slice(top, bottom), slice(left, right)), options)
        # The text threshold only decides whether a box exists, never its shape.
        pixels += [
            pixel
            for pixel in found
            if pixel not in pixels
            and (pixel["threshold"] != "text_threshold" or len(mine) != len(theirs))
        ]
    identical_rounded = not still[0] and not still[1]
    return {
        "ours": len(ours),
        "given": len(given),
        "unmatched_ours": len(mine),
        "unmatched_given": len(theirs),
        "distances": [round(value, 2) for value in distances],
        "identical_rounded": identical_rounded,
        "crossed": sorted(pixels, key=lambda pixel: -pixel["off"]),
        "rounded_distances": [round(value, 2) for value in still[2]],
        "shift": None if identical_rounded else smallest_shift(rounded, ratio, options, given),
    }


def describe(difference: dict[str, Any]) -> str:
    """Format the cause of a difference as text."""
    crossed_by = "; ".join(
        f"{pixel['score']:.6f} at {pixel['threshold']} (off by {pixel['off']:.1e})"
        for pixel in difference["crossed"][:3]
    )
    more = len(difference["crossed"]) - 3
    if difference["identical_rounded"]:
        if not crossed_by:
            return "rounding; no pixel found"
        return f"rounding: {crossed_by}" + (f" and {more} more" if more > 0 else "")
    if difference["shift"] is not None:
        return f"noise: identical with thresholds shifted by {difference['shift']:g}"
    return f"NOT EXPLAINED, {difference['rounded_distances']} px apart even with rounded maps"


def score(ours: Ours, boxes: Sequence[Floats]) -> Evaluation:
    """Score boxes by the protocol `iou`."""
    return evaluate(
        [[word.outline for word in page.words] for page in ours.truth],
        [page.care for page in ours.truth],
        boxes,
        names=[page.path for page in ours.truth],
    )


def main() -> None:
    """Compare the boxes, print the tables and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_arguments(parser, config="ic15.py")
    parser.add_argument("--boxes", type=Path, required=True, help="JSON file of EasyOCR's boxes")
    parser.add_argument("--set", required=True, help="key of the boxes in that file")
    parser.add_argument("--rounded", default="float16", help="dtype of EasyOCR's stored maps")
    parser.add_argument("--out", type=Path, default=Path("exp/benchmarks/peer_boxes.json"))
    args = parser.parse_args()

    content = json.loads(args.boxes.read_text(encoding="utf-8"))[args.set]
    given = content["images"]
    ours = Ours(args)
    stems = [Path(str(page.path)).stem for page in ours.truth]
    lacking = [stem for stem in stems if stem not in given]
    if lacking:
        parser.error(f"{args.boxes} has no boxes for {len(lacking)} pictures, first {lacking[0]}")

    count = len(stems)
    mine: dict[str, list[Floats]] = {key: [np.zeros((0, 4, 2))] * count for key in ours.keys}
    again = {key: list(value) for key, value in mine.items()}
    differing: dict[str, dict[str, Any]] = {key: {} for key in ours.keys}
    for index, scores in ours.scores():
        maps = scores.valid(ours.options.border)
        rounded = maps.astype(args.rounded).astype(np.float32)
        for key in ours.keys:
            options = at_thresholds(ours.options, key)
            mine[key][index] = boxes_of(maps, scores.fit.ratio, options)
            again[key][index] = boxes_of(rounded, scores.fit.ratio, options)
            theirs = np.array(given[stems[index]][key], np.float64).reshape(-1, 4, 2)
            difference = explain(scores, rounded, options, theirs)
            if difference is not None:
                differing[key][stems[index]] = difference

    rows = []
    for key in ours.keys:
        stored = [np.array(given[stem][key], np.float64).reshape(-1, 4, 2) for stem in stems]
        results = [score(ours, boxes) for boxes in (mine[key], again[key], stored)]
        interval = paired_bootstrap(results[2], results[0])
        rows.append(
            {
                "thresholds": key,
                "ours": results[0].hmean,
                "ours_rounded": results[1].hmean,
                "original": results[2].hmean,
                "original_as_stated": content.get("scores", {}).get(key, {}).get("hmean"),
                "difference": [interval.value, interval.low, interval.high],
                "identical": count - sum(
                    bool(d["unmatched_ours"] or d["unmatched_given"])
                    for d in differing[key].values()
                ),
                "identical_rounded": count - sum(
                    not d["identical_rounded"] for d in differing[key].values()
                ),
                "boxes": sum(len(boxes) for boxes in stored),
                "boxes_differing": sum(d["unmatched_given"] for d in differing[key].values()),
                "differing": dict(sorted(differing[key].items())),
            }
        )  # fmt: skip
    print(f"{args.set}: {count} photos; protocol iou\n")
    print(
        "| thresholds | ours | original | by its evaluator | difference | 95 % | photos identical "
        f"| from {args.rounded} maps | boxes differing |"
    )
    print("|" + "---|" * 9)
    for row in rows:
        value, low, high = row["difference"]
        stated = row["original_as_stated"]
        cells = [
            row["thresholds"],
            f"{row['ours']:.5f}",
            f"{row['original']:.5f}",
            "-" if stated is None else f"{stated:.5f}",
            f"{value:+.4f}",
            f"{low:+.4f} to {high:+.4f}",
            f"{row['identical']} ({row['identical'] / count:.1%})",
            f"{row['identical_rounded']} ({row['identical_rounded'] / count:.1%})",
            f"{row['boxes_differing']} of {row['boxes']}",
        ]
        print(f"| {' | '.join(cells)} |")
    for row in rows:
        print(f"\n{row['thresholds']}: photos that differ (boxes ours/original, pixels apart)")
        for stem, difference in row["differing"].items():
            print(
                f"  {stem}: {difference['ours']}/{difference['given']}, "
                f"{difference['distances'] or '-'}: {describe(difference)}"
            )
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    print(f"\nwritten to {args.out}")


if __name__ == "__main__":
    main()
