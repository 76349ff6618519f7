"""Pictures to look at: words over their page, score maps in color, texts, contact sheets.

Host code: no jax.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw

from ocrcore.pages import ByteArray, FloatArray, Page, Sample
from ocrcore.synth.fonts import bundled_fonts, open_face

FOUND = (0, 200, 60)
MISSED = (235, 30, 60)
IGNORED = (140, 140, 140)
CHARACTER = (90, 170, 255)

_SHIFT = 3  # fractional bits of OpenCV's drawing coordinates
_FONT = "OpenSans_400Regular.ttf"


def draw_page(
    image: ByteArray,
    page: Page,
    *,
    color: tuple[int, int, int] = FOUND,
    scale: float = 1.0,
    characters: bool = False,
) -> ByteArray:
    """Draws the outlines of a page's words over its picture.

    A dot marks the first corner, where reading begins. Ignored ("don't care") words are gray,
    characters blue.

    Args:
        image: `(H, W, 3)` uint8, RGB; not changed.
        page: its words.
        color: RGB of the outlines.
        scale: resizes the picture first; lines then do not hide small text.
        characters: also draws the quads of characters.

    Returns:
        A new picture, `(scale * H, scale * W, 3)` uint8, RGB.
    """
    out = _scaled(image, scale)
    thickness = max(1, round(max(out.shape[:2]) / 640))

    def outline(quad: FloatArray, shade: tuple[int, int, int]) -> tuple[int, int]:
        # OpenCV counts from the centers of pixels, half a pixel from their edges.
        points = np.rint((quad * scale - 0.5) * (1 << _SHIFT)).astype(np.int32)
        cv2.polylines(out, [points], True, shade, thickness, cv2.LINE_AA, _SHIFT)
        return int(points[0, 0]), int(points[0, 1])

    for word in page.words:
        for character in word.characters if characters else ():
            outline(character.quad, CHARACTER)
        shade = color if word.care else IGNORED
        first = outline(word.outline, shade)
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


def draw_text(
    text: str, *, width: int, height: int, color: tuple[int, int, int] = (0, 0, 0)
) -> ByteArray:
    """Draws one line on white, in a bundled font that has its characters.

    Long lines are drawn smaller. A character that the font lacks is shown by its code point, as in
    `<1F600>`.

    Args:
        text: the first 80 characters are drawn; "(nothing)" if it is empty.
        width: of the picture, in pixels.
        height: of the picture, in pixels.
        color: RGB of the text.

    Returns:
        `(height, width, 3)` uint8, RGB.
    """
    text = text[:80] or "(nothing)"
    fonts = sorted(bundled_fonts(), key=lambda font: str(font) != _FONT)
    font = next((font for font in fonts if font.covers(text)), fonts[0])
    missing = font.missing(text)
    shown = "".join(f"<{ord(c):04X}>" if c in missing else c for c in text)
    size = min(16.0, 0.75 * height)
    if (length := open_face(font, size).getlength(shown)) > width:
        size = max(7.0, size * width / length)
    canvas = Image.new("RGB", (width, height), "white")
    face = open_face(font, round(size))
    ImageDraw.Draw(canvas).text((0, height / 2), shown, fill=color, font=face, anchor="lm")
    return np.array(canvas)


def fit_cell(image: ByteArray, *, width: int, height: int) -> ByteArray:
    """Resizes a picture to the largest size that fits a cell, and fills the cell with white.

    Args:
        image: `(H, W, 3)` uint8, RGB.
        width: of the cell, in pixels.
        height: of the cell, in pixels.

    Returns:
        `(height, width, 3)` uint8, RGB; the picture is at the top left.
    """
    cell = np.full((height, width, 3), 255, np.uint8)
    inside = _scaled(image, min(width / image.shape[1], height / image.shape[0]))[:height, :width]
    cell[: inside.shape[0], : inside.shape[1]] = inside
    return cell


def grid(cells: Sequence[ByteArray], *, columns: int, gap: int = 4) -> ByteArray:
    """Lays pictures out in rows, on white.

    Args:
        cells: `(H, W, 3)` uint8, RGB; at least one.
        columns: of the grid. All are as wide as the widest cell; a row is as high as its highest.
        gap: pixels between the cells.

    Returns:
        `(H, W, 3)` uint8, RGB.

    Raises:
        ValueError: no cells.
    """
    if not cells:
        raise ValueError("a grid without pictures: expected at least one")
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    heights = [max(cell.shape[0] for cell in row) for row in rows]
    step = max(cell.shape[1] for cell in cells) + gap
    size = sum(heights) + gap * (len(rows) - 1), min(columns, len(cells)) * step - gap, 3
    out = np.full(size, 255, np.uint8)
    top = 0
    for row, height in zip(rows, heights, strict=True):
        for column, cell in enumerate(row):
            left = column * step
            out[top : top + cell.shape[0], left : left + cell.shape[1]] = cell
        top += height + gap
    return out


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
        side: longer side of each sample, in pixels.
        labels: whether the quads of words and characters are drawn.
        gap: pixels between the samples.

    Returns:
        `(H, W, 3)` uint8, RGB.

    Raises:
        ValueError: no samples.
    """
    cells = []
    for sample in samples:
        page = sample.page if labels else sample.page.with_words(())
        scale = side / max(sample.image.shape[:2])
        cells.append(draw_page(sample.image, page, scale=scale, characters=True)[:side, :side])
    return grid(cells, columns=columns, gap=gap)


def _scaled(image: ByteArray, scale: float) -> ByteArray:
    """A resized copy; no side becomes 0."""
    if scale == 1:
        return image.copy()
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, size, interpolation=method), np.uint8)
