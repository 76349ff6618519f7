"""Find and read words with the ONNX files next to this script.

It needs onnxruntime, numpy and opencv-python-headless, but not the program that made the files. On
the command line:

    python read_onnx.py photo.jpg --detector street.onnx --recognizer words.onnx
    python read_onnx.py word.png --recognizer words.onnx

or from Python:

    detector, recognizer = Detector("street.onnx"), Recognizer("words.onnx")
    photo = load("photo.jpg")
    for quad, score in detector.detect(photo):
        print(recognizer.read([cut(photo, quad)]))

Images are `(H, W, 3)` RGB or `(H, W)` gray arrays of uint8.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]

MULTIPLE = 32  # sides of the detector's input are multiples of this
MIN_AREA = 10  # least area of a word in the score maps, in pixels
WIDEST = 8192  # greatest width of a crop at the network input


def load(path: str | Path) -> Image:
    """Read an image file as RGB; the EXIF orientation is applied."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"{path}: not an image that OpenCV can read")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def open_model(path: str | Path, network: str, threads: int = 0) -> tuple[Any, dict[str, Any]]:
    """Open a model and read its metadata; `threads` 0 takes all CPUs."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    metadata = session.get_modelmeta().custom_metadata_map
    if "ocrjax" not in metadata:
        raise ValueError(f"{path}: has no metadata 'ocrjax', expected a {network} of ocrjax")
    facts = json.loads(metadata["ocrjax"])
    if facts["network"] != network or facts["format"] != 1:
        raise ValueError(f"{path}: a {facts['network']}, expected a {network} of format 1")
    return session, facts


class Detector:
    """A text detector; its thresholds come from the file and may be changed in `facts`."""

    def __init__(self, path: str | Path, threads: int = 0) -> None:
        self.session, self.facts = open_model(path, "detector", threads)

    def detect(self, image: Image) -> list[tuple[Floats, float]]:
        """Return words: quads `(4, 2)` in pixels, clockwise from the top left, and scores."""
        if image.ndim == 2:
            image = np.repeat(image[:, :, None], 3, axis=2)
        facts = self.facts
        longest = max(image.shape[:2])
        ratio = min(facts["mag_ratio"] * longest, facts["canvas_size"]) / longest
        height, width = (max(1, int(size * ratio)) for size in image.shape[:2])
        if image.shape[:2] != (height, width):
            resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
            image = np.asarray(resized, np.uint8)
        padded = np.zeros((*(-(-s // MULTIPLE) * MULTIPLE for s in (height, width)), 3), np.uint8)
        padded[:height, :width] = image
        (scores,) = self.session.run(["scores"], {"images": padded[None]})
        maps = scores[0]
        if facts["border"] == "crop":
            maps = maps[: height // 2, : width // 2]
        found = find_boxes(
            np.ascontiguousarray(maps[:, :, 0]),
            np.ascontiguousarray(maps[:, :, 1]),
            facts["text_threshold"],
            facts["link_threshold"],
            facts["low_text"],
        )
        return [((quad * (2 / ratio)).astype(np.float32), score) for quad, score in found]


def find_boxes(
    region: Floats, affinity: Floats, text_threshold: float, link_threshold: float, low_text: float
) -> list[tuple[Floats, float]]:
    """Return the words in CRAFT's score maps, row by row: quads in map pixels, and scores.

    Pixels above `low_text` or `link_threshold` form connected components. The text pixels of each
    are dilated by an amount that depends on its size; the word is their minimum-area rectangle.
    """
    text, link = region > low_text, affinity > link_threshold
    count, labels, stats, _ = cv2.connectedComponentsWithStats(
        (text | link).astype(np.uint8), connectivity=4
    )
    found = []
    for label in range(1, count):
        left, top, width, height, area = map(int, stats[label])
        if area < MIN_AREA:
            continue
        grow = int(math.sqrt(area * min(width, height) / (width * height)) * 2)
        rows = slice(max(top - grow, 0), min(top + height + grow + 1, region.shape[0]))
        columns = slice(max(left - grow, 0), min(left + width + grow + 1, region.shape[1]))
        word = (labels[rows, columns] == label) & text[rows, columns]
        score = float(region[rows, columns][word].max(initial=-np.inf))
        if score < np.float32(text_threshold):
            continue
        kernel = np.ones((1 + grow, 1 + grow), np.uint8)
        y, x = np.nonzero(cv2.dilate(word.astype(np.uint8), kernel))
        points = np.stack([x + columns.start, y + rows.start], axis=1).astype(np.int32)
        quad = cv2.boxPoints(cv2.minAreaRect(points))
        # A nearly square component may give a diamond; use an axis-aligned rectangle instead.
        sides = np.linalg.norm(quad[0] - quad[1]), np.linalg.norm(quad[1] - quad[2])
        if abs(1 - max(sides) / (min(sides) + 1e-5)) <= 0.1:
            (x0, y0), (x1, y1) = points.min(0), points.max(0)
            quad = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], np.float32)
        first = int(quad.sum(axis=1).argmin())
        found.append((np.roll(quad, -first, axis=0).astype(np.float32), score))
    return found


def cut(image: Image, quad: Floats) -> Image:
    """Cut out a quad and rectify it."""
    width = max(1, round(float(max(_length(quad, 0, 1), _length(quad, 3, 2)))))
    height = max(1, round(float(max(_length(quad, 0, 3), _length(quad, 1, 2)))))
    target = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    matrix = cv2.getPerspectiveTransform(np.asarray(quad, np.float32), target)
    return np.asarray(cv2.warpPerspective(image, matrix, (width, height)), np.uint8)


def _length(quad: Floats, a: int, b: int) -> float:
    return float(np.linalg.norm(quad[a] - quad[b]))


class Recognizer:
    """A text recognizer for crops of words or lines; their scaling comes from the file."""

    def __init__(self, path: str | Path, threads: int = 0) -> None:
        self.session, self.facts = open_model(path, "recognizer", threads)
        self.characters: str = self.facts["characters"]

    def read(self, crops: Sequence[Image], batch_size: int = 16) -> list[tuple[str, float]]:
        """Return the text of each crop and its confidence, from 0 to 1."""
        grays = [_gray(crop) for crop in crops]
        if self.facts["resize"] != "easyocr" and (above := self.facts["turn_above"]):
            grays = [np.rot90(g) if g.shape[0] >= above * g.shape[1] else g for g in grays]
        readings = self._read([self._input(gray) for gray in grays], batch_size)
        if self.facts["resize"] == "easyocr":  # read low-contrast crops again
            for index, gray in enumerate(grays):
                if readings[index][1] < self.facts["contrast_threshold"]:
                    scaled = _scaled(gray, self.facts["height"])
                    again = _more_contrast(scaled, self.facts["contrast"])
                    width = math.ceil(_ratio(*gray.shape)) * self.facts["height"]
                    second = self._read([(_padded(again, self.facts["height"], width), width)], 1)
                    readings[index] = max(second[0], readings[index], key=lambda one: one[1])
        return readings

    def _input(self, gray: Image) -> tuple[Image, int]:
        """The network's input, and the number of its columns to read."""
        high, resize = self.facts["height"], self.facts["resize"]
        if resize == "fixed":
            return _bicubic(gray, self.facts["width"], high), self.facts["width"]
        scaled = _scaled(gray, high)
        level = math.ceil(high * (scaled.shape[1] / scaled.shape[0]))
        if resize == "easyocr":
            true = width = math.ceil(_ratio(*gray.shape)) * high
        else:
            true = min(max(level, high), WIDEST)
            width = _bucket(true, high)
        if level > width:
            return _bicubic(gray, width, high), true
        return _padded(scaled, high, width), true

    def _read(self, inputs: Sequence[tuple[Image, int]], size: int) -> list[tuple[str, float]]:
        groups: dict[int, list[int]] = defaultdict(list)
        for index, (image, _) in enumerate(inputs):
            groups[image.shape[1]].append(index)
        readings: dict[int, tuple[str, float]] = {}
        for group in groups.values():
            for start in range(0, len(group), size):
                part = group[start : start + size]
                images = np.stack([inputs[index][0] for index in part])[..., None]
                widths = np.array([inputs[index][1] for index in part], np.int32)
                logits, steps = self.session.run(
                    ["logits", "steps"], {"images": images, "widths": widths}
                )
                for index, one, count in zip(part, logits, steps, strict=True):
                    readings[index] = self._decode(one[:count])
        return [readings[index] for index in range(len(inputs))]

    def _decode(self, logits: Floats) -> tuple[str, float]:
        """Greedy CTC decoding: merge repeats, drop blanks (class 0)."""
        path = logits.argmax(axis=1)
        shares = 1 / np.exp(logits - logits.max(axis=1, keepdims=True)).sum(axis=1)
        before = np.concatenate([[0], path[:-1]])
        kept = path[(path != 0) & (path != before)]
        text = "".join(self.characters[k - 1] for k in kept)
        if self.facts["confidence"] == "dtrb":
            return text, float(shares.prod())
        inked = shares[path != 0]
        return text, float(inked.prod() ** (2 / math.sqrt(len(inked)))) if len(inked) else 0.0


