"""Post-processing of CRAFT's score maps to boxes: quads, and polygons for curved words.

It gives the same boxes in the same order as the original (`getDetBoxes`, also in EasyOCR). The
original processes the whole map once for every word. Here one pass labels the components, and
everything else works on the horizontal runs of their rows: only the ends of runs can be corners of
a convex hull, and a dilation by a rectangle moves them by known amounts, so the dilated image is
never computed.

Coordinates are in pixels of the map, x to the right and y down, as pixel indices: `(3, 2)` is the
center of column 3, row 2. The map has half the resolution of the network's input; `scale_boxes`
converts the result to pixels of the image.

NumPy and OpenCV only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.integer[Any]]

# Constants of the original's box step.
MIN_AREA = 10  # least area of a component in pixels, link pixels included
DIAMOND_TOLERANCE = 0.1  # relative difference of sides below which a rectangle is made axis-aligned
MAP_STRIDE = 2  # pixels of the network's input per pixel of a map

# Constants of the original's polygon step.
PIVOTS = 5  # points on either long side, without the two ends
SEGMENTS = 2 * PIVOTS + 1  # slices of the rectified word; every second one gives a pivot
MAX_STRAIGHT_HEIGHT = 0.7  # share of the box height above which a column means a straight word
MIN_SEGMENT_WIDTH = 0.25  # of the character height; narrower slices give no usable polygon
HEIGHT_EXPANSION = 1.45  # polygon height / character height
# The ends move outward by these multiples of the polygon's height until they leave the word. The
# original steps up to 2 by 0.2, but always uses the second to last.
END_STEPS = tuple(np.arange(0.5, 2.0, 0.2)[:7].tolist())


@dataclass(frozen=True, slots=True, eq=False)
class Boxes:
    """The result of `find_boxes`.

    Attributes:
        quads: `(N, 4, 2)` float32, clockwise from the corner of least `x + y`.
        scores: `(N,)` float32, the highest region score inside each word. The network's output has
            no upper bound, so it may slightly exceed 1. A higher `text_threshold` finds exactly the
            boxes whose score is at least that threshold.
        polygons: for each box a `(14, 2)` float32 outline (seven points along the top from the
            left, seven back along the bottom), or None if the quad is the outline: always without
            `polygons=True`, otherwise if the word is straight or small.
    """

    quads: FloatArray
    scores: FloatArray
    polygons: tuple[FloatArray | None, ...]

    def __len__(self) -> int:
        return len(self.quads)


def find_boxes(
    region: ArrayLike,
    affinity: ArrayLike,
    *,
    text_threshold: float = 0.7,
    link_threshold: float = 0.4,
    low_text: float = 0.4,
    polygons: bool = False,
    min_polygon_side: int = 10,
) -> Boxes:
    """Find words in the region and affinity maps of CRAFT.

    Pixels above `low_text` in the region map or above `link_threshold` in the affinity map form
    4-connected components; each component that is large and confident enough is a word. Its quad is
    the minimum-area rectangle around its text pixels, which are first dilated by an amount that
    depends on the component's size. Words are ordered by their first pixels, row by row.

    The first corner is the one of least `x + y`, as in the original. That is the top left in
    reading direction for words up to about 45 degrees from horizontal; the maps do not tell the
    direction of words that run upwards or downwards.

    Polygons are also those of the original, with one exception: if a word ends well before its box,
    the original folds the polygon over at that end. Here such a word has no polygon.

    Args:
        region: `(H, W)` finite numbers, the network's channel 0.
        affinity: `(H, W)` finite numbers, the network's channel 1.
        text_threshold: in [0, 1]; the highest region score of a word must reach it.
        link_threshold: in [0, 1]; pixels with more affinity join characters.
        low_text: in [0, 1]; pixels with a higher region score are text.
        polygons: whether to outline curved words.
        min_polygon_side: in map pixels; boxes with a shorter side get no polygon. EasyOCR and the
            official repository use 10, EasyOCR's trainer 30.

    Returns:
        Quads, scores and polygons, in map pixels.

    Raises:
        ValueError: the maps are not two equally large, finite, 2-D arrays of real numbers, or an
            option is out of range.
    """
    for name, value in (
        ("text_threshold", text_threshold),
        ("link_threshold", link_threshold),
        ("low_text", low_text),
    ):
        if not 0 <= value <= 1:
            raise ValueError(f"{name} is {value!r}, expected a number in [0, 1]")
    if min_polygon_side < 1:
        raise ValueError(f"min_polygon_side is {min_polygon_side!r}, expected at least 1")
    region = _map(region, name="region")
    affinity = _map(affinity, name="affinity")
    if region.shape != affinity.shape:
        raise ValueError(
            f"the region map has shape {region.shape} and the affinity map {affinity.shape}, "
            "expected equal shapes"
        )
    quads, scores, ids, labels = _find_quads(
        region, affinity, text_threshold, link_threshold, low_text
    )
    outlines: tuple[FloatArray | None, ...] = (None,) * len(quads)
    if polygons:
        outlines = tuple(
            _polygon(quad, labels, int(label), min_polygon_side)
            for quad, label in zip(quads, ids, strict=True)
        )
    return Boxes(quads=quads, scores=scores, polygons=outlines)


def scale_boxes(boxes: Boxes, ratio: float, *, size: tuple[int, int] | None = None) -> Boxes:
    """Convert boxes from map pixels to pixels of the image.

    Args:
        boxes: as `find_boxes` returns them.
        ratio: factor by which the image was enlarged for the network.
        size: height and width of the image; if given, points are clipped to
            `[0, width] x [0, height]`. The original does not clip.

    Returns:
        The same boxes with points multiplied by `1 / ratio * 2`.

    Raises:
        ValueError: `ratio` is not a positive number.
    """
    if not 0 < ratio < math.inf:
        raise ValueError(f"ratio is {ratio!r}, expected a positive number")
    factor = np.float64((1 / ratio) * MAP_STRIDE)

    def scale(points: FloatArray) -> FloatArray:
        points = (points * factor).astype(np.float32)
        if size is not None:
            np.clip(points, 0, np.array([size[1], size[0]], np.float32), out=points)
        return points

    return Boxes(
        quads=scale(boxes.quads),
        scores=boxes.scores,
        polygons=tuple(None if p is None else scale(p) for p in boxes.polygons),
    )


def _map(value: ArrayLike, *, name: str) -> FloatArray:
    """Return a map as a contiguous `(H, W)` float32 array of finite numbers."""
    array = np.asarray(value)
    if not np.can_cast(array.dtype, np.float32, "same_kind"):
        raise ValueError(f"the {name} map is {array.dtype}, expected real numbers")
    if array.ndim != 2:
        raise ValueError(f"the {name} map has shape {array.shape}, expected (height, width)")
    with np.errstate(over="ignore"):
        out = np.ascontiguousarray(array, np.float32)
    finite = np.isfinite(out)
    if not finite.all():
        y, x = np.argwhere(~finite)[0].tolist()
        raise ValueError(
            f"the {name} map is {array[y, x]} at row {y}, column {x}, expected finite numbers; "
            "check that the network has weights and that the image has no such values"
        )
    return out


def _runs(mask: NDArray[np.bool_]) -> tuple[IntArray, IntArray, IntArray]:
    """Return rows, first and last columns of the maximal horizontal runs of `mask`, by row."""
    height, width = mask.shape
    padded = np.zeros((height, width + 2), np.bool_)
    padded[:, 1:-1] = mask
    flat = padded.ravel()
    change = np.flatnonzero(flat[1:] != flat[:-1])
    row, first = np.divmod(change[0::2], width + 2)
    return row, first, change[1::2] - row * (width + 2) - 1


def _spans(label: IntArray, lower: IntArray, upper: IntArray, count: int) -> IntArray:
    """Return for each of `count` labels the number of pixels from its least to its greatest."""
    least, most = np.full(count, upper.max()), np.zeros(count, np.int64)
    np.minimum.at(least, label, lower)
    np.maximum.at(most, label, upper)
    return most - least + 1


def _find_quads(
    region: FloatArray,
    affinity: FloatArray,
    text_threshold: float,
    link_threshold: float,
    low_text: float,
) -> tuple[FloatArray, FloatArray, IntArray, NDArray[np.int32]]:
    """Return quads, scores, the label of each quad's component, and the map of labels."""
    height, width = region.shape
    text = region > low_text
    mask = text | (affinity > link_threshold)
    if not text.any():
        labels = np.zeros(region.shape, np.int32)
        return np.zeros((0, 4, 2), np.float32), np.zeros(0, np.float32), np.zeros(0, int), labels
    # OpenCV's statistics cost several times as much as the labels; those of the runs cost little.
    count, labels = cv2.connectedComponents(mask.view(np.uint8), connectivity=4)

    row, first, last = _runs(mask)
    label = labels[row, first]
    area = np.bincount(label, last - first + 1, minlength=count)
    wide, high = _spans(label, first, last, count), _spans(label, row, row, count)

    # From here on only text pixels: the original erases pixels that are only links.
    row, first, last = _runs(text)
    label = labels[row, first]
    # reduceat leaves out the last pixel of each run.
    ends = np.stack([row * width + first, row * width + last], axis=1).ravel()
    run_score = np.maximum(np.maximum.reduceat(region.ravel(), ends)[::2], region[row, last])
    score = np.full(count, -np.inf, np.float32)
    np.maximum.at(score, label, run_score)
    certain = (area >= MIN_AREA) & (score >= np.float32(text_threshold))

    chosen = np.flatnonzero(certain[label])
    chosen = chosen[np.argsort(label[chosen], kind="stable")]
    row, first, last, label = row[chosen], first[chosen], last[chosen], label[chosen]
    ids, starts, counts = np.unique(label, return_index=True, return_counts=True)

    # The original dilates by a rectangle of 1 + n pixels, half of n on either side; for an odd n
    # the extra pixel is on the right and below. The border of the map clips it.
    wide, high = wide[ids], high[ids]
    grow = (np.sqrt(area[ids] * np.minimum(wide, high) / (wide * high)) * 2).astype(int)
    before, after = np.repeat(grow // 2, counts), np.repeat((grow + 1) // 2, counts)
    left, right = np.maximum(first - before, 0), np.minimum(last + after, width - 1)
    top, bottom = np.maximum(row - before, 0), np.minimum(row + after, height - 1)
    # Row by row, as the original lists its pixels: the order determines the hull corner at which
    # OpenCV starts, and that corner affects the last bits of the rectangle.
    place = np.repeat(np.arange(len(ids)), counts) * region.size
    flat = np.stack([y * width + x for y in (top, bottom) for x in (left, right)], axis=1)
    y, x = np.divmod(np.sort((place[:, None] + flat).ravel()) % region.size, width)
    quads = _rectangles(np.stack([x, y], axis=1).astype(np.int32), 4 * starts)
    return quads, score[ids], ids, labels


def _rectangles(points: NDArray[np.int32], starts: IntArray) -> FloatArray:
    """Return the minimum-area rectangle around each group of points, `(N, 4, 2)`.

    Args:
        points: `(M, 2)`, group after group.
        starts: `(N,)`, the index of each group's first point.
    """
    quads = np.empty((len(starts), 4, 2), np.float32)
    if not len(starts):
        return quads
    for quad, group in zip(quads, np.split(points, starts[1:]), strict=True):
        cv2.boxPoints(cv2.minAreaRect(group), quad)

    # A nearly square component may give a diamond; use an axis-aligned rectangle instead.
    side, next_side = (np.linalg.norm(quads[:, i] - quads[:, i + 1], axis=1) for i in (0, 1))
    ratio = np.maximum(side, next_side) / (np.minimum(side, next_side) + np.float32(1e-5))
    diamond = np.abs(1 - ratio) <= np.float32(DIAMOND_TOLERANCE)
    left, top = np.minimum.reduceat(points, starts).T
    right, bottom = np.maximum.reduceat(points, starts).T
    upright = np.stack([left, top, right, top, right, bottom, left, bottom], axis=1)
    quads[diamond] = upright.reshape(-1, 4, 2)[diamond]

    first = quads.sum(2).argmin(1)
    order = (first[:, None] + np.arange(4)) % 4
    return np.take_along_axis(quads, order[:, :, None], axis=1)


def _polygon(
    quad: FloatArray, labels: NDArray[np.int32], label: int, min_side: int
) -> FloatArray | None:
    """Outline one component by 14 points; return None if its quad is to be used.

    The component is rectified by its quad and cut into `SEGMENTS` slices. The tallest column of
    every second slice gives a pivot of the center line, with two outline points perpendicular to
    the line between the centers of the neighboring slices.
    """
    width = int(np.linalg.norm(quad[0] - quad[1]) + 1)
    height = int(np.linalg.norm(quad[1] - quad[2]) + 1)
    if min(width, height) < min_side:
        return None
    target = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    matrix = cv2.getPerspectiveTransform(quad, target)
    try:
        inverse = np.linalg.inv(matrix)
    except np.linalg.LinAlgError:
        return None
    word = cv2.warpPerspective(labels, matrix, (width, height), flags=cv2.INTER_NEAREST) == label

    columns = np.flatnonzero(np.count_nonzero(word, axis=0) >= 2)
    segment_width = width / SEGMENTS
    if not len(columns) or columns[0] >= segment_width:
        return None
    upper = word[:, columns].argmax(0)
    lower = height - 1 - word[::-1, columns].argmax(0)
    middle, tall = (upper + lower) * 0.5, lower - upper + 1
    if height * MAX_STRAIGHT_HEIGHT < tall.max():
        return None

    # A column starts the next slice only, even after a gap that is several slices wide.
    segment = np.zeros(len(columns), np.int64)
    for i in range(1, len(columns)):
        entered = (segment[i - 1] + 1) * segment_width <= columns[i]
        segment[i] = segment[i - 1] + entered
    if segment[-1] != SEGMENTS - 1:  # here the original folds the last points over
        return None
    members = np.bincount(segment)
    center_x = np.bincount(segment, columns) / members
    center_y = np.bincount(segment, middle) / members
    pivots = [
        inside[tall[inside].argmax()]
        for inside in (np.flatnonzero(segment == 2 * i + 1) for i in range(PIVOTS))
    ]
    if segment_width < tall[pivots].max() * MIN_SEGMENT_WIDTH:
        return None

    half = float(np.median(tall[pivots])) * HEIGHT_EXPANSION / 2
    x, y = columns[pivots].tolist(), middle[pivots].tolist()
    lines = []  # (x, y) above and below each pivot
    for i in range(PIVOTS):
        rise, run = center_y[2 * i + 2] - center_y[2 * i], center_x[2 * i + 2] - center_x[2 * i]
        angle = -math.atan2(rise, run)
        dx, dy = half * math.sin(angle), half * math.cos(angle)
        lines.append((x[i] - dx, y[i] - dy, x[i] + dx, y[i] + dy))

    slope = [(y[i + 1] - y[i]) / (x[i + 1] - x[i]) for i in range(PIVOTS - 1)]
    start = _end_line(word, lines[0], half, slope[0] + slope[1], -1)
    end = _end_line(word, lines[-1], half, slope[-1] + slope[-2], 1)
    around = np.array([start, *lines, end])
    outline = np.concatenate([around[:, :2], around[::-1, 2:]])
    back = np.column_stack([outline, np.ones(len(outline))]) @ inverse.T
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        points = (back[:, :2] / back[:, 2:]).astype(np.float32)
    return points if np.isfinite(points).all() else None


def _end_line(
    word: NDArray[np.bool_],
    line: tuple[float, float, float, float],
    half: float,
    slope: float,
    direction: int,
) -> tuple[float, ...]:
    """Move the outermost line of a polygon outward until it leaves the word."""
    moved = line
    for step in END_STEPS:
        dx = direction * 2 * half * step
        moved = (line[0] + dx, line[1] + slope * dx, line[2] + dx, line[3] + slope * dx)
        drawn = np.zeros(word.shape, np.uint8)
        cv2.line(drawn, (int(moved[0]), int(moved[1])), (int(moved[2]), int(moved[3])), 1)
        if not drawn[word].any():
            break
    return moved
