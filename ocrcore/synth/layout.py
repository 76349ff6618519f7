"""Where text is placed: planes in perspective, and places that are quiet, free and on the page.

Coordinates refer to pixel edges, as in `ocrcore.synth.warps`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from ocrcore.pages import ByteArray, FloatArray
from ocrcore.synth.backgrounds import Surface
from ocrcore.synth.shapes import fill
from ocrcore.synth.textures import Rng
from ocrcore.synth.warps import rotation, shift

Points = Sequence[tuple[float, float]]
Rows = list[list[float]]  # of a homography

_CELL = 2  # page pixels per cell of the occupancy map
_COARSE = 4  # and of the map of edge energy
TRIES = 20  # random places to try for one item


class Placer:
    """Finds places for flat items on one page, and remembers the occupied ones.

    Args:
        image: `(H, W, 3)` uint8, the background.
        surfaces: planes in the background.
        margin: pixels along the page's edges to keep free.
    """

    def __init__(self, image: ByteArray, surfaces: Sequence[Surface], *, margin: float) -> None:
        self.height, self.width = image.shape[:2]
        self.margin = margin
        self.surfaces = surfaces
        # Plain floats: for a few points they are several times faster than arrays.
        self.planes: list[tuple[Rows, Rows]] = [
            (surface.homography.tolist(), np.linalg.inv(surface.homography).tolist())
            for surface in surfaces
        ]
        self.taken = np.zeros((-(-self.height // _CELL), -(-self.width // _CELL)), np.uint8)
        small = (-(-self.width // _COARSE), -(-self.height // _COARSE))
        self.busy = cv2.integral(cv2.resize(edge_energy(image), small, None, 0, 0, cv2.INTER_AREA))
        self.plane_at = np.zeros(small[::-1], np.uint8)
        for number, surface in enumerate(surfaces, 1):
            points = np.rint(surface.region / _COARSE).astype(np.int32)
            cv2.fillPoly(self.plane_at, [np.clip(points, -30000, 30000)], number)

    def busyness(self, centers: np.ndarray, width: float, height: float) -> np.ndarray:
        """Return the mean edge energy of upright boxes around the centers, `(N,)`."""
        rows, columns = self.busy.shape
        reach = np.array([width, height]) / 2
        low = np.floor((centers - reach) / _COARSE).astype(int)
        high = np.ceil((centers + reach) / _COARSE).astype(int)
        x0, y0 = np.minimum(np.maximum(low, 0), (columns - 2, rows - 2)).T
        x1, y1 = np.minimum(high, (columns - 1, rows - 1)).T
        x1, y1 = np.maximum(x1, x0 + 1), np.maximum(y1, y0 + 1)
        total = self.busy[y1, x1] - self.busy[y0, x1] - self.busy[y1, x0] + self.busy[y0, x0]
        return total / ((x1 - x0) * (y1 - y0))

    def is_free(self, polygon: Points) -> bool:
        """Return whether a convex polygon is inside the margins and touches nothing occupied."""
        xs, ys = zip(*polygon, strict=True)
        room = min(min(xs), min(ys), self.width - max(xs), self.height - max(ys))
        if room < self.margin:
            return False
        part, mask = self._cells(polygon)
        return cv2.countNonZero(cv2.bitwise_and(part, mask)) == 0

    def take(self, polygon: Points) -> None:
        """Mark a convex polygon as occupied."""
        part, mask = self._cells(polygon)
        np.maximum(part, mask, out=part)

    def _cells(self, polygon: Points) -> tuple[ByteArray, ByteArray]:
        """Return a part of the occupancy map, and a mask of the cells that a polygon touches."""
        xs, ys = ([v / _CELL for v in axis] for axis in zip(*polygon, strict=True))
        x0, y0 = max(0, math.floor(min(xs)) - 1), max(0, math.floor(min(ys)) - 1)
        x1, y1 = math.ceil(max(xs)) + 2, math.ceil(max(ys)) + 2
        part = self.taken[y0:y1, x0:x1]
        mask = np.zeros(part.shape, np.uint8)
        corners = [(round(x - x0), round(y - y0)) for x, y in zip(xs, ys, strict=True)]
        cv2.fillConvexPoly(mask, np.array(corners, np.int32), 255)
        return part, mask

    def place(
        self,
        rng: Rng,
        *,
        width: float,
        height: float,
        angles: tuple[float, float, float],
        on_plane: bool,
        gap: float,
    ) -> np.ndarray | None:
        """Find the quietest of some random places for a flat item, and mark it as occupied.

        Args:
            rng: the random generator.
            width: width of the flat item.
            height: height of the flat item.
            angles: rotations about x, y and z in degrees, for an item that is not on a surface; on
                a surface only z is used, divided by four.
            on_plane: place the item on a surface of the background if there is one.
            gap: space to keep around it.

        Returns:
            The homography from the item's pixels to the page's; None if no place was free.
        """
        page = np.array([self.width, self.height])
        reach = np.minimum(np.array([width, height]) / 2 + self.margin, page / 2)
        centers = reach + (page - reach - reach) * rng.random((TRIES, 2))
        # The quietest of a few, so that some text is on busy backgrounds; then the others.
        few = int(rng.integers(2, TRIES))
        busy = self.busyness(centers, width, height)
        busy[few:] += 1024
        planes = [0] * TRIES
        if on_plane and self.surfaces:
            planes = [self._plane(x, y) for x, y in centers.tolist()]
            busy[np.array(planes) == 0] += 256  # more than any energy
        # Corners relative to the item's middle.
        right, low = width / 2 + gap, height / 2 + gap
        corners = [(-right, -low), (right, -low), (right, low), (-right, low)]
        to_middle = shift(-width / 2, -height / 2)
        free = rotation(*angles, focal=1.2 * max(self.width, self.height))
        around = _seen(corners, free.tolist())
        for index in np.argsort(busy, kind="stable").tolist():
            x, y = centers[index].tolist()
            if self.taken[int(y / _CELL), int(x / _CELL)]:
                continue  # not even its middle is free
            lying = self._on_plane(planes[index], x, y, angles[2] / 4)
            if lying is not None:
                polygon = _seen(corners, lying)
            else:
                if not any(angles):  # a pure shift: by whole pixels, so that it stays sharp
                    x, y = (round(x - width / 2) + width / 2, round(y - height / 2) + height / 2)
                polygon = around and [(x + u, y + v) for u, v in around]
            if polygon is None or not self.is_free(polygon):
                continue
            if lying is None or len({self._plane(*point) for point in polygon}) == 1:
                self.take(polygon)
                matrix = shift(x, y) @ free if lying is None else np.array(lying)
                return matrix @ to_middle
        return None

    def _plane(self, x: float, y: float) -> int:
        """Return the number of the surface visible at a point of the page; 0: none."""
        rows, columns = self.plane_at.shape
        row, column = int(y / _COARSE), int(x / _COARSE)
        return int(self.plane_at[min(max(row, 0), rows - 1), min(max(column, 0), columns - 1)])

    def _on_plane(self, number: int, x: float, y: float, turn: float) -> Rows | None:
        """Return the homography that centers flat pixels on a page point, on its surface."""
        if number == 0:
            return None
        plane, ((a, b, c), (d, e, f), (g, h, i)) = self.planes[number - 1]
        depth = g * x + h * y + i
        u, v = (a * x + b * y + c) / depth, (d * x + e * y + f) / depth
        # Columns of the homography's Jacobian there: the apparent length of a flat pixel.
        (a, b, c), (d, e, f), (g, h, i) = plane
        z = g * u + h * v + i
        wide = math.hypot(a - g * x, d - g * y) / abs(z)
        tall = math.hypot(b - h * x, e - h * y) / abs(z)
        if not (tall > 1e-3 and 0.3 < wide / tall < 3):
            return None
        t = math.radians(turn)
        s, k = math.sin(t) / tall, math.cos(t) / tall
        return [[p * k + q * s, q * k - p * s, p * u + q * v + r] for p, q, r in plane]


def _seen(corners: Points, matrix: Rows) -> list[tuple[float, float]] | None:
    """Map a flat quad; None unless it is in front of the camera, convex and clockwise.

    Also None if its far side would be less than a third of its near side.
    """
    (a, b, c), (d, e, f), (g, h, i) = matrix
    depths = [g * x + h * y + i for x, y in corners]
    if min(depths) <= 0 or max(depths) > 3 * min(depths):
        return None
    points = [
        ((a * x + b * y + c) / z, (d * x + e * y + f) / z)
        for (x, y), z in zip(corners, depths, strict=True)
    ]
    for k in range(4):
        (x0, y0), (x1, y1), (x2, y2) = points[k - 2], points[k - 1], points[k]
        if (x1 - x0) * (y2 - y1) - (y1 - y0) * (x2 - x1) <= 0:
            return None
    return points


def edge_energy(image: ByteArray) -> ByteArray:
    """Return the edge energy: `|dx| + |dy|` of the gray image at half size, uint8."""
    half = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    gray = cv2.cvtColor(half, cv2.COLOR_RGB2GRAY)
    dx = cv2.convertScaleAbs(cv2.Sobel(gray, cv2.CV_16S, 1, 0))
    dy = cv2.convertScaleAbs(cv2.Sobel(gray, cv2.CV_16S, 0, 1))
    return cv2.add(dx, dy)


def word_mask(quad: FloatArray, x0: int, y0: int, height: int, width: int) -> ByteArray:
    """Return the coverage of a quad in the window of the page that starts at `(x0, y0)`."""
    mask = np.zeros((height, width), np.uint8)
    fill(mask, quad - np.array([x0, y0], np.float32), 255)
    return mask
