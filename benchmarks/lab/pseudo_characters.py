"""Characters from word boxes: EasyOCR's pseudo labels against ours, on photos with character boxes.

    python benchmarks/lab/pseudo_characters.py --icdar2003 DIR --iiit5k DIR

The folders are ICDAR 2003 (`images`, `gt`, `chars`) and IIIT5K (`chars_train.json`, pictures of one
word, of which every fourth is taken; the word's quad is the whole picture). Words and quads are
given, the teacher is `craft_mlt_25k`; the question is where the characters are.

* count: fraction of words with the right number of characters.
* IoU: of the spans of characters on the reading axis; the mean over the characters of a word, then
  over words. If the number is right, the k-th predicted belongs to the k-th true character; else
  the best assignment counts, and its sum is divided by the larger number.

The original scores every crop at its own shape, and so does its row of the table; all other rows
use crops padded to multiples of 32 columns (training pads more, to eight widths). There are too
many shapes to compile a program for each, so the teacher runs in PyTorch (`torch_craft`, the same
scores). Scores are cached in `--cache`: the first run takes half an hour on two cores,
later ones a minute.

The weights of the split were chosen on the first 50 photos of ICDAR 2003 (and, for the margin of
the word, on every second of these words of IIIT5K); "rest" is on the others.
Intervals are 95 % bootstrap intervals over words.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from scipy.optimize import linear_sum_assignment

from craftjax.models import MEAN, STD
from craftjax.weak.options import PseudoOptions
from craftjax.weak.pseudo_labels import PseudoWord, equal_split, label_word
from craftjax.weak.word_crops import WordCrop, crop_word
from ocrcore.data.readers.characters import PhotoFolder
from ocrcore.files import replacing
from ocrcore.images import read_image

TUNED_PHOTOS = 50
EVERY = 4  # of IIIT5K's 2000 words
PAD = 32


class Given(NamedTuple):
    """A word with its true characters, and whether the split was tuned on it."""

    image: np.ndarray
    quad: np.ndarray
    text: str
    characters: np.ndarray
    tuned: bool


Words = Callable[[], Iterator[Given]]
Label = Callable[[np.ndarray, WordCrop, str], PseudoWord]


def icdar2003(folder: Path) -> Iterator[Given]:
    """Yield the words of the photos that have character boxes."""
    photos = PhotoFolder(folder / "images", folder / "gt", folder / "chars")
    for index in range(len(photos)):
        sample = photos[index]
        for word in sample.page.words:
            if word.care and word.text and word.characters:
                quads = np.stack([character.quad for character in word.characters])
                yield Given(sample.image, word.quad, word.text, quads, index < TUNED_PHOTOS)


def iiit5k(folder: Path) -> Iterator[Given]:
    """Yield every fourth word of IIIT5K's training set."""
    entries = json.loads((folder / "chars_train.json").read_text(encoding="utf-8"))
    for index, (name, entry) in enumerate(list(entries.items())[::EVERY]):
        image = read_image(folder / name)
        height, width = image.shape[:2]
        boxes = np.array(entry["charBB_xywh"], np.float32)
        boxes[:, 2:] += boxes[:, :2]
        quad = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
        quads = boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)
        yield Given(image, quad, entry["text"], quads, index % 2 == 0)


