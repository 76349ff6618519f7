"""How alike the parts of a data set are: file types, heights of words, near-duplicates.

A picture for choosing or for testing counts as alike to one that is trained on if their gray
values correlate by more than .9 when both are resized to 24x24 pixels.

Command: python benchmarks/lab/splits.py --root DIR
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # modules shared with benchmarks/

import cv2
import numpy as np
from detector_runs import CONFIGS, load_config

from craftjax.evaluate import read_truth
from ocrcore.data.readers.words import ORDERS
from ocrcore.images import read_image
from ocrcore.pages import Page

SIDE, ALIKE = 24, 0.9


def fingerprint(page: Page) -> np.ndarray:
    """Return the picture at 24x24 pixels, as a vector of mean 0 and norm 1 (0 if uniform)."""
    gray = cv2.cvtColor(read_image(page.path), cv2.COLOR_RGB2GRAY)
    small = cv2.resize(gray, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float64).ravel()
    small -= small.mean()
    length = np.linalg.norm(small)
    return small / length if length else small


def main() -> None:
    """Print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--config", type=Path, default=CONFIGS / "borndigital.py")
    parser.add_argument("--root", required=True, help="config.data.root")
    parser.add_argument("--out", type=Path, default=Path("exp/benchmarks/splits.json"))
    args = parser.parse_args()
    config = load_config(args.config)
    config.data.root = args.root
    config.calibration.stop = config.eval.pages.start  # only the pages that are trained on
    sections = {"train": config.calibration, "choose": config.eval.pages, "test": config.test}
    rows = []
    print("order   part    pictures  words  height, px  alike  types")
    for order in ORDERS:
        prints: dict[str, np.ndarray] = {}
        for name, section in sections.items():
            section.order = order
            pages = read_truth(section)
            words = [word for page in pages for word in page.words if word.care]
            heights = [float(np.ptp(np.asarray(word.outline)[:, 1])) for word in words]
            types = Counter(Path(page.path).suffix for page in pages)
            prints[name] = np.stack([fingerprint(page) for page in pages])
            alike = (prints[name] @ prints["train"].T).max(axis=1) > ALIKE
            row = {
                "order": order,
                "part": name,
                "pictures": len(pages),
                "words": len(words),
                "height": float(np.median(heights)),
                "alike": None if name == "train" else int(alike.sum()),
                "types": dict(types),
            }
            rows.append(row)
            print(
                f"{order:7} {name:7} {len(pages):8} {len(words):6} {row['height']:11.1f} "
                f"{'-' if name == 'train' else alike.sum():>6}  "
                + ", ".join(f"{count} {suffix[1:]}" for suffix, count in types.most_common())
            )
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