def _gray(crop: Image) -> Image:
    if crop.ndim == 2:
        return crop
    return np.asarray(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), np.uint8)


def _ratio(height: int, width: int) -> float:
    ratio = width / height
    return 1.0 / ratio if ratio < 1.0 else ratio


def _scaled(gray: Image, high: int) -> Image:
    """Scale the shorter side to the network's height."""
    height, width = gray.shape
    long = int(high * _ratio(height, width))
    size = (high, long) if width < height else (long, high)  # width, height
    return np.asarray(cv2.resize(gray, size, interpolation=cv2.INTER_LINEAR), np.uint8)


def _padded(scaled: Image, high: int, width: int) -> Image:
    """Scale to the network's height and pad on the right with the last column."""
    level = _bicubic(scaled, math.ceil(high * (scaled.shape[1] / scaled.shape[0])), high)
    return np.pad(level, ((0, 0), (0, width - level.shape[1])), mode="edge")


def _bucket(width: int, high: int) -> int:
    """The least of 1, 1.5, 2, 3, 4, 6, ... times the height that is not below the width."""
    bucket = high
    while bucket < width:
        if bucket * 3 // 2 >= width:
            return bucket * 3 // 2
        bucket *= 2
    return bucket


def _more_contrast(gray: Image, target: float) -> Image:
    low, high = np.percentile(gray, [10, 90])
    if (high - low) / max(10, high + low) >= target:
        return gray
    stretched = (gray.astype(np.int64) - low + 25) * (200.0 / max(10, high - low))
    return np.clip(stretched, 0, 255).astype(np.uint8)


