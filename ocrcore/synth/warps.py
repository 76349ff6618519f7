"""Homographies in pixel-edge coordinates, and warps that are consistent with them.

Pixel `(column i, row j)` covers `[i, i + 1) x [j, j + 1)`; its center is at `(i + 0.5, j + 0.5)`.
OpenCV's warps refer to pixel centers instead: `warp` converts, so that points moved by `mapped` and
ink moved by `warp` stay together exactly.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import ArrayLike

from ocrcore.pages import ByteArray


def shift(x: float, y: float) -> np.ndarray:
    """Return the homography of a translation, `(3, 3)` float64."""
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1]], np.float64)


def rotation(x: float, y: float, z: float, *, focal: float) -> np.ndarray:
    """Return the homography of a plane through the origin, rotated before a pinhole camera.

    The plane's origin stays in place and keeps its scale; with `R = R_x(x) R_y(y) R_z(z)`, a point
    `p = R (u, v, 0)` appears at `focal (p_x, p_y) / (focal + p_z)`.

    Args:
        x: rotation about the horizontal axis, degrees.
        y: rotation about the vertical axis.
        z: rotation in the image plane, clockwise on the screen.
        focal: distance of the camera from the origin, in pixels.

    Returns:
        `(3, 3)` float64.
    """
    a, b, c = np.deg2rad((x, y, z))
    turn_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    turn_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    turn_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    turned = (turn_x @ turn_y @ turn_z)[:, :2]
    matrix = np.zeros((3, 3))
    matrix[:2, :2] = turned[:2]
    matrix[2, :2] = turned[2] / focal
    matrix[2, 2] = 1
    return matrix


def mapped(points: ArrayLike, matrix: np.ndarray) -> np.ndarray:
    """Map points `(..., 2)` by a homography; return float64 of the same shape."""
    points = np.asarray(points, np.float64)
    x, y = points[..., 0], points[..., 1]
    (a, b, c), (d, e, f), (g, h, i) = matrix.tolist()
    scale = 1 / (g * x + h * y + i)
    out = np.empty_like(points)
    out[..., 0], out[..., 1] = (a * x + b * y + c) * scale, (d * x + e * y + f) * scale
    return out


_TO_EDGE = shift(0.5, 0.5)


def warp(
    image: ByteArray,
    matrix: np.ndarray,
    window: tuple[int, int, int, int],
    *,
    border: int = cv2.BORDER_CONSTANT,
) -> ByteArray:
    """Warp an image into a window `(x0, y0, x1, y1)` of the page, bilinearly.

    Args:
        image: `(h, w)` or `(h, w, C)` uint8.
        matrix: homography from the image's edge coordinates to the page's.
        window: in pixels of the page.
        border: OpenCV's border mode for outside the image; by default zeros.
    """
    x0, y0, x1, y1 = window
    centers = shift(-0.5 - x0, -0.5 - y0) @ matrix @ _TO_EDGE
    return cv2.warpPerspective(
        image, centers, (x1 - x0, y1 - y0), flags=cv2.INTER_LINEAR, borderMode=border
    )
