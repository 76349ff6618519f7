"""Batches of a run as a picture, to look at before training.

Host code: no jax.
"""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image, ImageDraw

from crnnjax.input_pipeline import BatchSource
from crnnjax.sheet import font_of
from ocrjax.pages import ByteArray
from ocrjax.synth.fonts import open_face

_GAP, _TEXT = 4, 150
_TINT = np.array([255, 205, 205], np.float32) / 255


def draw_batches(source: BatchSource, steps: range, *, rows: int = 24) -> ByteArray:
    """Draws batches side by side, each row as the network gets it and its label beside it.

    What lies beyond the columns that the network is to read is tinted.

    Args:
        source: of `crnnjax.input_pipeline.make_batches`.
        steps: which batches.
        rows: how many rows of each.

    Returns:
        A picture `(H, W, 3)` uint8, RGB.
    """
    columns = []
    for step in steps:
        batch = source[step]
        height, width = batch["image"].shape[1:3]
        count = min(rows, len(batch["image"]))
        sheet = np.full((count * (height + _GAP), width + _TEXT, 3), 255, np.uint8)
        for row in range(count):
            crop = cv2.cvtColor(batch["image"][row], cv2.COLOR_GRAY2RGB)
            beyond = crop[:, batch["width"][row] :]
            beyond[:] = (beyond * _TINT).astype(np.uint8)
            top = row * (height + _GAP)
            sheet[top : top + height, :width] = crop
        canvas = Image.fromarray(sheet)
        draw = ImageDraw.Draw(canvas)
        for row in range(count):
            text = source.charset.decode(batch["label"][row][: batch["length"][row]])
            font = font_of(text)
            shown = "".join("\ufffd" if c in font.missing(text) else c for c in text)
            place = (width + _GAP, row * (height + _GAP) + height // 2 - 8)
            draw.text(place, shown, fill=(0, 0, 0), font=open_face(font, 13))
        columns.append(np.asarray(canvas))
    tall = max(len(column) for column in columns)
    padded = [
        np.pad(column, ((0, tall - len(column)), (0, 0), (0, 0)), constant_values=255)
        for column in columns
    ]
    return np.concatenate(padded, axis=1)
