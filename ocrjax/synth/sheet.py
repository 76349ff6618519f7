"""Contact sheets: a look at what a source makes, with its labels drawn."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from ocrjax.pages import ByteArray, Sample

_WORD, _IGNORED, _CHARACTER = (60, 255, 60), (255, 60, 60), (90, 170, 255)


def draw_labels(sample: Sample, *, scale: float = 1.0, characters: bool = True) -> ByteArray:
    """Draws a page's quads over its picture.

    Words are green (red: don't care) with a dot at the first corner, characters blue.

    Args:
        sample: the picture and its page.
        scale: enlarges the picture first, so that lines do not hide small text.
        characters: whether characters are drawn, too.

    Returns:
        `(scale * H, scale * W, 3)` uint8, RGB.
    """
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    image = cv2.resize(sample.image, None, fx=scale, fy=scale, interpolation=how)
    for word in sample.page.words:
        colour = _WORD if word.care else _IGNORED
        if characters:
            _outline(image, [c.quad for c in word.characters], _CHARACTER, scale)
        _outline(image, [word.outline], colour, scale)
        first = np.rint(word.quad[0] * scale).astype(int)
        cv2.circle(image, (int(first[0]), int(first[1])), 2, colour, -1, cv2.LINE_AA)
    return image


def _outline(image: ByteArray, quads: list[np.ndarray], colour: tuple, scale: float) -> None:
    # Four bits after the point; half a pixel from edges to centres.
    fixed = [np.rint((quad * scale - 0.5) * 16).astype(np.int32) for quad in quads]
    cv2.polylines(image, fixed, True, colour, 1, cv2.LINE_AA, 4)


def contact_sheet(
    samples: Sequence[Sample],
    *,
    columns: int = 4,
    side: int = 320,
    labels: bool = True,
    gap: int = 4,
) -> ByteArray:
    """Lays samples out in a grid.

    Args:
        samples: at least one.
        columns: of the grid.
        side: longer side of each cell in pixels.
        labels: whether quads are drawn.
        gap: pixels between the cells.

    Returns:
        `(H, W, 3)` uint8, RGB.

    Raises:
        ValueError: no samples.
    """
    if not samples:
        raise ValueError("a contact sheet of no samples: expected at least one")
    columns = min(columns, len(samples))
    rows = -(-len(samples) // columns)
    sheet = np.full((rows * (side + gap) - gap, columns * (side + gap) - gap, 3), 255, np.uint8)
    for number, sample in enumerate(samples):
        scale = side / max(sample.image.shape[:2])
        if labels:
            cell = draw_labels(sample, scale=scale)
        else:
            cell = cv2.resize(sample.image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        y, x = (number // columns) * (side + gap), (number % columns) * (side + gap)
        cell = cell[:side, :side]
        sheet[y : y + cell.shape[0], x : x + cell.shape[1]] = cell
    return sheet
