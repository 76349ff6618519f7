"""Word crops for the teacher: each word is rectified and scaled to one height.

Coordinates refer to pixel edges: the center of the first pixel is `(0.5, 0.5)`, in crops and on
pages.

Host code: NumPy and OpenCV.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from craftjax.weak.options import PseudoOptions
from ocrcore.geometry import convex_quads
from ocrcore.pages import ByteArray
from ocrcore.text import visible_graphemes

Floats = NDArray[np.float64]

# The original's rule for vertical words: height / width above this, ...
VERTICAL_RATIO = 2.0
# ... or above this, if a character would be more than `VERTICAL_CHARACTER` times as long across
# the word as along it.
VERTICAL_RATIO_LONG = 1.6
VERTICAL_CHARACTER = 2.4

# Longer quads are not words; their crops would be more than 8000 pixels wide.
MAX_ASPECT = 64
# Words larger than this many times the crop height are rectified at no more than that size.
_MAX_OVERSIZE = 8
# Coordinates beyond this many pixels are label errors.
_FAR = 1e6


class WordCrop(NamedTuple):
    """A rectified word.

    Attributes:
        image: `(height, W, 3)` uint8, RGB; the word reads from left to right.
        to_page: `(3, 3)` float64, the homography from pixels of the crop to those of the page.
        vertical: whether the quad is high and narrow, and the crop was rotated clockwise by 90
            degrees. The word then reads from left to right if it runs upwards on the page, which is
            not known.
    """

    image: ByteArray
    to_page: Floats
    vertical: bool


def crop_word(
    image: ByteArray, quad: ArrayLike, *, text: str | None, options: PseudoOptions
) -> WordCrop | None:
    """Rectify a word.

    As in the original, the word is rectified at its own size, then scaled to the crop's height.

    Args:
        image: `(H, W, 3)` uint8, RGB, the page.
        quad: `(4, 2)`, clockwise from the top left in reading direction, in pixels of the page.
        text: the word's text; without it, only words more than twice as high as wide are vertical.
        options: see `PseudoOptions`.

    Returns:
        The crop; None for a quad that `word_size` refuses.

    Raises:
        ValueError: an array of another shape or type.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"the page is {image.dtype} {image.shape}, expected uint8 (H, W, 3)")
    corners = np.asarray(quad, np.float64)
    if corners.shape != (4, 2):
        raise ValueError(f"a word's quad has shape {corners.shape}, expected (4, 2)")
    size = word_size(corners, image.shape[:2])
    if size is None:
        return None
    width, height = size
    count = 0 if text is None else len(text if options.original else visible_graphemes(text))
    vertical = is_vertical(width, height, count)
    if vertical:
        width, height = height, width
    shrink = min(1.0, _MAX_OVERSIZE * options.height / height)
    if not options.original and shrink < 1:
        width, height = max(1, round(width * shrink)), round(height * shrink)
    to_crop = _to_rectangle(corners, width, height, vertical=vertical)
    # For OpenCV the center of the first pixel is (0, 0). The original ignores the difference.
    shifted = to_crop if options.original else _shift(-0.5) @ to_crop @ _shift(0.5)
    word = cv2.warpPerspective(image, shifted, (width, height))
    scale = options.height / height
    how = cv2.INTER_AREA if scale < 1 and not options.original else cv2.INTER_LINEAR
    word = cv2.resize(word, None, fx=scale, fy=scale, interpolation=how)
    to_page = np.linalg.inv(to_crop) @ np.diag([1 / scale, 1 / scale, 1])
    return WordCrop(word, to_page / to_page[2, 2], vertical)


def word_size(quad: ArrayLike, page: Sequence[int]) -> tuple[int, int] | None:
    """Return width and height of a word in whole pixels, from the longer of opposite edges.

    Args:
        quad: as for `crop_word`.
        page: its height and width.

    Returns:
        The size, or None for a degenerate quad: not finite, no area, not convex, less than a pixel
        high or wide, more than 64 times as long as high, or entirely outside the page.
    """
    corners = np.asarray(quad, np.float64)
    if not (np.abs(corners) <= _FAR).all() or not convex_quads(corners[None])[0]:
        return None
    if is_outside(corners, page):
        return None
    sides = np.linalg.norm(np.roll(corners, -1, axis=0) - corners, axis=1).astype(int).tolist()
    width, height = max(sides[0], sides[2]), max(sides[1], sides[3])
    if min(width, height) < 1 or max(width, height) > MAX_ASPECT * min(width, height):
        return None
    return width, height


def is_outside(quad: ArrayLike, page: Sequence[int]) -> bool:
    """Return whether a quad is entirely outside its page, given as height and width."""
    corners = np.asarray(quad)
    low, high = corners.min(axis=0), corners.max(axis=0)
    return bool((high <= 0).any() or (low >= page[::-1]).any())


def is_vertical(width: float, height: float, count: int) -> bool:
    """Return whether a word is vertical by the original's rule.

    Args:
        width: width of the word in pixels.
        height: height of the word in pixels.
        count: number of its characters; 0 if not known.
    """
    ratio = height / width
    character = count * min(height, width) / max(height, width)
    return ratio > VERTICAL_RATIO or (
        ratio > VERTICAL_RATIO_LONG and character > VERTICAL_CHARACTER
    )


def _to_rectangle(corners: Floats, width: int, height: int, *, vertical: bool) -> Floats:
    """The homography from a quad to a rectangle; a vertical word is rotated clockwise."""
    if vertical:
        target = [[width, 0], [width, height], [0, height], [0, 0]]
    else:
        target = [[0, 0], [width, 0], [width, height], [0, height]]
    source = corners.astype(np.float32)
    return cv2.getPerspectiveTransform(source, np.array(target, np.float32))


def _shift(by: float) -> Floats:
    return np.array([[1, 0, by], [0, 1, by], [0, 0, 1]], np.float64)
