"""Compares our boxes with EasyOCR's on a few photos, at its default settings.

Both use the weights `craft_mlt_25k`, canvas 2560, magnification 1, thresholds .7 / .4 / .4, and
keep the scores over the black padding. EasyOCR's boxes are taken from its detector, before it joins
words to lines. Prints each photo's number of boxes and the largest distance between them.

Both use the weights `craft_mlt_25k`, canvas 2560, magnification 1, thresholds .7 / .4 / .4, and
keep the scores over the black padding. EasyOCR's boxes are taken from its detector, before it joins
words to lines. Prints each photo's number of boxes and the largest distance between them.

Command: python benchmarks/lab/easyocr_boxes.py --images DIR --count 20
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # modules shared with benchmarks/

import numpy as np
from peers import import_easyocr

from craftjax.detector import Detector
from ocrcore.images import find_images, read_image
from ocrcore.runtime.tuning import tune_process
from ocrcore.weights.named import find_weights


def _distance(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Return the largest distance of a corner, in pixels; infinite if the counts differ."""
    if len(ours) != len(theirs):
        return float("inf")
    return float(np.abs(ours - theirs).max(initial=0))


def main() -> None:
    """Run both on each photo in turn."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", required=True, help="a folder of photos")
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("exp/benchmarks/easyocr_boxes.json"))
    args = parser.parse_args()
    tune_process()
    import_easyocr()
    from easyocr.detection import get_detector, test_net

    network = get_detector(str(find_weights("craft_mlt_25k")), device="cpu", quantize=False)
    detector = Detector.from_weights("craft_mlt_25k")
    rows = []
    for path in find_images([args.images])[: args.count]:
        image = read_image(path)
        begin = time.perf_counter()
        boxes, _ = test_net(2560, 1.0, network, image, 0.7, 0.4, 0.4, False, "cpu")
        middle = time.perf_counter()
        page = detector.detect(image, pad="exact")
        end = time.perf_counter()
        theirs = np.array(boxes[0], np.float32).reshape(-1, 4, 2)
        distance = _distance(page.quads, theirs)
        rows.append(
            {
                "name": path.name,
                "boxes": [len(page.quads), len(theirs)],
                "distance": distance,
                "seconds": [end - middle, middle - begin],
            }
        )
        counts = f"{len(page.quads)} / {len(theirs)} boxes"
        print(f"{path.name}: {counts}, {distance:.4f} px", flush=True)
    same = sum(row["distance"] < 0.05 for row in rows)
    ratio = statistics.median(row["seconds"][0] / row["seconds"][1] for row in rows)
    print(f"{same} of {len(rows)} photos with the same boxes; ours / EasyOCR's time {ratio:.2f}")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
