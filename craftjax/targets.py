"""CRAFT's training targets: a region map, an affinity map and a confidence map from labels.

Each character is a Gaussian, warped into its quad and enlarged; each pair of neighbors in a word
gives another one, between the two. Where Gaussians overlap, the higher value counts.

The original draws at the image's own resolution, one `warpPerspective` for each character, and
then resamples the maps three times. Here the quads are mapped by the image's homography, and the
maps are drawn once at the size of the network's output, from a formula: with `(s, t)` the place of
a pixel in the square `[-1, 1] x [-1, 1]` whose perspective view is the quad, its value is
`exp(-3.125 (s^2 + t^2))` inside the circle and 0 outside. Only the least `s^2 + t^2` of each pixel
is kept, so that `exp` is computed once per pixel of the map.

There are these deliberate differences from the original:

* Corners are not truncated to integers, which moved every character by half a pixel on average.
* A quad is scaled about its center. The original moves corners along the image's axes, which
  shears quads that are rotated by more than about 45 degrees.
* Characters that reach over the border are cut there. The original squeezes them into the image
  or leaves them out.
* A character without an area is dropped and counted. The original draws some as large as the map.
* Words whose upright characters are stacked vertically get an affinity between left and right
  triangles. The original has that rule but never uses it: it takes upper and lower triangles, which
  are collinear there, and draws almost nothing.
* A pixel of the confidence map takes the least value of all words that cover it. In the original
  the last word wins, so that a word may unmask an area that must be ignored.

Coordinates are in pixels of the map, x to the right and y down, from the top-left corner of the
map: the center of the first pixel is `(0.5, 0.5)`. (The original has it at `(0, 0)`, but truncates
corners: half a pixel on average, the other way.) NumPy and OpenCV only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ocrcore.geometry import convex_quads, signed_areas

FloatArray = NDArray[np.float32]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.intp]

PATCH_SIZE = 200  # side of the original's Gaussian, in pixels
PATCH_SIGMA = 40  # its standard deviation, in pixels
STEEPNESS = (PATCH_SIZE / 2) ** 2 / (2 * PATCH_SIGMA**2)

# The rows of a character's window are widened to a multiple of this, so that rows of many
# characters form one array.
_WIDTH_STEP = 4
# Pixels evaluated at a time: few enough to stay in the CPU cache.
_PIXELS_AT_ONCE = 1 << 15
# A quad whose signed area is at most this share of its squared size counts as flat.
_FLAT = 1e-5
# Coordinates beyond this many pixels are label errors.
_FAR = 1e6
_SHIFT = 4  # fractional bits of OpenCV's polygon corners; `_FAR` still fits


@dataclass(frozen=True, slots=True, eq=False)
class Targets:
    """The result of `draw_targets`.

    Attributes:
        region: `(H, W)` float32 in [0, 1].
        affinity: `(H, W)` float32 in [0, 1].
        dropped: number of characters that were not drawn, by reason: "not finite" (or beyond a
            million pixels), "flat" (no area), "not convex" (concave or self-crossing), "outside"
            (entirely outside the map) and "no pixel" (between the centers of pixels); and under
            "flat affinity" the number of pairs of valid characters whose affinity quad has no area
            or is not convex. Reasons that did not occur are left out.
    """

    region: FloatArray
    affinity: FloatArray
    dropped: Counter[str]


def gaussian(squared_radius: ArrayLike) -> FloatArray:
    """Return the height of a character's Gaussian.

    The original samples it once, on a patch of 200 x 200 pixels, where `squared_radius` is
    `((x - 100)^2 + (y - 100)^2) / 100^2`, and warps the patch.

    Args:
        squared_radius: any shape; 1 is the circle that touches the sides of the patch.

    Returns:
        Float32 of the same shape: 1 in the center, `exp(-3.125)` = 0.044 at the circle, 0 outside.
    """
    radius = np.asarray(squared_radius, np.float32)
    values = np.multiply(radius, np.float32(-STEEPNESS), out=np.empty_like(radius))
    np.exp(values, out=values)
    np.copyto(values, 0, where=~(radius <= 1))
    return values


def draw_targets(
    words: Sequence[ArrayLike],
    shape: tuple[int, int],
    *,
    enlarge_region: float = 0.5,
    enlarge_affinity: float = 0.5,
) -> Targets:
    """Draw the region and affinity maps.

    Args:
        words: for each word the quads of its characters in reading order, `(n, 4, 2)`, clockwise
            from the top left in reading direction, in pixels of the map. Mirrored quads work.
        shape: height and width of the maps.
        enlarge_region: share by which a character's quad grows.
        enlarge_affinity: share by which the quad between two characters grows.

    Returns:
        The maps, and counts of dropped characters by reason.

    Raises:
        ValueError: a word of another shape, or an option is out of range.
    """
    height, width = _checked_shape(shape)
    for name, value in (
        ("enlarge_region", enlarge_region),
        ("enlarge_affinity", enlarge_affinity),
    ):
        if not 0 <= value < float("inf"):
            raise ValueError(f"{name} is {value!r}, expected a number of at least 0")
    quads, word = _concatenated(words)
    dropped: Counter[str] = Counter()
    finite = np.abs(quads).max(axis=(1, 2)) <= _FAR  # also false for NaN
    quads = np.where(finite[:, None, None], quads, 0)
    convex = convex_quads(quads)
    if not convex.all():
        size = np.ptp(quads, axis=1).max(axis=1) ** 2
        flat = finite & ~convex & (np.abs(signed_areas(quads)) <= _FLAT * size)
        dropped["not finite"] = int((~finite).sum())
        dropped["flat"] = int(flat.sum())
        dropped["not convex"] = int((finite & ~convex & ~flat).sum())

    pairs = _pairs(word)
    pairs = pairs[convex[pairs] & convex[pairs + 1]]
    between = _between(quads, pairs, _stacked(quads, word, pairs)[word[pairs]])
    sound = convex_quads(between)
    dropped["flat affinity"] = int((~sound).sum())
    between = between[sound]

    views = _views(
        np.concatenate([quads[convex], between]),
        np.repeat([1 + enlarge_region, 1 + enlarge_affinity], [int(convex.sum()), len(between)]),
    )
    bounds = _bounds(views)
    characters = int(convex.sum())
    outside = (bounds[:, 2:].min(axis=1) < 0) | (bounds[:, 0] > width) | (bounds[:, 1] > height)
    layer = np.repeat([0, 1], [characters, len(between)])
    radii, drawn = _least_radii(views, bounds, layer, (2, height, width))
    dropped["outside"] = int(outside[:characters].sum())
    dropped["no pixel"] = int((~drawn & ~outside)[:characters].sum())
    region, affinity = gaussian(radii)
    return Targets(region, affinity, +dropped)


def affinity_quads(words: Sequence[ArrayLike], *, stacked: bool | None = None) -> FloatArray:
    """Return the quads between neighboring characters of the words.

    With c the mean of a character's corners, the corners of the quad are the centroids of the
    triangles of c with the character's upper and lower edge: (c, 0, 1) and (c, 2, 3) of either
    character. That follows the reading direction if the quads are rotated with it, also for text
    that runs upwards or downwards. Upright characters that are stacked vertically take the
    triangles with the left and the right edge: (c, 0, 3) and (c, 1, 2).

    Args:
        words: as for `draw_targets`; finite numbers.
        stacked: whether the characters are stacked vertically; None decides for each word, False
            is the behavior of the original.

    Returns:
        `(P, 4, 2)` float32, in the order of words and characters.
    """
    quads, word = _concatenated(words)
    pairs = _pairs(word)
    if stacked is None:
        which = _stacked(quads, word, pairs)[word[pairs]]
    else:
        which = np.full(len(pairs), stacked)
    return _between(quads, pairs, which).astype(np.float32)


def confidence_map(
    shape: tuple[int, int], outlines: Sequence[ArrayLike], confidence: ArrayLike
) -> FloatArray:
    """Draw the confidence of each pixel; pixels outside all words have 1.

    Args:
        shape: height and width of the map.
        outlines: for each word `(P, 2)` corners, in pixels of the map.
        confidence: `(N,)` in [0, 1]: 0 for don't-care words, else the confidence of the characters
            (1 if a person labeled them).

    Returns:
        `(H, W)` float32. The pixels that an outline touches have the word's confidence; where words
        overlap, the least.

    Raises:
        ValueError: the numbers of confidences and outlines differ, an outline is not a list of
            finite points, or a confidence is out of range.
    """
    height, width = _checked_shape(shape)
    trust = np.asarray(confidence, np.float64)
    if trust.shape != (len(outlines),):
        raise ValueError(f"confidence has shape {trust.shape}, expected ({len(outlines)},)")
    if not ((trust >= 0) & (trust <= 1)).all():
        index = int(np.argmin((trust >= 0) & (trust <= 1)))
        raise ValueError(f"confidence {index} is {trust[index]}, expected a number in [0, 1]")
    out = np.ones((height, width), np.float32)
    # Words of lower confidence are drawn over words of higher confidence.
    for index in np.argsort(-trust, kind="stable").tolist():
        points = np.asarray(outlines[index], np.float64)
        if points.ndim != 2 or points.shape[1] != 2 or len(points) < 3:
            raise ValueError(f"outline {index} has shape {points.shape}, expected (P, 2), P >= 3")
        if not np.isfinite(points).all():
            raise ValueError(f"outline {index} has a coordinate that is not a finite number")
        # For OpenCV the center of the first pixel is (0, 0).
        corners = np.clip(points - 0.5, -_FAR, _FAR) * (1 << _SHIFT)
        cv2.fillPoly(out, [np.rint(corners).astype(np.int32)], float(trust[index]), shift=_SHIFT)
    return out


def _checked_shape(shape: tuple[int, int]) -> tuple[int, int]:
    height, width = shape
    if height < 1 or width < 1:
        raise ValueError(f"the shape of the map is {shape!r}, expected two positive integers")
    return height, width


def _concatenated(words: Sequence[ArrayLike]) -> tuple[Floats, Ints]:
    """Return the quads of all characters `(N, 4, 2)` and the index of their words `(N,)`."""
    parts = [np.asarray(word) for word in words]
    for index, part in enumerate(parts):
        if part.size and (part.ndim != 3 or part.shape[1:] != (4, 2)):
            raise ValueError(f"word {index} has shape {part.shape}, expected (n, 4, 2)")
    counts = [len(part) if part.size else 0 for part in parts]
    full = [part for part in parts if part.size]
    quads = np.concatenate(full, dtype=np.float64) if full else np.zeros((0, 4, 2))
    return quads, np.repeat(np.arange(len(parts)), counts)


def _pairs(word: Ints) -> Ints:
    """Return the indices of characters that are followed by another one of the same word."""
    return np.flatnonzero(word[1:] == word[:-1])


def _stacked(quads: Floats, word: Ints, pairs: Ints) -> Bools:
    """Return for each word `(max(word) + 1,)` whether its characters are stacked vertically.

    The step to the next character is decomposed into multiples of the character's width and height;
    larger characters have more weight.
    """
    if not len(pairs):
        return np.zeros(int(word.max(initial=-1)) + 1, np.bool_)
    across = quads[:, 1] + quads[:, 2] - quads[:, 0] - quads[:, 3]
    down = quads[:, 2] + quads[:, 3] - quads[:, 0] - quads[:, 1]
    centers = quads.mean(axis=1)
    step = centers[pairs + 1] - centers[pairs]
    count = int(word.max()) + 1
    # Each is the multiple times the area of the parallelogram of width and height.
    wide = np.abs(_cross(step, down[pairs] + down[pairs + 1]))
    high = np.abs(_cross(step, across[pairs] + across[pairs + 1]))
    return np.bincount(word[pairs], weights=wide - high, minlength=count) < 0


def _cross(a: Floats, b: Floats) -> Floats:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


def _between(quads: Floats, pairs: Ints, stacked: Bools) -> Floats:
    """Return the quads `(P, 4, 2)` between characters `pairs` and the ones after them."""
    one, two = quads[pairs], quads[pairs + 1]
    first, second = one.mean(axis=1), two.mean(axis=1)
    out = np.stack(
        [
            one[:, 0] + one[:, 1] + first,
            two[:, 0] + two[:, 1] + second,
            two[:, 2] + two[:, 3] + second,
            one[:, 2] + one[:, 3] + first,
        ],
        axis=1,
    )
    if stacked.any():
        one, two, first, second = one[stacked], two[stacked], first[stacked], second[stacked]
        out[stacked] = np.stack(
            [
                one[:, 0] + one[:, 3] + first,
                one[:, 1] + one[:, 2] + first,
                two[:, 1] + two[:, 2] + second,
                two[:, 0] + two[:, 3] + second,
            ],
            axis=1,
        )
    return out / 3


def _views(quads: Floats, scale: Floats) -> Floats:
    """Find the perspective map from the square `[-1, 1] x [-1, 1]` to each enlarged quad.

    Heckbert, "Fundamentals of Texture Mapping and Image Warping" (1989), 2.2.3, with the square
    moved to the origin: `(x, y) = center + (a s + b t, d s + e t) / (1 + g s + h t)`. The center of
    the view is where the diagonals meet, and scaling about it multiplies a, b, d and e.

    Args:
        quads: `(K, 4, 2)`, convex.
        scale: `(K,)`.

    Returns:
        `(K, 8)`: center x, center y, a, b, d, e, g, h.
    """
    p, q, r, s = quads.transpose(1, 0, 2)
    one, two, rest = q - r, s - r, p - q + r - s
    area = _cross(one, two)
    g, h = _cross(rest, two) / area, _cross(one, rest) / area
    along = q - p + g[:, None] * q
    down = s - p + h[:, None] * s
    # From the square [0, 1] x [0, 1] to [-1, 1] x [-1, 1]; then normalize by the center.
    middle = 1 + (g + h) / 2
    center = (p + (along + down) / 2) / middle[:, None]
    g, h = g / (2 * middle), h / (2 * middle)
    along = along / (2 * middle[:, None]) - g[:, None] * center
    down = down / (2 * middle[:, None]) - h[:, None] * center
    along, down = along * scale[:, None], down * scale[:, None]
    return np.column_stack([center, along[:, 0], down[:, 0], along[:, 1], down[:, 1], g, h])


def _bounds(views: Floats) -> Floats:
    """Return left, top, right, bottom `(K, 4)` of the views of the circle: tangents to a conic."""
    g, h = views[:, 6:7], views[:, 7:8]
    a, b = views[:, 2:6:2], views[:, 3:6:2]
    shrink = 1 - g**2 - h**2
    shift = a * g + b * h
    reach = np.sqrt(shift**2 + shrink * (a**2 + b**2))
    center = views[:, :2]
    return np.hstack([center - (shift + reach) / shrink, center - (shift - reach) / shrink])


def _least_radii(
    views: Floats, bounds: Floats, layer: Ints, shape: tuple[int, int, int]
) -> tuple[FloatArray, Bools]:
    """Return for each pixel of each layer the least `s^2 + t^2`, or 2 if that is more than 1.

    Along a row of pixels `s^2 + t^2` is a quadratic polynomial over the square of a linear one, so
    each row of each view has five coefficients, and rows of equal width are evaluated together.

    Args:
        views: `(K, 8)`.
        bounds: `(K, 4)`.
        layer: `(K,)`.
        shape: layers, height, width.

    Returns:
        `(layers, H, W)`, and which views cover a pixel `(K,)`.
    """
    layers, height, width = shape
    # A widened row may reach over the border.
    stride = width + _WIDTH_STEP - 1
    out = np.full(layers * height * stride + _WIDTH_STEP, 2, np.float32)
    owner, line, first, steps, coefficients = _rows(views, bounds, height, width)
    start = (layer.take(owner) * height + line) * stride + first

    count = np.bincount(steps)
    begin = 0
    for step in np.flatnonzero(count).tolist():
        pixels = np.arange(step * _WIDTH_STEP)
        x = pixels.astype(np.float32)
        at_once = max(_PIXELS_AT_ONCE // len(pixels), 1)
        stop = begin + int(count[step])
        for low in range(begin, stop, at_once):
            part = slice(low, min(low + at_once, stop))
            c0, c1, c2, w0, w1 = coefficients[:, part, None]
            radius = c2 * x
            radius += c1
            radius *= x
            radius += c0
            depth = w1 * x
            depth += w0
            depth *= depth
            # A widened row may reach the horizon of a view: depth 0, an infinite radius.
            with np.errstate(divide="ignore", over="ignore"):
                radius /= depth
            np.minimum.at(out, (start[part, None] + pixels).ravel(), radius.ravel())
        begin = stop
    radii = out[: layers * height * stride].reshape(layers, height, stride)[:, :, :width]
    return np.maximum(radii, 0, out=radii), np.bincount(owner, minlength=len(views)) > 0


def _rows(
    views: Floats, bounds: Floats, height: int, width: int
) -> tuple[Ints, Ints, Ints, Ints, FloatArray]:
    """Find the rows of pixels inside the views of the circle.

    Returns:
        In ascending order of width, for each nonempty row: the index of its view, its y and its
        first x in pixels, its width in units of `_WIDTH_STEP`, rounded up, all `(R,)`; and
        coefficients `(5, R)`, with which `s^2 + t^2 = (c0 + c1 j + c2 j^2) / (w0 + w1 j)^2` at its
        pixel j.
    """
    top = np.clip(np.ceil(bounds[:, 1] - 0.5), 0, height).astype(np.intp)
    bottom = np.clip(np.floor(bounds[:, 3] + 0.5), 0, height).astype(np.intp)
    rows = np.maximum(bottom - top, 0)
    owner = np.repeat(np.arange(len(rows)), rows)
    # Here and below `take` by rows: several times faster than an index array on all of them.
    line: Ints = np.arange(len(owner)) - (np.cumsum(rows) - rows - top).take(owner)

    a, b, d, e, g, h = views[:, 2:].T
    area = a * e - b * d
    # The inverse: (s, t) = (sx x + sy y, tx x + ty y) / (1 - wx x - wy y).
    sx, sy, tx, ty = e / area, -b / area, -d / area, a / area
    wx, wy = g * sx + h * tx, g * sy + h * ty
    inverse = (sx, sy, tx, ty, wx, wy, views[:, 0], views[:, 1])

    sx, sy, tx, ty, wx, wy, x0, y0 = (one.take(owner) for one in inverse)
    y = line + 0.5 - y0
    s, t, w = sy * y, ty * y, 1 - wy * y
    # s^2 + t^2 = w^2 at the two ends of the row.
    square = sx * sx + tx * tx
    lead, half = square - wx * wx, sx * s + tx * t + wx * w
    reach = np.sqrt(np.maximum(half * half - lead * (s * s + t * t - w * w), 0))
    first = np.clip(np.ceil(x0 - 0.5 - (half + reach) / lead), 0, width).astype(np.intp)
    after = np.clip(np.floor(x0 + 0.5 - (half - reach) / lead), 0, width).astype(np.intp)
    x = first + 0.5 - x0
    s, t = s + sx * x, t + tx * x
    every = (s * s + t * t, 2 * (s * sx + t * tx), square, w - wx * x, -wx)

    steps = -((first - after) // _WIDTH_STEP)
    # Few bits sort faster.
    order = np.argsort(steps.astype(np.int16 if width < 1 << 16 else np.int64), kind="stable")
    order = order[np.searchsorted(steps.take(order), 1) :]
    coefficients = np.stack([one.astype(np.float32).take(order) for one in every])
    return owner.take(order), line.take(order), first.take(order), steps.take(order), coefficients
