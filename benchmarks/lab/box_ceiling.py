"""What EasyOCR's box rules make possible, at several magnifications of the pictures.

Target maps (region and affinity scores of the labeled words, each split into characters of equal
width) replace the output of a network, and boxes are extracted from them at the best of a few
thresholds. What is missing then, no training can gain: words that merge at half the resolution,
boxes that grow too large, and components of less than 10 pixels, which the rules drop. No network.

Command: python benchmarks/lab/box_ceiling.py --root DIR [--config configs/borndigital.py]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # modules shared with benchmarks/

import numpy as np
from detector_runs import CONFIGS, load_config
from numpy.typing import NDArray
from tqdm import tqdm

from craftjax.boxes import find_boxes, scale_boxes
from craftjax.detector import fit_of
from craftjax.evaluate import read_truth
from craftjax.input_pipeline import BOX_SHIFT
from craftjax.options import DetectorOptions
from craftjax.targets import draw_targets
from ocrcore.evaluation.matching import evaluate
from ocrcore.options import from_section
from ocrcore.pages import Page, Word
from ocrcore.text import visible_graphemes

MAGNIFICATIONS = (1.0, 1.25, 1.5, 1.75, 2.0)
LINKS, LOWS = (0.1, 0.2, 0.3, 0.4), (0.3, 0.4, 0.5, 0.6)


@dataclass(frozen=True)
class Ceiling:
    """The best operating point at one magnification."""

    mag_ratio: float
    link_threshold: float
    low_text: float
    precision: float
    recall: float
    hmean: float


def cut_evenly(word: Word) -> NDArray[np.float64]:
    """Return quads `(n, 4, 2)` of characters of equal width; none for words that are not quads."""
    if len(word.outline) != 4 or not word.care:
        return np.zeros((0, 4, 2))
    count = max(len(visible_graphemes((word.text or "").replace(" ", ""))), 1)
    share = np.linspace(0, 1, count + 1)[:, None]
    a, b, c, d = np.asarray(word.outline, np.float64)
    top, bottom = a + (b - a) * share, d + (c - d) * share
    return np.stack([top[:-1], top[1:], bottom[1:], bottom[:-1]], axis=1)


def measure(pages: Sequence[Page], options: DetectorOptions) -> Ceiling:
    """Extracts boxes from perfect maps and scores them."""
    points = list(product(LINKS, LOWS))
    found: dict[tuple[float, float], list[list[NDArray[np.float32]]]] = {key: [] for key in points}
    for page in tqdm(pages, disable=None):
        fit = fit_of((page.height, page.width), options)
        shape = (-(-fit.height // 2), -(-fit.width // 2))
        words = [cut_evenly(word) * fit.ratio / 2 + BOX_SHIFT for word in page.words]
        maps = draw_targets([word for word in words if len(word)], shape)
        for link, low in points:
            boxes = find_boxes(
                maps.region, maps.affinity, text_threshold=0.5, link_threshold=link, low_text=low
            )
            found[link, low].append(list(scale_boxes(boxes, fit.ratio).quads))
    truth = [[word.outline for word in page.words] for page in pages]
    care = [page.care for page in pages]
    judged = {key: evaluate(truth, care, value) for key, value in found.items()}
    best = max(judged, key=lambda key: judged[key].hmean)
    score = judged[best]
    return Ceiling(options.mag_ratio, *best, score.precision, score.recall, score.hmean)


def main() -> None:
    """Print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--config", type=Path, default=CONFIGS / "borndigital.py")
    parser.add_argument("--root", required=True, help="config.data.root")
    parser.add_argument("--out", type=Path, default=Path("exp/benchmarks/box_ceiling.json"))
    args = parser.parse_args()
    config = load_config(args.config)
    config.data.root = args.root
    rows: dict[str, list[Ceiling]] = {}
    print(f"{'pages':12} {'mag':>5} {'link':>5} {'low':>5} {'P':>7} {'R':>7} {'hmean':>7}")
    for name in ("calibration", "test"):
        pages = read_truth(config[name])
        for mag_ratio in MAGNIFICATIONS:
            config.detector.mag_ratio = mag_ratio
            row = measure(pages, from_section(DetectorOptions, config.detector, "config.detector"))
            rows.setdefault(name, []).append(row)
            print(
                f"{name:12} {row.mag_ratio:5.2f} {row.link_threshold:5.2f} {row.low_text:5.2f} "
                f"{row.precision:7.4f} {row.recall:7.4f} {row.hmean:7.4f}",
                flush=True,
            )
    args.out.parent.mkdir(parents=True, exist_ok=True)
    found = {name: [asdict(row) for row in some] for name, some in rows.items()}
    args.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
