"""Pictures to look at: readings under their crops, and batches as the network gets them.

Host code: no jax.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from crnnjax.input_pipeline import BatchSource
from ocrcore.drawing import draw_text, fit_cell, grid
from ocrcore.pages import ByteArray

_WIDTH, _HEIGHT, _LINE = 300, 64, 22  # of a crop, and of a line of text under it
_RIGHT, _WRONG, _TRUTH = (0, 120, 40), (200, 20, 40), (40, 40, 40)
_LABEL_WIDTH = 150
_TINT = np.array([255, 205, 205], np.float32) / 255


def draw_readings(
    images: Sequence[ByteArray],
    truth: Sequence[str],
    read: Sequence[str],
    *,
    columns: int = 4,
) -> ByteArray:
    """Draws crops in a grid, each over its true text and its reading.

    Args:
        images: `(H, W, 3)` uint8, RGB, of any sizes; at least one.
        truth: the true texts, drawn in dark gray.
        read: the readings, drawn in green where they equal the true text, else in red.
        columns: of the grid.

    Returns:
        A picture `(H, W, 3)` uint8, RGB.
    """
    cells = [
        np.vstack(
            [
                fit_cell(image, width=_WIDTH, height=_HEIGHT),
                draw_text(one, width=_WIDTH, height=_LINE, color=_TRUTH),
                draw_text(two, width=_WIDTH, height=_LINE, color=_RIGHT if one == two else _WRONG),
            ]
        )
        for image, one, two in zip(images, truth, read, strict=True)
    ]
    return grid(cells, columns=columns, gap=16)


def draw_batches(source: BatchSource, steps: range, *, rows: int = 24) -> ByteArray:
    """Draws batches side by side, each crop as the network gets it with its label beside it.

    Columns that the network ignores are tinted.

    Args:
        source: of `crnnjax.input_pipeline.make_batches`.
        steps: which batches.
        rows: most crops of each.

    Returns:
        A picture `(H, W, 3)` uint8, RGB.
    """
    batches = []
    for step in steps:
        batch = source[step]
        cells = []
        for row, image in enumerate(batch["image"][:rows]):
            crop = cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
            beyond = crop[:, batch["width"][row] :]
            beyond[:] = (beyond * _TINT).astype(np.uint8)
            text = source.charset.decode(batch["label"][row][: batch["length"][row]])
            label = draw_text(text, width=_LABEL_WIDTH, height=len(crop))
            cells.append(np.hstack([crop, label]))
        batches.append(grid(cells, columns=1))
    return grid(batches, columns=len(batches))
