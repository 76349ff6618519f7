"""Drawings for inspection: crops with their readings, and training batches.

Host code: no jax.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from crnnjax.input_pipeline import BatchSource
from ocrcore.drawing import draw_caption, draw_text, fit_cell, grid
from ocrcore.pages import ByteArray

_WIDTH, _HEIGHT, _LINE = 300, 64, 22  # size of a crop, height of a text line under it
_RIGHT, _WRONG, _TRUTH, _NAME = (0, 120, 40), (200, 20, 40), (40, 40, 40), (130, 130, 130)
_LEGEND = (("true text", _TRUTH), ("read correctly", _RIGHT), ("read wrong", _WRONG))
_LABEL_WIDTH = 150
_IGNORED = (255, 205, 205)
_TINT = np.array(_IGNORED, np.float32) / 255


def draw_readings(
    images: Sequence[ByteArray],
    truth: Sequence[str],
    read: Sequence[str],
    *,
    names: Sequence[str] = (),
    title: str = "crops over their true text and their reading",
    columns: int = 4,
) -> ByteArray:
    """Draw crops in a grid, each over its true text, its reading and the name of its file.

    Args:
        images: `(H, W, 3)` uint8, RGB, of any sizes; at least one.
        truth: the true texts, drawn in dark gray.
        read: the readings, drawn in green where they equal the true text, else in red.
        names: names of the files; empty to draw none.
        title: title of the sheet.
        columns: columns of the grid.

    Returns:
        An image `(H, W, 3)` uint8, RGB, with a legend.
    """
    cells = []
    for number, (image, one, two) in enumerate(zip(images, truth, read, strict=True)):
        lines = [(one, _TRUTH), (two, _RIGHT if one == two else _WRONG)]
        lines += [(Path(names[number]).name, _NAME)] if names else []
        texts = [draw_text(text, width=_WIDTH, height=_LINE, color=c) for text, c in lines]
        cells.append(np.vstack([fit_cell(image, width=_WIDTH, height=_HEIGHT), *texts]))
    sheet = grid(cells, columns=columns, gap=16)
    caption = draw_caption(title, _LEGEND, width=sheet.shape[1])
    return grid([caption, sheet], columns=1, gap=16)


def draw_batches(source: BatchSource, steps: range, *, rows: int = 24) -> ByteArray:
    """Draw training batches side by side, each crop next to its label.

    Columns that the network ignores are tinted.

    Args:
        source: batches of `crnnjax.input_pipeline.make_batches`.
        steps: steps of the batches.
        rows: most crops of each batch.

    Returns:
        An image `(H, W, 3)` uint8, RGB, with a legend.
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
    sheet = grid(batches, columns=len(batches))
    title = f"training crops with their labels: {len(batches)} batches, one per column"
    legend = (("columns that the network ignores", _IGNORED),)
    return grid([draw_caption(title, legend, width=sheet.shape[1]), sheet], columns=1)
