"""Augmentation: one homography for the geometry of a crop, one matrix for its colors.

Scale, rotation, crop and flip are drawn first and composed; then the image is resampled once, as
uint8, and the quads are mapped by the same homography. The original resamples the image and its
three maps two to four times.

Coordinates are in pixels from the top-left corner of an image; the center of the first pixel is
`(0.5, 0.5)`, as everywhere in this project.

The rules, names and order are those of EasyOCR's trainer: scale, rotation, crop, flip, colors.
There are these differences:

* Flipping is off by default: mirrored text is not text.
* Magnified images are interpolated linearly, not by cubics, which overshoot.
* Colors are changed by one affine map. The original clips after each of the four changes, and
  rotates the hue in HSV; here it rotates about the gray axis and keeps the luminance.

NumPy and OpenCV only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ocrcore.pages import ByteArray

Floats = NDArray[np.float64]
Rng = np.random.Generator

CROPS = ("whole", "random_crop", "random_resize_crop_synth", "random_resize_crop", "words")
_TRIES = 10  # as in torchvision's RandomResizedCrop
# ITU-R BT.601, as in the gray conversion of torchvision and OpenCV.
_LUMINANCE = np.array([0.299, 0.587, 0.114])


@dataclass(frozen=True, slots=True)
class AugmentOptions:
    """Augmentation of an image; the defaults are those of the original for SynthText.

    Attributes:
        scale: range of the factor that magnifies the image before it is cropped, uniform in the
            logarithm. Only matters for "random_crop": other crops are relative to the image or to
            its words.
        rotation: greatest rotation in degrees, to either side, about the center of the image.
        crop: "random_resize_crop_synth": a square as wide as the image's short side;
            "random_resize_crop": a share `area` of the image with an aspect ratio in `aspect`,
            stretched to the output; "random_crop": as large as the output; "words": around a random
            word, scaled so that its characters get a height in `text_height`, cutting few words;
            "whole": the whole image, centered, with its aspect ratio.
        area: for "random_resize_crop": least and greatest share of the image's area.
        aspect: for "random_resize_crop": least and greatest width / height.
        crop_share: for "random_resize_crop": share of images that are cropped at random; of the
            others the square in the center is taken (`rnd_threshold` of the original).
        text_height: for "words": least and greatest height of the characters, in output pixels.
        flip: share of images that are mirrored.
        brightness: factors are in 1 - this to 1 + this.
        contrast: same for the distance from the mean luminance.
        saturation: same for the distance from gray.
        hue: greatest rotation of the hue to either side, in turns of the color circle.
        p_jpeg: share of images that are compressed as JPEG, at their own size.
        jpeg_quality: least and greatest JPEG quality, 1 to 100.

    Raises:
        ValueError: an option is out of range; the message names it.
    """

    scale: tuple[float, float] = (1.0, 1.0)
    rotation: float = 0.0
    crop: str = "random_resize_crop_synth"
    area: tuple[float, float] = (0.03, 0.4)
    aspect: tuple[float, float] = (0.75, 1.33)
    crop_share: float = 1.0
    text_height: tuple[float, float] = (12.0, 96.0)
    flip: float = 0.0
    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2
    hue: float = 0.2
    p_jpeg: float = 0.0
    jpeg_quality: tuple[float, float] = (30.0, 95.0)

    def __post_init__(self) -> None:
        if self.crop not in CROPS:
            raise ValueError(f"crop is {self.crop!r}, expected one of {', '.join(CROPS)}")
        ranges = {"scale": 100, "area": 1, "aspect": 100, "text_height": 1e4, "jpeg_quality": 100}
        for name, most in ranges.items():
            low, high = (float(value) for value in getattr(self, name))
            if not 0 < low <= high <= most:
                raise ValueError(
                    f"{name} is {getattr(self, name)!r}, expected (low, high) with "
                    f"0 < low <= high <= {most}"
                )
            object.__setattr__(self, name, (low, high))
        limits = {"rotation": 180.0, "hue": 0.5}
        shares = ("crop_share", "flip", "brightness", "contrast", "saturation", "p_jpeg")
        for name in (*limits, *shares):
            most = limits.get(name, 1.0)
            if not 0 <= getattr(self, name) <= most:
                raise ValueError(f"{name} is {getattr(self, name)!r}, expected 0 to {most}")


def draw_transform(
    rng: Rng,
    size: tuple[int, int],
    out: tuple[int, int],
    options: AugmentOptions,
    words: Sequence[ArrayLike] = (),
) -> Floats:
    """Draw a random geometric transform.

    Args:
        rng: random generator.
        size: height and width of the image.
        out: height and width of the crop.
        options: the augmentation.
        words: for "words": the quads of the characters of each word, `(n, 4, 2)`, in pixels of the
            image; words without characters are ignored. If no word has characters, the crop is a
            "random_resize_crop_synth".

    Returns:
        `(3, 3)` float64, the affine map from the image to the crop.
    """
    factor = math.exp(rng.uniform(*np.log(options.scale))) if options.scale != (1, 1) else 1.0
    angle = math.radians(rng.uniform(-options.rotation, options.rotation))
    canvas = np.diag([factor, factor, 1.0])
    height, width = size[0] * factor, size[1] * factor
    if angle:
        canvas = _about(width / 2, height / 2, _rotation(angle)) @ canvas
    x, y, across, down = _crop(rng, (height, width), out, options, words, canvas)
    place = np.array([[1, 0, -x], [0, 1, -y], [0, 0, 1.0]])
    matrix = np.diag([out[1] / across, out[0] / down, 1.0]) @ place @ canvas
    if options.flip and rng.random() < options.flip:
        matrix = np.array([[-1, 0, out[1]], [0, 1, 0], [0, 0, 1.0]]) @ matrix
    return matrix


def move(points: ArrayLike, matrix: ArrayLike) -> Floats:
    """Map points `(..., 2)` by a homography `(3, 3)`; float64."""
    moved = np.asarray(points, np.float64) @ np.asarray(matrix, np.float64)[:, :2].T
    moved = moved + np.asarray(matrix, np.float64)[:, 2]
    return moved[..., :2] / moved[..., 2:]


def warp(image: ByteArray, matrix: Floats, out: tuple[int, int]) -> ByteArray:
    """Resample an image; the area outside it is black.

    An image that shrinks to a half or less is first averaged by the integer part of the factor, so
    that no pixel is skipped; the rest is linear interpolation.

    Args:
        image: `(H, W, 3)` uint8.
        matrix: `(3, 3)`, affine and not singular, from the image to the result, as
            `draw_transform` returns it.
        out: height and width of the result.

    Returns:
        `(height, width, 3)` uint8.
    """
    height, width = out
    inverse = np.linalg.inv(matrix)
    corners = move([(0, 0), (width, 0), (width, height), (0, height)], inverse)
    (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
    # Pixels of the image per pixel of the result, along either side of the result.
    factor = int(np.hypot(inverse[0, :2], inverse[1, :2]).min() + 1e-6)
    if factor >= 2:
        # Only the visible part, with the border that interpolation needs.
        x0, y0 = max(int(left) - 2 * factor, 0), max(int(top) - 2 * factor, 0)
        columns = (min(int(right) + 2 * factor, image.shape[1]) - x0) // factor
        rows = (min(int(bottom) + 2 * factor, image.shape[0]) - y0) // factor
        if columns > 0 and rows > 0:
            part = image[y0 : y0 + rows * factor, x0 : x0 + columns * factor]
            image = cv2.resize(part, (columns, rows), interpolation=cv2.INTER_AREA)
            matrix = matrix @ np.array([[factor, 0, x0], [0, factor, y0], [0, 0, 1.0]])
    elif abs(matrix[0, 1]) + abs(matrix[1, 0]) < 1e-9 and matrix[1, 1] > 0:
        x0, y0, x1, y1 = np.rint([left, top, right, bottom]).astype(int).tolist()
        if (
            min(x0, y0) >= 0
            and (x1 <= image.shape[1] and y1 <= image.shape[0])
            and np.abs(np.array([left - x0, top - y0, right - x1, bottom - y1])).max() < 1e-3
        ):
            # An axis-aligned part in whole pixels: resizing gives the same, several times faster.
            part = cv2.resize(image[y0:y1, x0:x1], (width, height), interpolation=cv2.INTER_LINEAR)
            return cv2.flip(part, 1) if matrix[0, 0] < 0 else part
    # For OpenCV the center of the first pixel is (0, 0).
    centerd = _shift(-0.5) @ matrix @ _shift(0.5)
    return cv2.warpAffine(image, centerd[:2], (width, height), flags=cv2.INTER_LINEAR)


def draw_colors(rng: Rng, mean: ArrayLike, options: AugmentOptions) -> Floats:
    """Draw a random change of colors.

    Brightness, contrast, saturation and hue are changed in random order, as in torchvision's
    ColorJitter, each by an affine map of the color.

    Args:
        rng: random generator.
        mean: `(3,)` mean color of the image.
        options: the augmentation.

    Returns:
        `(3, 4)` float64: the map from `(r, g, b, 1)`, for `cv2.transform`.
    """
    total = np.eye(4)
    color = np.append(np.asarray(mean, np.float64), 1)
    gray = np.outer(np.ones(3), _LUMINANCE)
    for which in rng.permutation(4).tolist():
        change = np.eye(4)
        if which == 3:
            change[:3, :3] = _hue(2 * math.pi * rng.uniform(-options.hue, options.hue))
        else:
            amount = (options.brightness, options.contrast, options.saturation)[which]
            factor = rng.uniform(1 - amount, 1 + amount)
            change[:3, :3] *= factor
            if which == 1:
                change[:3, 3] = (1 - factor) * (_LUMINANCE @ (total @ color)[:3])
            elif which == 2:
                change[:3, :3] += (1 - factor) * gray
        total = change @ total
    return total[:3]


def recolor(image: ByteArray, colors: Floats) -> ByteArray:
    """Apply the result of `draw_colors` to an image `(H, W, 3)` uint8."""
    return cv2.transform(image, colors)


def draw_quality(rng: Rng, options: AugmentOptions) -> int | None:
    """Draw the JPEG quality of an image; None for no compression."""
    if not options.p_jpeg or rng.random() >= options.p_jpeg:
        return None
    return max(round(rng.uniform(*options.jpeg_quality)), 1)


def compress(image: ByteArray, quality: int, matrix: Floats, out: tuple[int, int]) -> ByteArray:
    """Compress the part of an image that a crop shows as JPEG.

    Call this before resampling: text that was compressed when it was small looks different.

    Args:
        image: `(H, W, 3)` uint8.
        quality: 1 to 100.
        matrix: from the image to the crop, as for `warp`.
        out: height and width of the crop.

    Returns:
        `(H, W, 3)` uint8, a new array; outside the crop it is unchanged.
    """
    height, width = out
    seen = move([(0, 0), (width, 0), (width, height), (0, height)], np.linalg.inv(matrix))
    # JPEG blocks have 8 or 16 pixels and begin at the corner of the image.
    left, top = (int(v) // 16 * 16 for v in np.maximum(seen.min(axis=0) - 16, 0))
    right, bottom = (int(v) // 16 * 16 for v in np.maximum(seen.max(axis=0) + 32, 0))
    part = image[top:bottom, left:right]
    if not part.size:
        return image.copy()
    _, data = cv2.imencode(".jpg", part[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    compressed = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert compressed is not None
    image = image.copy()
    image[top:bottom, left:right] = compressed[..., ::-1]
    return image


def mean_color(image: ByteArray) -> Floats:
    """Return the mean of every eighth pixel of every eighth row, `(3,)`."""
    return np.asarray(cv2.mean(np.ascontiguousarray(image[::8, ::8]))[:3])


def _crop(
    rng: Rng,
    size: tuple[float, float],
    out: tuple[int, int],
    options: AugmentOptions,
    words: Sequence[ArrayLike],
    canvas: Floats,
) -> tuple[float, float, float, float]:
    """Left, top, width and height of the crop in pixels of the scaled and rotated image."""
    height, width = size
    if options.crop == "whole":
        stretch = max(width / out[1], height / out[0])
        across, down = stretch * out[1], stretch * out[0]
        return (width - across) / 2, (height - down) / 2, across, down
    if options.crop == "words":
        moved = [move(word, canvas) for word in words if np.size(word)]
        if moved:
            return _crop_words(rng, size, out, options.text_height, moved)
    if options.crop == "random_crop":
        return (
            _place(rng, width, out[1]),
            _place(rng, height, out[0]),
            float(out[1]),
            float(out[0]),
        )
    if options.crop == "random_resize_crop":
        return _crop_area(rng, size, options)
    side = min(width, height)
    return _place(rng, width, side), _place(rng, height, side), side, side


def _crop_area(
    rng: Rng, size: tuple[float, float], options: AugmentOptions
) -> tuple[float, float, float, float]:
    """RandomResizedCrop.get_params of torchvision, with the original's threshold before it."""
    height, width = size
    low, high = options.aspect
    if rng.random() < options.crop_share:
        for _ in range(_TRIES):
            area = width * height * rng.uniform(*options.area)
            aspect = math.exp(rng.uniform(math.log(low), math.log(high)))
            across, down = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < across <= width and 0 < down <= height:
                return _place(rng, width, across), _place(rng, height, down), across, down
    else:
        low = high = 1.0
    aspect = min(max(width / height, low), high)
    across, down = round(min(width, height * aspect)), round(min(height, width / aspect))
    across, down = max(across, 1), max(down, 1)
    return float(round((width - across) / 2)), float(round((height - down) / 2)), across, down


