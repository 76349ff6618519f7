"""Pictures of photographed words: word crops pasted on backgrounds.

A detector is distilled on the teacher's scores, so these pictures need no labels. Word crops of
photos are easier to get under a free license than whole photos: ICDAR 2015 (CC BY 4.0) has 4,468.

Command: python benchmarks/lab/collage.py --labels rec_train/labels.tsv --backgrounds DIR --out DIR
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from ocrcore.images import ImageError, read_image, write_image

SIDE = 1024
TRIES = 10  # places tried for a word


def background(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Cut a random square of at least a third of an image, `(SIDE, SIDE, 3)`."""
    side = int(min(image.shape[:2]) * rng.uniform(0.33, 1.0))
    y, x = (int(rng.integers(0, length - side + 1)) for length in image.shape[:2])
    cut = image[y : y + side, x : x + side]
    how = cv2.INTER_AREA if side > SIDE else cv2.INTER_CUBIC
    return cv2.resize(cut, (SIDE, SIDE), interpolation=how)


def turned(rng: np.random.Generator, crop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scale and rotate a crop; return the image and its opacity, which falls off at the edges."""
    height, width = crop.shape[:2]
    factor = np.exp(rng.uniform(np.log(0.7), np.log(3.0)))
    factor = min(factor, 0.7 * SIDE / width, 0.5 * SIDE / height)
    angle = rng.normal(0, 5) if rng.random() < 0.8 else rng.uniform(-40, 40)
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), angle, factor)
    reach = np.abs(turn[:, :2]) @ (width, height)
    turn[:, 2] += reach / 2 - (width / 2, height / 2)
    size = tuple(int(length) for length in np.ceil(reach))
    edge = max(2, round(0.12 * height))
    opaque = np.zeros((height, width), np.float32)
    opaque[edge // 2 : height - edge // 2, edge // 2 : width - edge // 2] = 1
    opaque = cv2.blur(opaque, (edge, edge))
    image = cv2.warpAffine(crop, turn, size, flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)
    return image, cv2.warpAffine(opaque, turn, size)


def collage(
    rng: np.random.Generator, page: np.ndarray, crops: list[np.ndarray], count: int
) -> np.ndarray:
    """Paste up to `count` crops where they do not overlap."""
    page = page.copy()
    taken = np.zeros(page.shape[:2], bool)
    for _ in range(count):
        image, opaque = turned(rng, crops[rng.integers(len(crops))])
        height, width = opaque.shape
        for _ in range(TRIES):
            y, x = int(rng.integers(SIDE - height + 1)), int(rng.integers(SIDE - width + 1))
            place = np.s_[y : y + height, x : x + width]
            if taken[place].any():
                continue
            taken[place] = True
            share = opaque[..., None]
            page[place] = np.round(image * share + page[place] * (1 - share)).astype(np.uint8)
            break
    return page


def main() -> None:
    """Write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--labels", type=Path, required=True, help="path, tab, text per line")
    parser.add_argument("--backgrounds", type=Path, required=True, help="folder of images")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    lines = args.labels.read_text(encoding="utf-8").splitlines()
    crops = [read_image(args.labels.parent / line.partition("\t")[0]) for line in lines]
    crops = [crop for crop in crops if min(crop.shape[:2]) >= 12]
    pages = []
    for path in sorted(args.backgrounds.rglob("*.*")):
        try:
            pages.append(read_image(path))
        except ImageError as error:
            print(f"left out: {error}")
    args.out.mkdir(parents=True, exist_ok=True)
    for number in range(args.count):
        page = background(rng, pages[rng.integers(len(pages))])
        made = collage(rng, page, crops, int(rng.integers(15, 70)))
        write_image(args.out / f"{number:04d}.jpg", made)
    print(f"{args.count} pictures of {len(crops):,} crops on {len(pages)} backgrounds: {args.out}")


if __name__ == "__main__":
    main()