class Teacher:
    """`craft_mlt_25k`, loaded at the first call."""

    def __init__(self) -> None:
        self._network: Any = None

    def __call__(self, image: np.ndarray, *, pad: int) -> np.ndarray:
        """Return `(H // 2, W // 2, 2)` float16 scores of a crop padded to a multiple of `pad`."""
        import torch

        if self._network is None:
            from torch_craft import make_network

            from ocrcore.weights.named import find_weights
            from ocrcore.weights.pth import load_weights

            self._network = make_network(load_weights(find_weights("craft_mlt_25k"))).eval()
        height, width = image.shape[:2]
        normal = (image.astype(np.float32) / 255 - np.float32(MEAN)) / np.float32(STD)
        normal = np.pad(normal, ((0, 0), (0, -width % pad), (0, 0)))
        with torch.no_grad():
            batch = torch.from_numpy(np.ascontiguousarray(normal.transpose(2, 0, 1)[None]))
            scores = self._network(batch)[0].numpy()
        return scores[: height // 2, : width // 2].astype(np.float16)


def scored(
    words: Words, options: PseudoOptions, path: Path, teacher: Teacher, *, pad: int
) -> list[tuple[Given, WordCrop, np.ndarray]]:
    """Crops all words, and scores those that the cache file lacks."""
    known: dict[str, np.ndarray] = {}
    if path.exists():
        with np.load(path) as stored:
            known = dict(stored)
    out = []
    added = 0
    for number, word in enumerate(words()):
        crop = crop_word(word.image, word.quad, text=word.text, options=options)
        assert crop is not None, word.text
        name = str(number)
        if name not in known:
            known[name] = teacher(crop.image, pad=pad)
            added += 1
            if added % 100 == 0:
                store(path, known)
                print(f"{path.name}: {number + 1} words scored", flush=True)
        out.append((word._replace(image=word.image[:0]), crop, known[name].astype(np.float32)))
    if added:
        store(path, known)
    return out


def store(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write scores atomically."""
    with replacing(path) as part, part.open("wb") as file:
        np.savez(file, **arrays)


def spans(quads: np.ndarray, quad: np.ndarray, *, vertical: bool) -> np.ndarray:
    """Return the `(n, 2)` intervals of quads on the reading axis of the word, in order."""
    corners = np.asarray(quad, np.float64)
    ahead = corners[[1, 2]] - corners[[0, 3]]
    axis = corners[:2].sum(0) - corners[2:].sum(0) if vertical else ahead.sum(0)
    places = np.asarray(quads, np.float64) @ (axis / np.linalg.norm(axis))
    out = np.stack([places.min(axis=1), places.max(axis=1)], axis=1)
    return out[np.argsort(out.mean(axis=1), kind="stable")]


def compare(true: np.ndarray, found: np.ndarray) -> float:
    """Return the mean IoU of a word's characters."""
    if not len(found):
        return 0.0
    low = np.maximum(true[:, None, 0], found[None, :, 0])
    high = np.minimum(true[:, None, 1], found[None, :, 1])
    common = np.maximum(high - low, 0)
    union = np.diff(true) + np.diff(found).T - common
    overlap = common / np.maximum(union, 1e-9)
    if len(true) == len(found):
        return float(np.diag(overlap).mean())
    rows, columns = linear_sum_assignment(-overlap)
    return float(overlap[rows, columns].sum() / max(overlap.shape))


def with_options(options: PseudoOptions) -> Label:
    """Return a function that labels with `label_word`."""

    def label(scores: np.ndarray, crop: WordCrop, text: str) -> PseudoWord:
        return label_word(scores[:, :, 0], scores[:, :, 1], crop=crop, text=text, options=options)

    return label


def equally(scores: np.ndarray, crop: WordCrop, text: str) -> PseudoWord:
    """Labels with cells of equal width over the whole quad."""
    boxes = equal_split(text, *crop.image.shape[:2])
    corners = boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 1, 2)
    quads = cv2.perspectiveTransform(corners, crop.to_page).reshape(-1, 4, 2)
    return PseudoWord(quads.astype(np.float32), 0.5, True)


def interval(values: np.ndarray) -> list[float]:
    """Return the 95 % bootstrap interval of the mean."""
    rng = np.random.default_rng(0)
    means = [values[rng.integers(0, len(values), len(values))].mean() for _ in range(2000)]
    return np.percentile(means, [2.5, 97.5]).tolist()


def measure(
    words: list[tuple[Given, WordCrop, np.ndarray]], label: Label
) -> tuple[dict[str, Any], np.ndarray]:
    """Return a row of the table, and the IoU of each word."""
    values, right, confidence, equal = [], [], [], []
    for word, crop, scores in words:
        found = label(scores, crop, word.text)
        true = spans(word.characters, word.quad, vertical=crop.vertical)
        mine = spans(found.quads, word.quad, vertical=crop.vertical)
        values.append(compare(true, mine))
        right.append(len(true) == len(mine))
        confidence.append(found.confidence)
        equal.append(found.equal)
    iou, rest = np.array(values), ~np.array([word.tuned for word, _, _ in words])
    row = {
        "words": len(words),
        "count": float(np.mean(right)),
        "iou": float(iou.mean()),
        "iou_interval": interval(iou),
        "iou_rest": float(iou[rest].mean()),
        "confidence": float(np.mean(confidence)),
        "equal": float(np.mean(equal)),
    }
    return row, iou


def main() -> None:
    """Run the benchmark, print the table and write JSON."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--icdar2003", type=Path, required=True)
    parser.add_argument("--iiit5k", type=Path, required=True)
    parser.add_argument("--cache", type=Path, default=Path("exp/pseudo_characters"))
    parser.add_argument("--out", type=Path, default=Path("exp/benchmarks/pseudo_characters.json"))
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    original = PseudoOptions(method="watershed", original=True)
    watershed = PseudoOptions(method="watershed")
    split, blind = PseudoOptions(), PseudoOptions(min_confidence=1.0)
    low = PseudoOptions(height=64)
    teacher = Teacher()
    results: dict[str, Any] = {}
    for name, source in (
        ("icdar2003", lambda: icdar2003(arguments.icdar2003)),
        ("iiit5k", lambda: iiit5k(arguments.iiit5k)),
    ):
        sets = {
            kind: scored(source, options, arguments.cache / f"{name}_{kind}.npz", teacher, pad=pad)
            for kind, options, pad in (
                ("exact", original, 1),
                ("padded", split, PAD),
                ("low", low, PAD),
            )
        }
        rows = (
            ("original", "exact", with_options(original)),
            ("original's rules, padded", "padded", with_options(original)),
            ("watershed, mended", "padded", with_options(watershed)),
            ("split", "padded", with_options(split)),
            ("split, crops 64 high", "low", with_options(low)),
            ("split without scores", "padded", with_options(blind)),
            ("equal parts", "padded", equally),
        )
        print(f"\n{name}: {len(sets['padded'])} words")
        print("method                      count    IoU  interval        rest   conf.  equal")
        found: dict[str, np.ndarray] = {}
        results[name] = {}
        for title, kind, label in rows:
            row, found[title] = measure(sets[kind], label)
            results[name][title] = row
            low_end, high_end = row["iou_interval"]
            print(
                f"{title:26} {row['count']:6.1%}  {row['iou']:.4f} {low_end:.4f}-{high_end:.4f} "
                f"{row['iou_rest']:.4f}  {row['confidence']:.3f}  {row['equal']:.1%}"
            )
        gain = found["split"] - found["original"]
        results[name]["split_minus_original"] = [float(gain.mean()), *interval(gain)]
        print(
            "split - original: {:+.4f} ({:+.4f} to {:+.4f})".format(
                *results[name]["split_minus_original"]
            )
        )
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
