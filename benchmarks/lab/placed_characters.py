"""How well a recognizer locates characters along the word, compared with hand-drawn boxes.

    python benchmarks/lab/placed_characters.py --icdar2003 DIR --iiit5k DIR [--weights NAME]

Reads words of ICDAR 2003's photos (cut out by the word's box) and of IIIT5K (the crop). For words
that are read correctly (ignoring case), each character's span is compared with the true one: its
IoU along the word, and the offset of its center as a fraction of the true width. The baseline cuts
the word into equal parts. The constants of `crnnjax.alignment` and `crnnjax.time_steps` were chosen
on the words with even numbers (0, 2, 4, ...); the others are measured.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from crnnjax.recognizer import Recognizer
from ocrcore.data.readers.characters import PhotoFolder
from ocrcore.images import read_image
from ocrjax.crops import rectify


class Labeled(NamedTuple):
    """A crop, its text, and `(N, 2)`: start and end of each character, in widths."""

    image: np.ndarray
    text: str
    spans: np.ndarray


def icdar2003(folder: Path, height: int) -> Iterator[Labeled]:
    """Yield the words of the photos that have character boxes."""
    photos = PhotoFolder(folder / "images", folder / "gt", folder / "chars")
    for index in range(len(photos)):
        sample = photos[index]
        for word in sample.page.words:
            if not (word.care and word.text and len(word.characters) == len(word.text)):
                continue
            crop = rectify(sample.image, word.quad, height=height)
            if crop is None:
                continue
            # Positions along the upper edge suffice: these words are (almost) axis-aligned boxes.
            start, along = word.quad[0], word.quad[1] - word.quad[0]
            quads = np.stack([character.quad for character in word.characters])
            shares = (quads - start) @ along / (along @ along)
            yield Labeled(crop, word.text, np.stack([shares.min(1), shares.max(1)], axis=1))


def iiit5k(folder: Path) -> Iterator[Labeled]:
    """Yield all words of IIIT5K's training set."""
    entries = json.loads((folder / "chars_train.json").read_text(encoding="utf-8"))
    for name, entry in entries.items():
        image = read_image(folder / name)
        boxes = np.array(entry["charBB_xywh"], np.float64)
        if len(boxes) == len(entry["text"]):
            ends = np.stack([boxes[:, 0], boxes[:, 0] + boxes[:, 2]], axis=1)
            yield Labeled(image, entry["text"], ends / image.shape[1])


def overlap(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Return the IoU of each pair of spans."""
    low, high = np.maximum(found, true), np.minimum(found, true)
    inside = np.maximum(high[:, 1] - low[:, 0], 0)
    return np.asarray(inside / np.maximum(low[:, 1] - high[:, 0], 1e-9))


def measure(name: str, recognizer: Recognizer, words: list[Labeled]) -> None:
    """Measure one set and print a line."""
    placed = recognizer.recognize_placed([word.image for word in words])
    rows, even, off = [], [], []
    for word, one in zip(words, placed, strict=True):
        if one.spans is None or one.reading.text.lower() != word.text.lower():
            continue
        edges = np.linspace(0, 1, len(word.text) + 1)
        rows.append(overlap(one.spans, word.spans))
        even.append(overlap(np.stack([edges[:-1], edges[1:]], axis=1), word.spans))
        widths = np.maximum(np.diff(word.spans)[:, 0], 1e-9)
        off.append(np.abs(one.spans.mean(1) - word.spans.mean(1)) / widths)
    ious, equal, middles = map(np.concatenate, (rows, even, off))
    print(
        f"{name}: {len(rows)} of {len(words)} words are read correctly, {len(ious)} characters: "
        f"mean IoU {ious.mean():.3f}, above .5 {np.mean(ious > 0.5):.3f}; center off by "
        f"{np.median(middles):.3f} of the width (median); equal parts: IoU {equal.mean():.3f}, "
        f"above .5 {np.mean(equal > 0.5):.3f}",
        flush=True,
    )


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--icdar2003", type=Path, required=True)
    parser.add_argument("--iiit5k", type=Path, required=True)
    parser.add_argument("--weights", default="ppocrv6_small")
    parser.add_argument("--words", type=int, default=500, help="words per set")
    arguments = parser.parse_args()
    charset = "en95" if arguments.weights == "ppocrv6_small" else None
    recognizer = Recognizer.from_weights(arguments.weights, charset=charset)
    for name, words in (
        ("ICDAR 2003", icdar2003(arguments.icdar2003, recognizer.height)),
        ("IIIT5K", iiit5k(arguments.iiit5k)),
    ):
        measure(name, recognizer, list(islice(words, 1, 2 * arguments.words, 2)))


if __name__ == "__main__":
    main()
