"""Pictures to look at: readings beside their crops, and batches as the network gets them.

Host code: no jax.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw

from crnnjax.input_pipeline import BatchSource
from ocrcore.pages import ByteArray
from ocrcore.synth.fonts import Font, bundled_fonts, open_face

_CELL = (300, 64)  # room for a crop, width and height
_LINE = 22
_GAP = 8
_RIGHT, _WRONG, _TRUTH = (0, 120, 40), (200, 20, 40), (40, 40, 40)
_FONT = "OpenSans_400Regular.ttf"

_ROW_GAP, _TEXT_WIDTH = 4, 150
_TINT = np.array([255, 205, 205], np.float32) / 255


def draw_readings(
    images: Sequence[ByteArray],
    truth: Sequence[str],
    read: Sequence[str],
    *,
    columns: int = 4,
) -> ByteArray:
    """Draws crops in a grid, each over its truth and its reading.

    Args:
        images: `(H, W, 3)` uint8, RGB, of any sizes.
        truth: what stands there, in dark gray.
        read: what was read, in green where it equals the truth, else in red.
        columns: of the grid.

    Returns:
        A picture `(H, W, 3)` uint8, RGB.
    """
    width, height = _CELL[0] + 2 * _GAP, _CELL[1] + 2 * _LINE + 2 * _GAP
    rows = -(-len(images) // columns)
    sheet = np.full((max(rows, 1) * height, columns * width, 3), 255, np.uint8)
    places = [
        (index // columns * height + _GAP, index % columns * width + _GAP)
        for index in range(len(images))
    ]
    for (top, left), image in zip(places, images, strict=True):
        small = _shrunk(image)
        sheet[top : top + small.shape[0], left : left + small.shape[1]] = small
    canvas = Image.fromarray(sheet)
    draw = ImageDraw.Draw(canvas)
    for (top, left), one, two in zip(places, truth, read, strict=True):
        line = top + _CELL[1]
        _write(draw, left, line, one, _TRUTH)
        _write(draw, left, line + _LINE, two, _RIGHT if one == two else _WRONG)
    return np.asarray(canvas)


def font_of(text: str) -> Font:
    """A bundled font that can write a text; where there is none, the usual one."""
    fonts = sorted(bundled_fonts(), key=lambda font: str(font) != _FONT)
    return next((font for font in fonts if font.covers(text)), fonts[0])


def _shrunk(image: ByteArray) -> ByteArray:
    height, width = image.shape[:2]
    scale = min(_CELL[0] / width, _CELL[1] / height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, size, interpolation=way), np.uint8)


def _write(
    draw: ImageDraw.ImageDraw, left: int, top: int, text: str, color: tuple[int, int, int]
) -> None:
    text = text[:80] or "(nothing)"
    font = font_of(text)
    shown = "".join(f"<{ord(c):04X}>" if c in font.missing(text) else c for c in text)
    size = 16.0
    if (length := open_face(font, size).getlength(shown)) > _CELL[0]:
        size = max(7.0, size * _CELL[0] / length)
    draw.text((left, top), shown, fill=color, font=open_face(font, round(size)))


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
        sheet = np.full((count * (height + _ROW_GAP), width + _TEXT_WIDTH, 3), 255, np.uint8)
        for row in range(count):
            crop = cv2.cvtColor(batch["image"][row], cv2.COLOR_GRAY2RGB)
            beyond = crop[:, batch["width"][row] :]
            beyond[:] = (beyond * _TINT).astype(np.uint8)
            top = row * (height + _ROW_GAP)
            sheet[top : top + height, :width] = crop
        canvas = Image.fromarray(sheet)
        draw = ImageDraw.Draw(canvas)
        for row in range(count):
            text = source.charset.decode(batch["label"][row][: batch["length"][row]])
            font = font_of(text)
            shown = "".join("\ufffd" if c in font.missing(text) else c for c in text)
            place = (width + _ROW_GAP, row * (height + _ROW_GAP) + height // 2 - 8)
            draw.text(place, shown, fill=(0, 0, 0), font=open_face(font, 13))
        columns.append(np.asarray(canvas))
    tall = max(len(column) for column in columns)
    padded = [
        np.pad(column, ((0, tall - len(column)), (0, 0), (0, 0)), constant_values=255)
        for column in columns
    ]
    return np.concatenate(padded, axis=1)