def _crop_words(
    rng: Rng,
    size: tuple[float, float],
    out: tuple[int, int],
    text_height: tuple[float, float],
    words: list[Floats],
) -> tuple[float, float, float, float]:
    """Choose a random word, its scale, and its place in the crop.

    Of several candidate places, take the first of those that cut the fewest words.
    """
    height, width = size
    boxes = np.array([[*word.min((0, 1)), *word.max((0, 1))] for word in words])
    chosen = int(rng.integers(len(words)))
    down = words[chosen][:, 3] + words[chosen][:, 2] - words[chosen][:, 0] - words[chosen][:, 1]
    tall = max(float(np.median(np.hypot(down[:, 0], down[:, 1]))) / 2, 1.0)
    stretch = tall / math.exp(rng.uniform(*np.log(text_height)))
    # Not larger than the image: there is nothing to see outside it.
    stretch = min(stretch, max(width / out[1], height / out[0]))
    across, down_ = float(round(stretch * out[1])) or 1.0, float(round(stretch * out[0])) or 1.0
    best, fewest = (0.0, 0.0), math.inf
    for _ in range(_TRIES):
        left = _around(rng, boxes[chosen, 0], boxes[chosen, 2], across, width)
        top = _around(rng, boxes[chosen, 1], boxes[chosen, 3], down_, height)
        low, high = np.array([left, top]), np.array([left + across, top + down_])
        meets = (boxes[:, :2] < high).all(1) & (boxes[:, 2:] > low).all(1)
        whole = (boxes[:, :2] >= low).all(1) & (boxes[:, 2:] <= high).all(1)
        cut = int((meets & ~whole).sum())
        if cut < fewest:
            best, fewest = (left, top), cut
    return best[0], best[1], across, down_


