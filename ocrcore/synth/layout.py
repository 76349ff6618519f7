"""Where text is placed: planes in perspective, and places that are quiet, free and on the page.

Coordinates refer to pixel edges, as in `ocrcore.synth.warps`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import ArrayLike

from ocrcore.pages import ByteArray, FloatArray
from ocrcore.synth.backgrounds import Surface
from ocrcore.synth.shapes import fill
from ocrcore.synth.textures import Rng
from ocrcore.synth.warps import rotation, shift

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
        self.inverses = [np.linalg.inv(surface.homography) for surface in surfaces]
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
        x0, y0 = np.clip(low, 0, (columns - 2, rows - 2)).T
        x1, y1 = np.clip(high, 1, (columns - 1, rows - 1)).T
        x1, y1 = np.maximum(x1, x0 + 1), np.maximum(y1, y0 + 1)
        total = self.busy[y1, x1] - self.busy[y0, x1] - self.busy[y1, x0] + self.busy[y0, x0]
        return total / ((x1 - x0) * (y1 - y0))

    def is_free(self, polygon: ArrayLike) -> bool:
        """Return whether a convex polygon is inside the margins and touches nothing occupied."""
        polygon = np.asarray(polygon, np.float64)
        (left, top), (right, bottom) = polygon.min(0).tolist(), polygon.max(0).tolist()
        margin = self.margin
        if min(left, top, self.width - right, self.height - bottom) < margin:
            return False
        x0, y0, mask = self._cells(polygon)
        part = self.taken[y0 : y0 + mask.shape[0], x0 : x0 + mask.shape[1]]
        return cv2.countNonZero(cv2.bitwise_and(part, mask)) == 0

    def take(self, polygon: ArrayLike) -> None:
        """Mark a convex polygon as occupied."""
        x0, y0, mask = self._cells(np.asarray(polygon, np.float64))
        part = self.taken[y0 : y0 + mask.shape[0], x0 : x0 + mask.shape[1]]
        np.maximum(part, mask, out=part)

    def _cells(self, polygon: np.ndarray) -> tuple[int, int, ByteArray]:
        """Return the cells that a polygon touches: offset and mask."""
        points = polygon / _CELL
        x0, y0 = np.maximum(0, np.floor(points.min(0)).astype(int) - 1)
        x1, y1 = np.ceil(points.max(0)).astype(int) + 2
        mask = np.zeros(
            (min(y1, self.taken.shape[0]) - y0, min(x1, self.taken.shape[1]) - x0), np.uint8
        )
        cv2.fillConvexPoly(mask, np.rint(points - (x0, y0)).astype(np.int32), 255)
        return int(x0), int(y0), mask

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
        centers = rng.uniform(reach, page - reach, (TRIES, 2))
        # The quietest of a few, so that some text is on busy backgrounds; then the others.
        few = int(rng.integers(2, TRIES))
        busy = self.busyness(centers, width, height)
        busy[few:] += 1024
        if on_plane and self.surfaces:
            busy[self._planes(centers) == 0] += 256  # more than any energy
        corners = [
            (-gap, -gap),
            (width + gap, -gap),
            (width + gap, height + gap),
            (-gap, height + gap),
        ]
        free = rotation(*angles, focal=1.2 * max(self.width, self.height))
        to_middle = shift(-width / 2, -height / 2)
        for center in centers[np.argsort(busy, kind="stable")]:
            lying = self._on_plane(center, angles[2] / 4) if on_plane else None
            matrix = shift(*center) @ free if lying is None else lying
            matrix = matrix @ to_middle
            if np.array_equal(matrix[:, :2], np.eye(3)[:, :2]):
                matrix = np.rint(matrix)  # a pure shift: by whole pixels, so that it stays sharp
            polygon = _seen(corners, matrix)
            if polygon is None or not self.is_free(polygon):
                continue
            if lying is None or len(set(self._planes(polygon).tolist())) == 1:
                self.take(polygon)
                return matrix
        return None

    def _planes(self, points: np.ndarray) -> np.ndarray:
        """Return the numbers of the surfaces visible at points `(N, 2)` of the page; 0: none."""
        last = np.array(self.plane_at.shape) - 1
        rows, columns = np.clip((points[:, ::-1] / _COARSE).astype(int), 0, last).T
        return self.plane_at[rows, columns]

    def _on_plane(self, center: np.ndarray, turn: float) -> np.ndarray | None:
        """Return the homography that centers flat pixels on a page point, on its surface."""
        number = int(self._planes(center[None])[0])
        if number == 0:
            return None
        plane, back = self.surfaces[number - 1].homography, self.inverses[number - 1]
        u, v, w = (back @ (*center, 1.0)).tolist()
        u, v = u / w, v / w
        # Columns of the homography's Jacobian there: the apparent length of a flat pixel.
        (a, b, _), (d, e, _), (g, h, i) = plane.tolist()
        x, y = center.tolist()
        z = g * u + h * v + i
        wide = math.hypot(a - g * x, d - g * y) / abs(z)
        tall = math.hypot(b - h * x, e - h * y) / abs(z)
        if not (tall > 1e-3 and 0.3 < wide / tall < 3):
            return None
        t = math.radians(turn)
        s, c = math.sin(t) / tall, math.cos(t) / tall
        return np.asarray(plane @ np.array([[c, -s, u], [s, c, v], [0, 0, 1]]))


def _seen(corners: list[tuple[float, float]], matrix: np.ndarray) -> np.ndarray | None:
    """Map a flat quad, `(4, 2)`; None unless it is in front of the camera, convex and clockwise.

    Also None if its far side would be less than a third of its near side. Plain floats: for four
    points they are several times faster than arrays.
    """
    (a, b, c), (d, e, f), (g, h, i) = matrix.tolist()
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
    return np.array(points)


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
