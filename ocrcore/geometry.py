"""Geometry of many polygons at once: areas, validity, faults and overlaps.

Nearly every label and every detection is a convex quad, so these are processed by the thousands in
NumPy. Everything else (curved outlines, concave or self-crossing quads, quads so thin that rounding
matters) goes to shapely.

All computations are in float64. Points are `(x, y)`, y down.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.intp]

# A quad counts as convex if each of its corners turns by more than this fraction of its squared
# size. Thinner ones are left to shapely, because rounding errors of the clipping would matter.
_MIN_TURN = 1e-6
# Candidate pairs to process at once; bounds the memory for crowded images.
_PAIRS_AT_ONCE = 1 << 21


def signed_areas(quads: ArrayLike) -> Floats:
    """Return the signed areas `(N,)` of polygons `(N, P, 2)`: positive for clockwise (y down)."""
    points = np.asarray(quads, np.float64)
    points = points - points[:, :1]
    after = np.roll(points, -1, axis=1)
    cross = points[:, :, 0] * after[:, :, 1] - points[:, :, 1] * after[:, :, 0]
    return cross.sum(axis=1) / 2


def convex_quads(quads: ArrayLike) -> Bools:
    """Return for quads `(N, 4, 2)` whether they are clearly convex (either direction), `(N,)`.

    Four turns to the same side, each of less than 180 degrees, add up to one revolution, so such a
    quad does not cross itself.
    """
    points = np.asarray(quads, np.float64)
    edges = np.roll(points, -1, axis=1) - points
    after = np.roll(edges, -1, axis=1)
    turns = edges[:, :, 0] * after[:, :, 1] - edges[:, :, 1] * after[:, :, 0]
    size = (edges**2).sum(axis=2).max(axis=1, initial=0.0)
    least = _MIN_TURN * size[:, None]
    return ((turns > least).all(axis=1) | (turns < -least).all(axis=1)) & (size > 0)


def quad_faults(quads: ArrayLike) -> list[str | None]:
    """Return what is wrong with the shape of each quad, for checks of labels.

    Args:
        quads: `(N, 4, 2)`.

    Returns:
        For each quad None or one of `"zero area"`, `"self-crossing"` and `"anticlockwise"` (the
        corners run against the order that `Word` requires). A concave quad is not a fault.
    """
    points = np.asarray(quads, np.float64).reshape(-1, 4, 2)
    faults: list[str | None] = [None] * len(points)
    area = signed_areas(points)
    size = np.ptp(points, axis=1).max(axis=1, initial=0.0) ** 2
    for index in np.flatnonzero(~convex_quads(points) | (area < 0)):
        shape = shapely.Polygon(points[index])
        if shape.convex_hull.area <= 1e-9 * size[index]:
            faults[index] = "zero area"
        elif not shape.is_valid:
            faults[index] = "self-crossing"
        elif area[index] < 0:
            faults[index] = "anticlockwise"
    return faults


def intersection_areas(first: ArrayLike, second: ArrayLike) -> Floats:
    """Return the areas `(K,)` of the intersections of pairs of convex quads.

    Sutherland and Hodgman's clipping (1974), one half plane at a time for all pairs. It is stable:
    a corner that rounding puts on the wrong side of an edge is close to that edge, and changes the
    area by as little.

    Args:
        first: `(K, 4, 2)` quads for which `convex_quads` holds, in either direction.
        second: `(K, 4, 2)`, the other quads.
    """
    a = np.asarray(first, np.float64)
    b = np.asarray(second, np.float64)
    if not len(a):
        return np.zeros(0)
    # Move to the origin, so that no precision is lost far away from it.
    origin = a[:, :1]
    a, b = a - origin, b - origin
    turn = np.sign(signed_areas(b))
    x, y = np.ascontiguousarray(a[:, :, 0]), np.ascontiguousarray(a[:, :, 1])
    count = np.full(len(a), 4)
    for corner in range(4):
        start = b[:, corner, :, None]
        along = (b[:, (corner + 1) % 4] - b[:, corner]) * turn[:, None]
        side = along[:, :1] * (y - start[:, 1]) - along[:, 1:] * (x - start[:, 0])
        x, y, count = _clip(x, y, count, side)
        if not x.shape[1]:
            return np.zeros(len(a))
    after = _after(x.shape[1])
    return np.abs((x * y[:, after] - x[:, after] * y).sum(axis=1)) / 2


def _after(width: int) -> Ints:
    return np.r_[1:width, 0]


def _clip(x: Floats, y: Floats, count: Ints, side: Floats) -> tuple[Floats, Floats, Ints]:
    """Keep the part of each polygon where `side` is not negative.

    Polygons are rows of corners `(K, W)`; row k has `count[k]` corners, then repeats its first
    corner, so that the last edge closes it.
    """
    width = x.shape[1]
    real = np.arange(width) < count[:, None]
    after = _after(width)
    inside = side >= 0
    kept = inside & real
    crossed = (inside != inside[:, after]) & real
    made = kept.astype(np.intp) + crossed
    place = np.cumsum(made, axis=1) - made
    count = place[:, -1] + made[:, -1]
    out_x = np.zeros((len(x), int(count.max())))
    out_y = np.zeros_like(out_x)

    row, column = np.nonzero(kept)
    target = row, place[row, column]
    out_x[target], out_y[target] = x[row, column], y[row, column]

    row, column = np.nonzero(crossed)
    following = after[column]
    near, far = side[row, column], side[row, following]
    share = near / (near - far)
    target = row, place[row, column] + kept[row, column]
    start_x, start_y = x[row, column], y[row, column]
    out_x[target] = start_x + share * (x[row, following] - start_x)
    out_y[target] = start_y + share * (y[row, following] - start_y)

    if out_x.shape[1]:
        beyond = np.arange(out_x.shape[1]) >= count[:, None]
        np.copyto(out_x, out_x[:, :1], where=beyond)
        np.copyto(out_y, out_y[:, :1], where=beyond)
    return out_x, out_y, count


@dataclass(frozen=True, slots=True, eq=False)
class Outlines:
    """Polygons prepared for `overlaps`; see `outlines`.

    Attributes:
        quads: `(N, 4, 2)` float64; zeros if the polygon does not have four corners.
        boxes: `(N, 4)` float64: left, top, right, bottom.
        areas: `(N,)` float64.
        convex: `(N,)` bool: quads that take the fast path.
        valid: `(N,)` bool: valid and simple in shapely's sense: a proper outline that does not
            cross itself.
        others: shapely polygons of those that are not `convex`, by index.
    """

    quads: Floats
    boxes: Floats
    areas: Floats
    convex: Bools
    valid: Bools
    others: dict[int, Any]

    def __len__(self) -> int:
        return len(self.quads)

    def shapes(self, indices: Ints) -> NDArray[np.object_]:
        """Return shapely polygons of these indices."""
        shapes = shapely.polygons(self.quads[indices]) if len(indices) else np.empty(0, object)
        if self.others:
            for place in np.flatnonzero(~self.convex[indices]):
                shapes[place] = self.others[int(indices[place])]
        return shapes


def outlines(polygons: ArrayLike | Sequence[ArrayLike]) -> Outlines:
    """Prepare polygons for `overlaps`.

    Args:
        polygons: `(N, P, 2)`, or a sequence of N polygons `(P_i, 2)`; at least three points each.

    Raises:
        ValueError: a polygon of another shape, or a coordinate that is not a finite number.
    """
    quads, rest = _split(polygons)
    count = len(quads)
    points = {index: quad for index, quad in rest.items() if len(quad) != 4}
    convex = convex_quads(quads)
    areas = np.abs(signed_areas(quads))
    boxes = np.concatenate([quads.min(axis=1), quads.max(axis=1)], axis=1)
    valid = convex.copy()
    others: dict[int, Any] = {}
    for index in np.flatnonzero(~convex).tolist():
        shape = shapely.Polygon(points.get(index, quads[index]))
        others[index] = shape
        valid[index] = shape.is_valid and shape.is_simple
        areas[index] = shape.area
        boxes[index] = shape.bounds
    return Outlines(quads.reshape(count, 4, 2), boxes, areas, convex, valid, others)


def _split(polygons: ArrayLike | Sequence[ArrayLike]) -> tuple[Floats, dict[int, Floats]]:
    """Return quads `(N, 4, 2)`, zeros for other polygons, and those others by index."""
    try:
        quads = np.asarray(polygons, np.float64)
    except ValueError:  # polygons of different lengths
        quads = np.zeros(0)
        lists = [np.asarray(polygon, np.float64) for polygon in polygons]  # type: ignore[union-attr]
    else:
        if not quads.size:
            return np.zeros((0, 4, 2)), {}
        lists = [] if quads.shape[1:] == (4, 2) else list(quads)
    rest: dict[int, Floats] = {}
    if lists:
        quads = np.zeros((len(lists), 4, 2))
        for index, polygon in enumerate(lists):
            if polygon.ndim != 2 or polygon.shape[1] != 2 or len(polygon) < 3:
                raise ValueError(
                    f"polygon {index} has shape {polygon.shape}, expected (P, 2) with P >= 3"
                )
            if len(polygon) == 4:
                quads[index] = polygon
            else:
                rest[index] = polygon
    for index, polygon in rest.items():
        if not np.isfinite(polygon).all():
            raise ValueError(f"polygon {index} has a coordinate that is not a finite number")
    finite = np.isfinite(quads).all(axis=(1, 2))
    if not finite.all():
        index = int(np.argmin(finite))
        raise ValueError(f"polygon {index} has a coordinate that is not a finite number")
    return quads, rest


def box_pairs(
    first: Floats, first_group: Ints, second: Floats, second_group: Ints
) -> tuple[Ints, Ints]:
    """Find the pairs of boxes of the same group that overlap, to reduce exact computations.

    Args:
        first: `(N, 4)`: left, top, right, bottom.
        first_group: `(N,)`, ascending: for example the index of the image.
        second: `(M, 4)`.
        second_group: `(M,)`, ascending.

    Returns:
        Indices `(K,)` into first and second, ordered by the first, then by the second.
    """
    begin = np.searchsorted(second_group, first_group, side="left")
    width = np.searchsorted(second_group, first_group, side="right") - begin
    total = np.cumsum(width)
    found_first, found_second = [np.zeros(0, np.intp)], [np.zeros(0, np.intp)]
    row = 0
    while row < len(first):
        base = int(total[row] - width[row])
        end = max(int(np.searchsorted(total, base + _PAIRS_AT_ONCE, side="right")), row + 1)
        part = width[row:end]
        one = np.repeat(np.arange(row, end), part)
        offset = begin[row:end] - (total[row:end] - part - base)
        two = np.arange(int(part.sum())) + np.repeat(offset, part)
        a, b = first[one], second[two]
        hit = (a[:, :2] < b[:, 2:]).all(axis=1) & (b[:, :2] < a[:, 2:]).all(axis=1)
        found_first.append(one[hit])
        found_second.append(two[hit])
        row = end
    return np.concatenate(found_first), np.concatenate(found_second)


def overlaps(first: Outlines, one: Ints, second: Outlines, two: Ints) -> Floats:
    """Return the areas `(K,)` of the intersections of `first[one]` with `second[two]`.

    Only pairs of valid polygons have a defined area.
    """
    fast = first.convex[one] & second.convex[two]
    if fast.all():
        return intersection_areas(first.quads[one], second.quads[two])
    areas = np.zeros(len(one))
    areas[fast] = intersection_areas(first.quads[one[fast]], second.quads[two[fast]])
    slow = ~fast
    shapes = shapely.intersection(first.shapes(one[slow]), second.shapes(two[slow]))
    areas[slow] = shapely.area(shapes)
    return areas
