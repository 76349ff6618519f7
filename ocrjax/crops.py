"""Word crops for the recognizer: perspective-rectified, with the word's aspect ratio.

Coordinates refer to pixel edges: the center of the first pixel is `(0.5, 0.5)`.

Host code: NumPy and OpenCV.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import ArrayLike

from craftjax.weak.word_crops import word_size
from ocrcore.pages import ByteArray, FloatArray

# Words larger than this many times the crop height are rectified at no more than that size.
_MAX_OVERSIZE = 8


def rectify(
    image: ByteArray, quad: ArrayLike, *, height: int, margin: float = 0.0
) -> ByteArray | None:
    """Cut out a quad and rectify it: its first corner becomes the top left one.

    The crop has the size of the word on the page: of each pair of opposite edges the longer one
    counts. If the shorter side is longer than `height`, the crop is scaled down to make that side
    `height` pixels.

    Args:
        image: the image, `(H, W, 3)` uint8, RGB.
        quad: `(4, 2)`, clockwise from the top left in reading direction, in pixels of the image.
        height: the height in pixels that the recognizer scales crops to.
        margin: margin around the word, as a fraction of its shorter side; outside the image the
            border pixels are repeated.

    Returns:
        `(h, w, 3)` uint8; None for a quad that cannot be a word
        (`craftjax.weak.word_crops.word_size`): no area, not convex, or outside the image.
    """
    corners = np.asarray(quad, np.float32).reshape(4, 2)
    frame = _frame(corners, image.shape[:2], height, margin)
    if frame is None:
        return None
    columns, rows, box = frame
    # For OpenCV the center of the first pixel is (0, 0).
    matrix = cv2.getPerspectiveTransform(corners - np.float32(0.5), box - np.float32(0.5))
    crop = cv2.warpPerspective(
        image, matrix, (columns, rows), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    if min(crop.shape[:2]) > height:
        shrink = height / min(crop.shape[:2])
        columns, rows = (max(1, round(side * shrink)) for side in (columns, rows))
        crop = cv2.resize(crop, (columns, rows), interpolation=cv2.INTER_AREA)
    return np.asarray(crop, np.uint8)


def turned(quad: FloatArray, degrees: int) -> FloatArray:
    """Return the quad that starts at the top left of the text as it reads in the turned crop.

    The crop is turned clockwise by 0, 90, 180 or 270 degrees; after 90 degrees the former bottom
    left corner is the top left one.
    """
    return np.roll(quad, degrees // 90, axis=0)


def place_characters(
    quad: ArrayLike,
    spans: ArrayLike,
    shape: tuple[int, ...],
    *,
    height: int,
    margin: float = 0.0,
) -> FloatArray:
    """Map character positions in a crop of `rectify` to quads in the image.

    Args:
        quad: the word's quad, as passed to `rectify` (`turned` if the crop was turned).
        spans: `(N, 2)`, left and right end of each character as fractions of the crop's width.
        shape: `(H, W)` of the image.
        height: as for `rectify`.
        margin: as for `rectify`.

    Returns:
        `(N, 4, 2)` float32, clockwise from the top left in reading direction; as high as the word
        and inside it.
    """
    corners = np.asarray(quad, np.float32).reshape(4, 2)
    frame = _frame(corners, shape, height, margin)
    ends = np.asarray(spans, np.float32).reshape(-1, 2)
    if frame is None or not len(ends):
        return np.zeros((0, 4, 2), np.float32)
    columns, _, box = frame
    across = (ends * columns).clip(box[0, 0], box[2, 0])
    down = np.broadcast_to(box[[0, 0, 2, 2], 1], (len(ends), 4))
    points = np.stack([across[:, [0, 1, 1, 0]], down], axis=-1)
    matrix = cv2.getPerspectiveTransform(box, corners)
    placed = cv2.perspectiveTransform(points.reshape(1, -1, 2), matrix)
    return np.asarray(placed, np.float32).reshape(-1, 4, 2)


def _frame(
    corners: FloatArray, shape: tuple[int, ...], height: int, margin: float
) -> tuple[int, int, FloatArray] | None:
    """Columns and rows of a crop before it is scaled down, and the word's corners in it."""
    size = word_size(corners, (shape[0], shape[1]))
    if size is None:
        return None
    scale = min(1.0, _MAX_OVERSIZE * height / min(size))
    around = margin * min(size) * scale
    wide, high = (max(1.0, side * scale) for side in size)
    columns, rows = (max(1, round(side + 2 * around)) for side in (wide, high))
    left, top = (columns - wide) / 2, (rows - high) / 2
    box = np.array(
        [(left, top), (left + wide, top), (left + wide, top + high), (left, top + high)], np.float32
    )
    return columns, rows, box
