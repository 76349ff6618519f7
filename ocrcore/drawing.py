"""Pictures for people: words drawn over their page, score maps in color, curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from ocrcore.pages import ByteArray, FloatArray, Page

FOUND = (0, 200, 60)
MISSED = (235, 30, 60)
IGNORED = (140, 140, 140)

_CURVES = ((30, 90, 200), (220, 110, 20), (40, 150, 70), (150, 60, 160), (90, 90, 90))

_SHIFT = 3  # fractional bits of OpenCV's drawing coordinates


def draw_page(image: ByteArray, page: Page, *, color: tuple[int, int, int] = FOUND) -> ByteArray:
    """Draws the outlines of a page's words over its picture.

    A dot marks the first corner, where reading begins. Words that do not count are gray.

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
    """Draws region and affinity scores in color over a page, one beside the other.

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


def draw_curves(
    curves: Mapping[str, Sequence[tuple[float, float]]],
    *,
    log: bool = False,
    width: int = 960,
    height: int = 360,
) -> ByteArray:
    """Draws curves over a common axis, with ticks and a legend.

    Args:
        curves: points `(x, y)` of each by name; an empty one shows in the legend only.
        log: logarithmic y axis; points that are not positive are left out.
        width: of the picture, in pixels.
        height: of the picture, in pixels.

    Returns:
        `(height, width, 3)` uint8, RGB.
    """
    lines = {
        name: [(x, math.log10(y) if log else y) for x, y in points if y > 0 or not log]
        for name, points in curves.items()
    }
    every = np.array([point for points in lines.values() for point in points] or [(0, 0), (1, 1)])
    alone = every.min(0) == every.max(0)  # a value of its own is in the middle
    (x0, y0), (x1, y1) = every.min(0) - alone, every.max(0) + alone
    left, top, right, bottom = 70, 32, width - 28, height - 28
    out = np.full((height, width, 3), 255, np.uint8)

    def at(x: float, y: float) -> tuple[int, int]:
        return (
            round(left + (x - x0) / (x1 - x0) * (right - left)),
            round(bottom - (y - y0) / (y1 - y0) * (bottom - top)),
        )

    def write(text: str, x: int, y: int, color: tuple[int, int, int] = (60, 60, 60)) -> None:
        cv2.putText(out, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.45, color, 1, cv2.LINE_AA)

    for y in np.linspace(y0, y1, 5) if log else _round_numbers(y0, y1):
        _, down = at(x0, y)
        cv2.line(out, (left, down), (right, down), (225, 225, 225), 1)
        write(f"{10**y if log else y:.3g}", 8, down + 5)
    for x in _round_numbers(x0, x1):
        across, _ = at(x, y0)
        write(f"{x:.6g}", across - 4 * len(f"{x:.6g}"), height - 8)
    for color, points in zip(_CURVES * len(lines), lines.values(), strict=False):
        corners = np.array([at(x, y) for x, y in points], np.int32).reshape(-1, 1, 2)
        if len(corners) == 1:
            cv2.circle(out, corners[0, 0].tolist(), 3, color, -1, cv2.LINE_AA)
        elif len(corners):
            cv2.polylines(out, [corners], False, color, 2, cv2.LINE_AA)
    for index, (color, name) in enumerate(zip(_CURVES * len(lines), lines, strict=False)):
        write(name, left + 140 * index, 18, color)
    return out


def _round_numbers(low: float, high: float) -> list[float]:
    """At most nine multiples of a power of ten, of twice or of five times that, in a range."""
    power = 10.0 ** math.floor(math.log10((high - low) / 8))
    step = next(power * times for times in (1, 2, 5, 10) if (high - low) / (power * times) <= 8)
    return [step * n for n in range(math.ceil(low / step), math.floor(high / step) + 1)]
