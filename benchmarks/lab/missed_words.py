"""Why words are missed: by kind and by height, for given weights and thresholds.

joined: the box that covers most of the word also covers other words. split: several boxes lie in
it. loose: there is a box, but its overlap is too small. nothing: no box covers a tenth of it.

Command: python benchmarks/lab/missed_words.py --root DIR --weights exp/borndigital
    [--pages calibration --first 0 --last 240] [--mag_ratio 1] [--text .7 --link .3 --low .45]
    (without --text, --link and --low: the best thresholds of the config's sweep on these pages)
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # modules shared with benchmarks/

import numpy as np
import shapely
from detector_runs import CONFIGS, load_config

from craftjax.detector import Detector, Scores, find_words
from craftjax.evaluate import ScoreCache, format_points, read_truth, score_pages, sweep
from craftjax.options import DetectorOptions
from ocrcore.options import from_section
from ocrcore.pages import Word
from ocrcore.runtime.tuning import tune_process

KINDS = ("joined", "split", "loose", "nothing")
HEIGHTS = (0, 6, 8, 10, 12, 15, 20, 30, np.inf)


def shapes(words: Sequence[Word]) -> np.ndarray:
    """Return the words' outlines as shapely polygons."""
    return np.array([shapely.Polygon(word.outline).buffer(0) for word in words], object)


def classify(truth: Sequence[Word], found: Sequence[Word]) -> list[tuple[str, float]]:
    """Return kind and height in pixels of each missed word that counts (no box with IoU >= .5)."""
    true, boxes = shapes(truth), shapes(found)
    common = shapely.area(shapely.intersection(true[:, None], boxes[None]))
    area, size = shapely.area(true), shapely.area(boxes)
    missed = []
    for index, word in enumerate(truth):
        if not word.care or not area[index]:
            continue
        shared = common[index]
        if len(found) and (shared / (area[index] + size - shared)).max() >= 0.5:
            continue
        kind = "nothing"
        if len(found) and shared.max() > 0.1 * area[index]:
            covered = common[:, shared.argmax()] > 0.4 * np.maximum(area, 1e-9)
            inside = (shared > 0.5 * size) & (shared > 0.05 * area[index])
            several = "split" if inside.sum() > 1 else "loose"
            kind = "joined" if covered.sum() > 1 else several
        missed.append((kind, float(np.ptp(np.asarray(word.outline)[:, 1]))))
    return missed


def main() -> None:
    """Print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--config", type=Path, default=CONFIGS / "borndigital.py")
    parser.add_argument("--root", required=True, help="config.data.root")
    parser.add_argument("--weights", required=True)
    parser.add_argument("--pages", default="calibration", choices=("calibration", "test"))
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--last", type=int)
    parser.add_argument("--mag_ratio", type=float)
    parser.add_argument("--text", type=float)
    parser.add_argument("--link", type=float)
    parser.add_argument("--low", type=float)
    parser.add_argument("--scores", type=Path, default=Path("exp/benchmarks/scores"))
    parser.add_argument("--out", type=Path, default=Path("exp/benchmarks/missed_words.json"))
    args = parser.parse_args()
    tune_process()
    given = [args.text, args.link, args.low]
    if None in given and any(one is not None for one in given):
        parser.error("--text, --link and --low must be given together")

    config = load_config(args.config)
    config.data.root = args.root
    if args.mag_ratio:
        config.detector.mag_ratio = args.mag_ratio
    options = from_section(DetectorOptions, config.detector, "config.detector")
    pages = read_truth(config[args.pages])[args.first : args.last]
    detector = Detector.from_weights(args.weights, options=options)
    cache = ScoreCache(args.scores, fingerprint=detector.fingerprint, options=options)
    point, *_ = sweep(
        detector,
        pages,
        options=options,
        protocol=config.eval.protocol,
        cache=cache,
        text_thresholds=[args.text] if given[0] is not None else config.sweep.text_threshold,
        link_thresholds=[args.link] if given[0] is not None else config.sweep.link_threshold,
        low_texts=[args.low] if given[0] is not None else config.sweep.low_text,
    )
    print(format_points([point]))
    options = replace(options, **point.thresholds)
    missed: Counter[tuple[str, int]] = Counter()
    for index, scores in score_pages(detector, pages, options=options, cache=cache):
        if not isinstance(scores, Scores):
            raise scores
        for kind, height in classify(pages[index].words, find_words(scores, options)):
            missed[kind, int(np.searchsorted(HEIGHTS, height, side="right")) - 1] += 1
    bins = range(len(HEIGHTS) - 1)
    print("height, px  " + " ".join(f"{f'{HEIGHTS[one]:g}-':>5}" for one in bins) + "   all")
    rows = {kind: [missed[kind, one] for one in bins] for kind in KINDS}
    for kind, row in rows.items():
        print(f"{kind:11} " + " ".join(f"{count:5}" for count in row) + f" {sum(row):5}")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    result = {"weights": args.weights, "point": point.to_dict(), "missed": rows}
    args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