def _around(rng: Rng, low: float, high: float, extent: float, limit: float) -> float:
    """A start of `extent` such that it covers the span or lies in it, if possible in the image."""
    first, last = sorted((high - extent, low))
    inner_first, inner_last = sorted((0.0, limit - extent))
    start = max(first, min(inner_first, last))
    end = min(last, max(inner_last, first))
    return float(round(rng.uniform(min(start, end), max(start, end))))


def _place(rng: Rng, limit: float, extent: float) -> float:
    """An integer start in `[0, limit - extent]`; centered if `extent` does not fit."""
    room = math.floor(limit - extent + 1e-6)
    if room < 0:
        return (limit - extent) / 2
    return float(rng.integers(room + 1))


def _shift(by: float) -> Floats:
    return np.array([[1, 0, by], [0, 1, by], [0, 0, 1.0]])


def _about(x: float, y: float, matrix: Floats) -> Floats:
    there = np.array([[1, 0, x], [0, 1, y], [0, 0, 1.0]])
    return there @ matrix @ np.linalg.inv(there)


def _rotation(angle: float) -> Floats:
    cosine, sine = math.cos(angle), math.sin(angle)
    return np.array([[cosine, sine, 0], [-sine, cosine, 0], [0, 0, 1]])


def _hue(angle: float) -> Floats:
    """Rotate the chrominance plane of YIQ and keep the luminance, as a matrix `(3, 3)`."""
    yiq: Any = np.array([_LUMINANCE, [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
    cosine, sine = math.cos(angle), math.sin(angle)
    turn = np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
    return np.asarray(np.linalg.inv(yiq) @ turn @ yiq)
