"""Words cut out of pictures for the recognizer: rectified, level, with their aspect.

Coordinates are of pixels' edges: the center of the first pixel is `(0.5, 0.5)`.

Host code: NumPy and OpenCV.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import ArrayLike

from craftjax.weak.word_crops import word_size
from ocrcore.pages import ByteArray, FloatArray

# Words larger than this many times the crop's height are rectified at that size.
_MAX_OVERSIZE = 8


def rectify(
    image: ByteArray, quad: ArrayLike, *, height: int, margin: float = 0.0
) -> ByteArray | None:
    """Cuts out what a quad holds, level: its first corner becomes the top left one.

    The crop has the size of the word on the page, the longer one of each two opposite edges; of a
    word whose shorter side is above `height`, that side becomes `height` pixels.

    Args:
        image: `(H, W, 3)` uint8, RGB, the picture.
        quad: `(4, 2)`, clockwise from the top left in reading direction, in pixels of the picture.
        height: what the recognizer scales crops to.
        margin: seen around the word, in shares of its shorter side; what lies outside the picture
            repeats its border.

    Returns:
        `(h, w, 3)` uint8; None for a quad that is no word (`craftjax.weak.word_crops.word_size`):
        without an area, not convex, beside the picture.
    """
    corners = np.asarray(quad, np.float32).reshape(4, 2)
    frame = _frame(corners, image.shape[:2], height, margin)
    if frame is None:
        return None
    columns, rows, box = frame
    # OpenCV counts from the center of the first pixel.
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
    """The quad of the same word if it reads when its crop is turned clockwise by 90, 180 or 270.

    Turned by 90, what was the bottom left corner is the top left one.
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
    """Where characters stand in the picture, from their places in a crop of `rectify`.

    Args:
        quad: of the word, as `rectify` took it (`turned`, if the crop was turned).
        spans: `(N, 2)`, the left and right end of each in shares of the crop's width.
        shape: `(H, W)` of the picture.
        height: as for `rectify`.
        margin: as for `rectify`.

    Returns:
        `(N, 4, 2)` float32, as high as the word and within it, clockwise from the top left in
        reading direction.
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
    """Columns and rows of a crop before it is made smaller, and where the word stands in it."""
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
