"""Images to look at: words on their page, colored score maps, texts, captions, sheets.

Host code: no jax.
"""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw

from ocrcore.images import PageOfFile
from ocrcore.pages import ByteArray, FloatArray, Page, Sample
from ocrcore.synth.fonts import Font, bundled_fonts, open_face

FOUND = (0, 200, 60)
MISSED = (235, 30, 60)
IGNORED = (140, 140, 140)
CHARACTER = (90, 170, 255)
FIRST_CORNER = ("dot: first corner, where reading begins", None)
"""Legend entry for images of `draw_page`."""
SCORES = (
    ("scores, first region (characters), then affinity (between them):", None),
    ("0.2", (0, 76, 255)),
    ("0.5", (130, 255, 126)),
    ("0.8", (255, 76, 0)),
    ("1", (128, 0, 0)),
)
"""Legend entries for images of `draw_scores`."""

Color = tuple[int, int, int]

_SHIFT = 3  # fractional bits of OpenCV's drawing coordinates
_FONT = "OpenSans_400Regular.ttf"
_NARROW = 480  # pixels; captions are at least this wide
_SIZE = 16.0  # font size, in pixels


def draw_page(
    image: ByteArray,
    page: Page,
    *,
    color: Color = FOUND,
    scale: float = 1.0,
    characters: bool = False,
) -> ByteArray:
    """Draw the outlines of a page's words over its image.

    A dot marks the first corner, where reading begins. Ignored ("don't care") words are gray,
    characters blue.

    Args:
        image: `(H, W, 3)` uint8, RGB; not changed.
        page: the page with the words.
        color: RGB color of the outlines.
        scale: the image is first resized by this factor, so that lines do not hide small text.
        characters: also draw the quads of characters.

    Returns:
        A new image, `(scale * H, scale * W, 3)` uint8, RGB.
    """
    out = _scaled(image, scale)
    thickness = max(1, round(max(out.shape[:2]) / 640))

    def outline(quad: FloatArray, shade: Color) -> tuple[int, int]:
        # OpenCV coordinates refer to pixel centers, half a pixel from the edges.
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


def draw_readings(image: ByteArray, page: Page) -> ByteArray:
    """Draw a page's words on its image, and next to it their texts in the same places.

    Args:
        image: `(H, W, 3)` uint8, RGB; not changed.
        page: the page with the words.

    Returns:
        `(H, 2 * W, 3)` uint8, RGB.
    """
    height, width = image.shape[:2]
    texts = np.full_like(image, 255)
    for word in page.words:
        quad = word.quad.astype(np.float64)
        sides = np.hypot(*(np.roll(quad, -1, axis=0) - quad).T)
        wide, high = (max(1, round(min(side, 4096))) for side in sides[:2])
        if not word.text or min(sides[:2]) < 1:
            continue
        drawn = draw_text(word.text, width=wide, height=high, size=0.75 * high)
        box = np.array([(0, 0), (wide, 0), (wide, high), (0, high)], np.float32)
        matrix = cv2.getPerspectiveTransform(box - 0.5, word.quad - np.float32(0.5))
        cv2.warpPerspective(
            drawn, matrix, (width, height), dst=texts, borderMode=cv2.BORDER_TRANSPARENT
        )
    return np.hstack([draw_page(image, page), texts])


