"""Writers of text files with one word per line, the formats of competitions.

Each function returns the label file of one image; pages are already adapted to the format.
"""

from __future__ import annotations

import math

import numpy as np

from ocrcore.pages import FloatArray, Page, Word
from ocrjax.labels.carry import is_upright


def number(value: float | np.floating) -> str:
    """Format a coordinate so that it reads back exactly, without exponent or trailing zeros."""
    return np.format_float_positional(np.float32(value), trim="-")


def numbers(points: FloatArray, separator: str = ",") -> str:
    """Format the coordinates of points, separated."""
    return separator.join(number(value) for value in points.reshape(-1))


def icdar2013(page: Page) -> str:
    """Return lines `left top right bottom "text"`."""
    return _lines(page, lambda word, text: f"{numbers(word.quad[[0, 2]], ' ')}{_quoted(text, ' ')}")


def icdar2015(page: Page) -> str:
    """Return lines `x1,y1,x2,y2,x3,y3,x4,y4,text`."""
    return _lines(
        page, lambda word, text: numbers(word.quad) + ("" if text is None else f",{text}")
    )


def mlt(page: Page) -> str:
    """Return lines `x1,y1,...,x4,y4,script,text`."""
    return _lines(page, lambda word, text: f"{numbers(word.quad)},{word.language or 'None'},{text}")


def rctw(page: Page) -> str:
    """Return lines `x1,y1,...,x4,y4,flag,"text"`; the flag is 1 for don't care."""
    return _lines(
        page, lambda word, text: f"{numbers(word.quad)},{int(not word.care)}{_quoted(text, ',')}"
    )


def td500(page: Page) -> str:
    """Return lines `x1,y1,...,x4,y4,flag`, DB's MSRA-TD500; the flag is 1 for don't care."""
    return "".join(f"{numbers(word.quad)},{int(not word.care)}\n" for word in page.words)


def msra_td500(page: Page) -> str:
    """Return lines `index difficulty x y width height angle`, rotated about the box center."""
    lines = []
    for index, word in enumerate(page.words):
        quad = word.quad.astype(np.float64)
        wide, high = (float(np.hypot(*(quad[place] - quad[0]))) for place in (1, 3))
        angle = math.atan2(*(quad[1] - quad[0])[::-1])
        x, y = quad.mean(axis=0) - (wide / 2, high / 2)
        box = " ".join(f"{value:.6f}" for value in (x, y, wide, high, angle))
        lines.append(f"{index} {int(not word.care)} {box}\n")
    return "".join(lines)


def total_text(page: Page) -> str:
    """Return lines `x: [[...]], y: [[...]], ornt: [u'c'], transcriptions: [u'text']`."""
    lines = []
    for word in page.words:
        xs, ys = (" ".join(map(number, word.outline[:, axis])) for axis in (0, 1))
        kind = "c" if word.polygon is not None else "h" if is_upright(word.quad) else "m"
        line = f"x: [[{xs}]], y: [[{ys}]], ornt: [u'{kind if word.care else '#'}']"
        text = word.text if word.care else "#"
        if text is not None:
            escaped = text.replace("\\", "\\\\").replace("'", "\\'")
            line += f", transcriptions: [u'{escaped}']"
        lines.append(f"{line}\n")
    return "".join(lines)


def ctw1500(page: Page) -> str:
    """Return lines `x1,y1,...,x14,y14,####text`, as in CTW1500's test set."""
    return _lines(page, lambda word, text: f"{numbers(word.outline)},####{text}")


def quoted(page: Page) -> str:
    """Return lines of CVAT's ICDAR export: boxes with spaces, polygons with commas, quotes."""

    def line(word: Word, text: str | None) -> str:
        if word.polygon is None and is_upright(word.quad):
            return numbers(word.quad[[0, 2]], " ") + _quoted(text, " ")
        return numbers(word.outline) + _quoted(text, ",")

    return _lines(page, line)


def _quoted(text: str | None, separator: str) -> str:
    if text is None:
        return ""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'{separator}"{escaped}"'


def _lines(page: Page, line: object) -> str:
    assert callable(line)
    return "".join(f"{line(word, word.text if word.care else '###')}\n" for word in page.words)
