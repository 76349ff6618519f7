"""Pictures for people: words drawn over their page, score maps in colour."""

from __future__ import annotations

import cv2
import numpy as np

from ocrjax.pages import ByteArray, FloatArray, Page

FOUND = (0, 200, 60)
UNCERTAIN = (255, 150, 0)
MISSED = (235, 30, 60)
IGNORED = (140, 140, 140)

_SHIFT = 3  # fractional bits of OpenCV's drawing coordinates


def draw_page(image: ByteArray, page: Page, *, color: tuple[int, int, int] = FOUND) -> ByteArray:
    """Draws the outlines of a page's words over its picture.

    A dot marks the first corner, where reading begins. Words that do not count are grey.

    Args:
        image: `(H, W, 3)` uint8, RGB; not changed.
        page: its words.
        color: RGB of the outlines.

    Returns:
        A new picture of the same size.
    """
    out = image.copy()
    thickness = max(1, round(max(image.shape[:2]) / 640))
    for word in page.words:
        shade = color if word.care else IGNORED
        points = np.rint(word.outline * (1 << _SHIFT)).astype(np.int32)
        cv2.polylines(out, [points], True, shade, thickness, cv2.LINE_AA, _SHIFT)
        first = (int(points[0, 0]), int(points[0, 1]))
        cv2.circle(out, first, 2 * thickness << _SHIFT, shade, -1, cv2.LINE_AA, _SHIFT)
    return out


def draw_scores(image: ByteArray, maps: FloatArray) -> ByteArray:
    """Draws region and affinity scores in colour over a page, one beside the other.

    Args:
        image: `(H, W, 3)` uint8, RGB.
        maps: `(h, w, 2)` float32 that cover the whole picture; values are shown from 0 to 1.

    Returns:
        `(H, 2 * W, 3)` uint8, RGB.
    """
    height, width = image.shape[:2]
    sides = []
    for channel in range(2):
        score = cv2.resize(np.clip(maps[:, :, channel], 0, 1), (width, height))
        heat = cv2.applyColorMap(np.rint(score * 255).astype(np.uint8), cv2.COLORMAP_JET)
        share = (0.75 * np.sqrt(score))[:, :, None]
        mixed = image * (1 - share) + cv2.cvtColor(heat, cv2.COLOR_BGR2RGB) * share
        sides.append(np.rint(mixed).astype(np.uint8))
    return np.hstack(sides)