def draw_scores(image: ByteArray, maps: FloatArray) -> ByteArray:
    """Draw region and affinity scores in color over a page, side by side.

    Args:
        image: `(H, W, 3)` uint8, RGB.
        maps: `(h, w, 2)` float32, covering the whole image; the color scale is 0 to 1.

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


def draw_caption(
    title: str, legend: Sequence[tuple[str, Color | None]] = (), *, width: int
) -> ByteArray:
    """Draw a title and a legend, to be put above or below an image by `grid`.

    Args:
        title: one line, such as the name of the photo.
        legend: texts with their colors; None for a text without a color.
        width: width of the image, in pixels.

    Returns:
        `(H, max(width, 480), 3)` uint8, RGB; the text is larger for wide images, because viewers
        shrink them.
    """
    width = max(width, _NARROW)
    size = max(_SIZE, width / 80)
    line, gap = round(1.6 * size), round(size / 2)
    margin = np.full((line, gap, 3), 255, np.uint8)
    rows = [[margin, draw_text(title, width=width - gap, height=line, size=size)]]
    left = 0
    face = open_face(_fonts()[0], size)
    for text, color in legend:
        swatch = margin
        if color is not None:
            swatch = np.full((line, line + 2 * gap, 3), 255, np.uint8)
            swatch[line // 4 : -(line // 4), gap:-gap] = color
        long = min(round(face.getlength(text) + 2 * gap), width - swatch.shape[1])
        label = draw_text(text, width=long, height=line, size=size)
        if not left or left + swatch.shape[1] + long > width:
            rows.append([])
            left = 0
        rows[-1] += [swatch, label]
        left += swatch.shape[1] + long
    return grid([np.hstack(row)[:, :width] for row in rows], columns=1, gap=0)


def drawing_names(
    pictures: Sequence[str | PathLike[str] | None], endings: Sequence[str] = ("",)
) -> list[str]:
    """Return names for drawings of images: the names of the images without their suffixes.

    If several images have one name, later ones get their folders as a prefix; a page of a
    multi-page file gets its number as a suffix.

    Args:
        pictures: paths of the images; None is named by its index, "page_007".
        endings: endings of all drawings of one image, such as "_scores".

    Returns:
        A name for each image; with any ending it differs from all others, even ignoring case.
    """
    names = list[str]()
    used = set[str]()
    for place, picture in enumerate(pictures):
        file = Path(f"page_{place:03}" if picture is None else picture)
        name, parents = file.stem, list(file.absolute().parent.parts[1:])
        if isinstance(picture, PageOfFile):
            name += f"_page{picture.number}"
        while used & (own := {(name + ending).casefold() for ending in endings}):
            name = f"{parents.pop()}_{name}" if parents else f"{name}_"
        used |= own
        names.append(name)
    return names


def draw_text(
    text: str, *, width: int, height: int, color: Color = (0, 0, 0), size: float = _SIZE
) -> ByteArray:
    """Draw one line on white, in a bundled font that has its characters.

    Long lines are drawn smaller. A character that the font lacks is shown as its code point, like
    `<1F600>`.

    Args:
        text: only the first 80 characters are drawn; "(nothing)" if it is empty.
        width: width of the image, in pixels.
        height: height of the image, in pixels.
        color: RGB color of the text.
        size: font size, in pixels.

    Returns:
        `(height, width, 3)` uint8, RGB.
    """
    text = text[:80] or "(nothing)"
    fonts = _fonts()
    font = next((font for font in fonts if font.covers(text)), fonts[0])
    missing = font.missing(text)
    shown = "".join(f"<{ord(c):04X}>" if c in missing else c for c in text)
    size = min(size, 0.75 * height)
    if (length := open_face(font, size).getlength(shown)) > width:
        size = max(7.0, size * width / length)
    canvas = Image.new("RGB", (width, height), "white")
    face = open_face(font, round(size))
    ImageDraw.Draw(canvas).text((0, height / 2), shown, fill=color, font=face, anchor="lm")
    return np.array(canvas)


def fit_cell(image: ByteArray, *, width: int, height: int) -> ByteArray:
    """Resizes an image to the largest size that fits a cell, and pads the cell with white.

    Args:
        image: `(H, W, 3)` uint8, RGB.
        width: width of the cell, in pixels.
        height: height of the cell, in pixels.

    Returns:
        `(height, width, 3)` uint8, RGB; the image is at the top left.
    """
    cell = np.full((height, width, 3), 255, np.uint8)
    inside = _scaled(image, min(width / image.shape[1], height / image.shape[0]))[:height, :width]
    cell[: inside.shape[0], : inside.shape[1]] = inside
    return cell


def grid(cells: Sequence[ByteArray], *, columns: int, gap: int = 4) -> ByteArray:
    """Arrange images in rows, on white.

    Args:
        cells: `(H, W, 3)` uint8, RGB; at least one.
        columns: number of columns, all as wide as the widest cell; a row is as high as its highest.
        gap: pixels between the cells.

    Returns:
        `(H, W, 3)` uint8, RGB.

    Raises:
        ValueError: no cells.
    """
    if not cells:
        raise ValueError("a grid without images: expected at least one")
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
    """Arrange samples in a grid.

    Args:
        samples: at least one.
        columns: number of columns.
        side: longer side of each sample, in pixels.
        labels: whether to draw the quads of words and characters.
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


def _fonts() -> list[Font]:
    """Return the bundled fonts, the caption font first."""
    return sorted(bundled_fonts(), key=lambda font: str(font) != _FONT)


def _scaled(image: ByteArray, scale: float) -> ByteArray:
    """Return a resized copy; no side becomes 0."""
    if scale == 1:
        return image.copy()
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, size, interpolation=method), np.uint8)
