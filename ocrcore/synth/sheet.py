"""Contact sheets: a look at what a source makes, with its labels drawn."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from ocrcore.pages import ByteArray, Sample

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
        color = _WORD if word.care else _IGNORED
        if characters:
            _outline(image, [c.quad for c in word.characters], _CHARACTER, scale)
        _outline(image, [word.outline], color, scale)
        first = np.rint(word.quad[0] * scale).astype(int)
        cv2.circle(image, (int(first[0]), int(first[1])), 2, color, -1, cv2.LINE_AA)
    return image


def _outline(image: ByteArray, quads: list[np.ndarray], color: tuple, scale: float) -> None:
    # Four bits after the point; half a pixel from edges to centers.
    fixed = [np.rint((quad * scale - 0.5) * 16).astype(np.int32) for quad in quads]
    cv2.polylines(image, fixed, True, color, 1, cv2.LINE_AA, 4)


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
        side: longer side of each cell in pixels; a row is as high as its highest cell.
        labels: whether quads are drawn.
        gap: pixels between the cells.

    Returns:
        `(H, W, 3)` uint8, RGB.

    Raises:
        ValueError: no samples.
    """
    if not samples:
        raise ValueError("a contact sheet of no samples: expected at least one")
    cells = []
    for sample in samples:
        scale = side / max(sample.image.shape[:2])
        if labels:
            cell = draw_labels(sample, scale=scale)
        else:
            cell = cv2.resize(sample.image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        cells.append(cell[:side, :side])
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    heights = [max(cell.shape[0] for cell in row) for row in rows]  # words need no square cells
    width = min(columns, len(cells)) * (side + gap) - gap
    sheet = np.full((sum(heights) + gap * (len(rows) - 1), width, 3), 255, np.uint8)
    top = 0
    for row, height in zip(rows, heights, strict=True):
        for column, cell in enumerate(row):
            left = column * (side + gap)
            sheet[top : top + cell.shape[0], left : left + cell.shape[1]] = cell
        top += height + gap
    return sheet