def _bicubic(gray: Image, width: int, height: int) -> Image:
    """Resize as Pillow does, with anti-aliasing; OpenCV skips rows when it shrinks."""
    sizes = [(1, width), (0, height)]
    # Pillow 13 resizes vertically first if that is less work.
    if height < gray.shape[0] and height * gray.shape[1] < gray.shape[0] * width:
        sizes.reverse()
    for axis, size in sizes:
        if gray.shape[axis] != size:
            weights = _weights(gray.shape[axis], size)
            values = gray @ weights.T if axis else weights @ gray
            gray = np.clip(np.floor(values + 0.5), 0, 255).astype(np.uint8)
    return gray


def _weights(before: int, after: int) -> NDArray[np.float64]:
    """Resampling matrix `(after, before)` of Keys' cubic kernel with a = -.5."""
    scale = before / after
    spread = max(scale, 1.0)
    center = (np.arange(after)[:, None] + 0.5) * scale
    first = np.maximum((center - 2 * spread + 0.5).astype(int), 0)
    last = np.minimum((center + 2 * spread + 0.5).astype(int), before)
    place = np.arange(before)
    x = np.abs((place + 0.5 - center) / spread)
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    weights = np.where(x < 1, near, np.where(x < 2, far, 0.0))
    weights[(place < first) | (place >= last)] = 0
    shares: NDArray[np.float64] = weights / weights.sum(axis=1, keepdims=True)
    return shares


def main() -> None:
    """Read images and print one word per line."""
    parser = argparse.ArgumentParser(description="Find and read words with ONNX files of ocrjax.")
    parser.add_argument("pictures", nargs="+")
    parser.add_argument("--detector", help="ONNX file; without it each image is one word or line")
    parser.add_argument("--recognizer", help="ONNX file; without it words are found but not read")
    arguments = parser.parse_args()
    if not arguments.detector and not arguments.recognizer:
        parser.error("name a detector, a recognizer, or both")
    detector = Detector(arguments.detector) if arguments.detector else None
    recognizer = Recognizer(arguments.recognizer) if arguments.recognizer else None
    for path in arguments.pictures:
        image = load(path)
        words = detector.detect(image) if detector else [(None, 1.0)]
        crops = [image if quad is None else cut(image, quad) for quad, _ in words]
        texts = recognizer.read(crops) if recognizer else [("", 0.0)] * len(crops)
        for (quad, score), (text, sure) in zip(words, texts, strict=True):
            corners = "" if quad is None else f" {quad.round(1).tolist()} {score:.3f}"
            print(f"{path}{corners} {text!r} {sure:.3f}")


if __name__ == "__main__":
    main()
