"""One training sample on one core: `craftjax.input_pipeline` against the original's loop.

    python benchmarks/input_pipeline.py

The loop is that of EasyOCR's SynthText loader, rewritten from a description of it: read the
picture, draw both maps at its resolution character by character, cut the same random square out of
picture and maps and resample them (bicubic, the mask nearest), change the colors in four steps in
random order, halve the maps, normalize the picture. As there, Pillow crops and changes colors and
OpenCV does the rest. (Its labels are given as arrays; reading them is not counted.)

Both read the same JPEG files of 768 x 768 pixels with 100, 300 and 1000 characters; ours reads the
labels from an indexed `gt.mat`. One thread; the two take turns.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageEnhance
from targets import COUNTS, SIZE, draw_one, in_turn, make_words

from craftjax.input_pipeline import make_batches
from craftjax.targets import gaussian
from ocrcore.images import write_image
from ocrcore.pages import Character, Page, Word
from ocrcore.synth.write import write_gt_mat

MEAN = np.array([0.485, 0.456, 0.406], np.float32) * 255
DEVIATION = np.array([0.229, 0.224, 0.225], np.float32) * 255


def write_set(folder: Path, characters: int) -> list[list[np.ndarray]]:
    """Write a SynthText folder of four pictures; return their words."""
    every, pages = [], []
    for index in range(4):
        rng = np.random.default_rng([characters, index])
        noise = rng.integers(0, 256, (SIZE // 8, SIZE // 8, 3), np.uint8)
        image = cv2.resize(noise, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
        words = make_words(characters, seed=index)
        for word in words:
            for box in word:
                shade = tuple(int(v) for v in rng.integers(0, 256, 3))
                inner = (box - box.mean(axis=0)) * 0.7 + box.mean(axis=0)
                cv2.polylines(image, [np.rint(inner).astype(np.int32)], True, shade, 2)
        name = f"{index}.jpg"
        write_image(folder / name, image)
        every.append(words)
        labels = tuple(
            Word(
                np.array([word[0][0], word[-1][1], word[-1][2], word[0][3]]),
                "a" * len(word),
                characters=tuple(Character("a", box) for box in word),
            )
            for word in words
        )
        pages.append(Page(SIZE, SIZE, labels, name))
    write_gt_mat(folder / "gt.mat", pages)
    return every


def draw_maps(words: list[np.ndarray], patch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return both maps at the picture's resolution, drawn like the original."""
    region = np.zeros((SIZE, SIZE), np.float32)
    affinity = np.zeros((SIZE, SIZE), np.float32)
    for word in words:
        for box in word:
            draw_one(region, box, patch)
        for one, two in pairwise(word):
            first, second = one.mean(axis=0), two.mean(axis=0)
            upper = (one[0] + one[1] + first) / 3, (two[0] + two[1] + second) / 3
            lower = (two[2] + two[3] + second) / 3, (one[2] + one[3] + first) / 3
            draw_one(affinity, np.stack([*upper, *lower]), patch)
    return region, affinity


def change_colors(rng: np.random.Generator, image: Image.Image) -> Image.Image:
    """torchvision's ColorJitter on a Pillow picture, all amounts .2."""  # noqa: D403
    kinds = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
    for which in rng.permutation(4).tolist():
        if which < 3:
            image = kinds[which](image).enhance(rng.uniform(0.8, 1.2))
        else:
            hue, saturation, value = image.convert("HSV").split()
            turned = np.array(hue) + np.uint8(rng.integers(-51, 52) % 256)
            merged = Image.merge("HSV", (Image.fromarray(turned), saturation, value))
            image = merged.convert("RGB")
    return image


def loop(
    rng: np.random.Generator, path: Path, words: list[np.ndarray], patch: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Make one sample like the original."""
    image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    region, affinity = draw_maps(words, patch)
    mask = np.ones((SIZE, SIZE), np.float32)
    height, width = image.shape[:2]
    side = min(height, width)
    left, top = int(rng.integers(width - side + 1)), int(rng.integers(height - side + 1))
    box = (left, top, left + side, top + side)
    filters = (Image.BICUBIC, Image.BICUBIC, Image.BICUBIC, Image.NEAREST)
    picture, region, affinity, mask = (
        Image.fromarray(array).crop(box).resize((SIZE, SIZE), how)
        for array, how in zip((image, region, affinity, mask), filters, strict=True)
    )
    image = np.array(change_colors(rng, picture), np.float32)
    half = (SIZE // 2, SIZE // 2)
    return (
        ((image - MEAN) / DEVIATION).transpose(2, 0, 1),
        cv2.resize(np.array(region), half, interpolation=cv2.INTER_CUBIC),
        cv2.resize(np.array(affinity), half, interpolation=cv2.INTER_CUBIC),
        cv2.resize(np.array(mask), half, interpolation=cv2.INTER_NEAREST),
    )


def measure(folder: Path, characters: int, repeats: int) -> dict[str, Any]:
    """Times samples of pictures with this many characters."""
    words = write_set(folder, characters)
    offset = np.mgrid[:200, :200] - 100
    patch = gaussian((offset**2).sum(axis=0) / 100**2)
    train = {"set": {"kind": "synthtext", "path": str(folder)}}
    config = {"batch_size": 1, "data": {"train": train, "cache": str(folder)}}
    source = make_batches(config, seed=0, rows=slice(0, 1))
    rng = np.random.default_rng(0)
    step = iter(range(1 << 30))

    batch = source[0]
    number = int(Path(source.batch_names(0)[0]).stem)
    theirs = loop(rng, folder / f"{number}.jpg", words[number], patch)
    differences = [
        float(np.abs(batch[key][0] - other).mean())
        for key, other in zip(("region", "affinity", "confidence"), theirs[1:], strict=True)
    ]
    assert max(differences) < 0.02, differences  # both draw the same maps

    def ours() -> None:
        source[next(step)]

    def original() -> None:
        number = int(rng.integers(4))
        loop(rng, folder / f"{number}.jpg", words[number], patch)

    times = in_turn({"loop": original, "ours": ours}, repeats)
    row: dict[str, Any] = {
        "characters": characters,
        "median_ms": {name: median(values) for name, values in times.items()},
        "least_ms": {name: min(values) for name, values in times.items()},
        "mean_difference": differences,
    }
    row["ratio"] = row["median_ms"]["ours"] / row["median_ms"]["loop"]
    return row


def main() -> None:
    """Print a table and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=25)
    parser.add_argument("--out", type=Path, default=Path("exp/benchmarks/input_pipeline.json"))
    args = parser.parse_args()
    cv2.setNumThreads(1)
    results = []
    print(f"one sample of {SIZE}x{SIZE}, ms: median (least) of {args.repeats}")
    print("| characters | loop | ours | ratio of medians | mean difference of the maps |")
    print("| --- | --- | --- | --- | --- |")
    for characters in COUNTS:
        with tempfile.TemporaryDirectory() as folder:
            row = measure(Path(folder), characters, args.repeats)
        results.append(row)
        cells = [
            f"{row['median_ms'][name]:.1f} ({row['least_ms'][name]:.1f})"
            for name in ("loop", "ours")
        ]
        differences = ", ".join(f"{value:.4f}" for value in row["mean_difference"])
        print(f"| {characters} | {' | '.join(cells)} | {row['ratio']:.3f} | {differences} |")
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
