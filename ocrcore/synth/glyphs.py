"""Draws one line of text as ink and exact character quads.

Glyphs are drawn once per font and master size, cached, and composed by NumPy. A line is composed at
the next larger master size and scaled down to its size by one area-weighted resize. So a line with
cached glyphs costs no FreeType call, and the ink looks like that of a sign in a photo: antialiased
and not hinted to a pixel grid.

A word of a script that is written right to left or whose letters join is one piece, shaped by Raqm
if Pillow has it: its letters have no quads of their own. Words are drawn in visual order.

Coordinates refer to pixel edges: pixel `i` spans `[i, i + 1)`. OpenCV's warps refer to pixel
centers instead: the matrix `M` for points becomes `T(-.5) @ M @ T(.5)` for `cv2.warpPerspective`.
"""

from __future__ import annotations

import math
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Literal, NamedTuple

import cv2
import numpy as np

from ocrcore.pages import ByteArray, FloatArray
from ocrcore.synth.fonts import Font, FontError, draw, open_face
from ocrcore.text import graphemes, needs_shaping

CharBox = Literal["word", "tight"]
Words = tuple[tuple[int, int, str], ...]

MIN_SIZE = 4.0
MAX_SIZE = 1024.0
_MAX_WIDTH = 32768
# Few sizes, so that faces are rarely opened and glyphs rarely drawn; ratios of at most 1.5.
_MASTERS = (24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
# Advances and kerning are measured at this size and scaled: FreeType rounds them at small sizes.
_METRIC_SIZE = 256
_CORNERS = np.array([[0, 1], [2, 1], [2, 3], [0, 3]])  # of a box x0, y0, x1, y1
# Kerning only: ligatures would join two characters into one glyph.
_FEATURES = ["kern", "-liga", "-clig", "-dlig", "-calt"]


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """A drawn line of text.

    Attributes:
        mask: `(h, w)` uint8, coverage by ink.
        quads: `(N, 4, 2)` float32, one for each character that is not white space, in reading
            order, clockwise from the top left in reading direction, in pixels of `mask`.
        characters: the N graphemes; a word that needs shaping is a single one.
        words: `(start, end, text)` for each word: its characters are `[start:end]`.
        baseline: y of the baseline in the mask; for a curved or vertical run, that of the first
            character before bending.
        stroke_mask: `(h, w)` uint8, coverage by ink and outline together, if an outline was drawn.
        curved: whether the baseline is bent.
        vertical: whether the characters are stacked vertically.
    """

    mask: ByteArray
    quads: FloatArray
    characters: tuple[str, ...]
    words: Words
    baseline: float
    stroke_mask: ByteArray | None = None
    curved: bool = False
    vertical: bool = False

    def word_polygon(self, start: int, end: int) -> FloatArray:
        """Return the outline of characters `[start:end]`, `(4 * (end - start), 2)`, clockwise.

        It follows the top edges of the quads and returns along the bottom edges (for a vertical
        run: down the right edges and up the left ones).
        """
        quads = self.quads[start:end]
        if self.vertical:
            return np.concatenate(
                [quads[:, [1, 2]].reshape(-1, 2), quads[::-1, [3, 0]].reshape(-1, 2)]
            )
        return np.concatenate([quads[:, [0, 1]].reshape(-1, 2), quads[::-1, [2, 3]].reshape(-1, 2)])

    def word_quad(self, start: int, end: int) -> FloatArray:
        """Return the quad around characters `[start:end]`, `(4, 2)` float32, in their order."""
        points = self.quads[start:end].reshape(-1, 2)
        if not self.curved:
            (x0, y0), (x1, y1) = points.min(0), points.max(0)
            return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], np.float32)
        box = cv2.boxPoints(cv2.minAreaRect(points)).astype(np.float32)
        if _signed_area(box) < 0:
            box = box[::-1]
        # Of the four rotations, take the one with corners nearest to the corners in reading order.
        ends = np.stack([points[0], points[-3], points[-2], points[3]])
        turns = [np.roll(box, -turn, axis=0) for turn in range(4)]
        return min(turns, key=lambda turn: float(np.square(turn - ends).sum()))


class _Glyph(NamedTuple):
    """Ink of a grapheme at a master size, positioned relative to the pen on the baseline."""

    left: int
    top: int
    ink: ByteArray


class _Placed(NamedTuple):
    """A glyph with the position of its ink and its cell along the line, in master pixels."""

    cluster: str
    glyph: _Glyph
    x: int
    y: int
    cell: tuple[float, float]


def _in_visual_order(text: str) -> tuple[tuple[str, ...], list[int]]:
    """Return what to draw from left to right: graphemes, words that need shaping, and spaces.

    Returns:
        The pieces, and for each word of the text its index among the words as drawn.
    """
    words = "".join(graphemes(text)).split()
    order = _visual_order(words)
    pieces: list[str] = []
    for word in (words[place] for place in order):
        shaped = any(map(needs_shaping, word))
        pieces += [" "] * bool(pieces) + ([word] if shaped else list(graphemes(word)))
    return tuple(pieces), [order.index(place) for place in range(len(words))]


def _visual_order(words: list[str]) -> list[int]:
    """Return word indices from left to right (Unicode's bidirectional algorithm, by whole words).

    The first letter determines the direction of the line; words with the other direction keep their
    own order among themselves. Words without letters follow the line.
    """
    ways = [_direction(word) for word in words]
    base = next((way for way in ways if way), "L")
    places = list(range(len(words)))
    if base == "R":
        places.reverse()
    out: list[int] = []
    for against, run in groupby(places, lambda place: (ways[place] or base) != base):
        part = list(run)
        out += part[::-1] if against else part
    return out


@lru_cache(maxsize=65536)
def _direction(word: str) -> str:
    """Return the direction of a word's first letter, "R" (right to left), "L", or empty."""
    kinds = (unicodedata.bidirectional(point) for point in word)
    return next(("L" if kind == "L" else "R" for kind in kinds if kind in ("L", "R", "AL")), "")


@lru_cache(maxsize=65536)
def _glyph(font: Font, master: int, cluster: str) -> _Glyph:
    # Combining marks and whole words need shaping.
    return _Glyph(*draw(open_face(font, master, shaped=len(cluster) > 1), cluster))


@lru_cache(maxsize=65536)
def _advance(font: Font, cluster: str) -> float:
    """Return the advance of a grapheme in ems."""
    return float(_length(font, cluster)) / _METRIC_SIZE


@lru_cache(maxsize=262144)
def _kerning(font: Font, left: str, right: str) -> float:
    """Return the change of the advance of `left` before `right`, in ems."""
    both = _length(font, left + right) / _METRIC_SIZE
    return float(both - _advance(font, left) - _advance(font, right))


def _length(font: Font, text: str) -> float:
    face = open_face(font, _METRIC_SIZE)
    shaped = face.layout_engine == 1  # ImageFont.Layout.RAQM; only it takes features
    return face.getlength(text, features=_FEATURES if shaped else None)


def text_length(text: str, font: Font) -> float:
    """Return the length of a line in ems, the sum of its advances; takes microseconds."""
    return sum(_advance(font, cluster) for cluster in graphemes(text))


def render_run(
    text: str,
    font: Font,
    size: float,
    *,
    spacing: float = 0.0,
    vertical: bool = False,
    char_box: CharBox = "word",
    stroke: float = 0.0,
    arc: float = 0.0,
    jitter: float = 0.0,
    rng: np.random.Generator | None = None,
) -> Run:
    """Draw one line of text.

    Along the line, a character's quad spans its ink, widened to at most its advance so that
    neighbors meet (at the ends of a word: only its ink). Across the line it spans the ink of the
    whole word. Quads do not include the outline.

    Args:
        text: one line in logical order; white space separates words. It is NFC-normalized.
        font: must be able to draw every character.
        size: em size in pixels, 4 to 1024; need not be an integer.
        spacing: added to every advance, in ems; negative moves letters closer.
        vertical: stack upright characters vertically, as on signs; a text with a word that needs
            shaping stays horizontal.
        char_box: "word" as above, or "tight": a quad is its own character's ink.
        stroke: width of an outline around the ink in pixels; fills `Run.stroke_mask`.
        arc: angle of the bent line, in degrees: positive arches up like a rainbow, negative sags;
            at most 180. Less than half a degree is a straight line.
        jitter: standard deviation of each character's shift across the line, in ems; needs `rng`.
        rng: random generator, only used for `jitter`.

    Returns:
        The run; its mask has a margin of at least one pixel around ink and outline.

    Raises:
        FontError: the font cannot draw a character of the text.
        ValueError: empty text, or size, arc or stroke out of range.
    """
    clusters, order = graphemes(text), None
    if any(map(needs_shaping, text)):
        clusters, order = _in_visual_order(text)
        vertical = False
    if abs(arc) < 0.5:
        arc = 0.0
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise ValueError(f"size {size}: expected {MIN_SIZE:g} to {MAX_SIZE:g} pixels per em")
    if not 0 <= stroke <= size:
        raise ValueError(f"stroke {stroke}: expected 0 to the size, {size}")
    if not -180 <= arc <= 180 or (arc and vertical):
        raise ValueError(f"arc {arc}: expected -180 to 180 degrees, and 0 for vertical text")
    if jitter and rng is None:
        raise ValueError(f"jitter {jitter} needs a random generator, rng")
    if missing := font.missing("".join(clusters)):
        raise FontError(f"{font}: cannot draw {''.join(sorted(missing))!r} of {text!r}")
    if not any(not cluster.isspace() for cluster in clusters):
        raise ValueError(f"text {text!r} has nothing to draw")

    master = next(m for m in _MASTERS if m >= size)
    shifts = None
    if jitter and rng is not None:
        shifts = np.rint(rng.normal(0, jitter * master, len(clusters))).astype(int).tolist()
    words, placed = _place(clusters, font, master, spacing, vertical, shifts)
    if order is not None:
        words, placed = _in_reading_order(words, placed, order)

    # Compose at the master size, with a margin that leaves room for the outline.
    margin = math.ceil((math.ceil(stroke) + 1) * master / size)
    left = min(p.x for p in placed) - margin
    top = min(p.y for p in placed) - margin
    width = max(p.x + p.glyph.ink.shape[1] for p in placed) + margin - left
    height = max(p.y + p.glyph.ink.shape[0] for p in placed) + margin - top
    if max(width, height) > _MAX_WIDTH:
        raise ValueError(f"text of {len(text)} characters at size {size} is too long for one line")
    mask = np.zeros((height, width), np.uint8)
    for _, glyph, x, y, _ in placed:
        rows, columns = glyph.ink.shape
        part = mask[y - top : y - top + rows, x - left : x - left + columns]
        np.maximum(part, glyph.ink, out=part)

    if size != master:
        shape = (max(1, round(width * size / master)), max(1, round(height * size / master)))
        mask = cv2.resize(mask, shape, interpolation=cv2.INTER_AREA)
    scale = mask.shape[1] / width, mask.shape[0] / height
    boxes = _boxes(words, placed, (left, top), scale, vertical, char_box)
    baseline = float(-top * scale[1])
    quads = boxes[:, _CORNERS]
    if arc:
        # Interpolation spreads the ink of a small dot by about half a pixel.
        quads += 0.5 * np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])
        mask, quads = _bend(mask, quads, arc)
    stroke_mask = None
    if stroke:
        around = 2 * max(1, round(stroke)) + 1
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (around, around))
        stroke_mask = cv2.dilate(mask, kernel)
    return Run(
        mask=mask,
        quads=quads.astype(np.float32),
        characters=tuple(p.cluster for p in placed),
        words=words,
        baseline=baseline,
        stroke_mask=stroke_mask,
        curved=bool(arc),
        vertical=vertical,
    )


def _place(
    clusters: tuple[str, ...],
    font: Font,
    master: int,
    spacing: float,
    vertical: bool,
    shifts: list[int] | None,
) -> tuple[Words, list[_Placed]]:
    """Lay pieces out from left to right, or top to bottom.

    Returns:
        `(words, placed)`: `(start, end, text)` per word, and the glyphs that are not white space.
    """
    words: list[tuple[int, int, str]] = []
    placed: list[_Placed] = []
    start = 0
    pen = 0.0
    gap = 0.25 * master
    for i, cluster in enumerate((*clusters, " ")):
        if cluster.isspace():
            if len(placed) > start:
                words.append((start, len(placed), "".join(clusters[i - len(placed) + start : i])))
                start = len(placed)
            pen += (0.5 if vertical else _advance(font, " ") + spacing) * master
            continue
        glyph = _glyph(font, master, cluster)
        shift = shifts[i] if shifts else 0
        rows, columns = glyph.ink.shape
        if vertical:
            # A dash or a dot keeps some space: at least a third of an em from top to top.
            cell = max(rows, master / 3)
            x, y = shift - columns // 2, round(pen + (cell - rows) / 2)
            placed.append(_Placed(cluster, glyph, x, y, (pen - gap / 2, pen + cell + gap / 2)))
            pen += cell + gap + spacing * master
            continue
        advance = _advance(font, cluster) + spacing
        following = clusters[i + 1] if i + 1 < len(clusters) else " "
        if not following.isspace():
            advance += _kerning(font, cluster, following)
        advance *= master
        placed.append(
            _Placed(
                cluster, glyph, round(pen) + glyph.left, glyph.top + shift, (pen, pen + advance)
            )
        )
        pen += advance
    return tuple(words), placed


def _in_reading_order(
    words: Words, placed: list[_Placed], order: list[int]
) -> tuple[Words, list[_Placed]]:
    """Sort words and glyphs by text order; `order` has the drawn index of each word."""
    ordered: list[tuple[int, int, str]] = []
    glyphs: list[_Placed] = []
    for place in order:
        start, end, text = words[place]
        ordered.append((len(glyphs), len(glyphs) + end - start, text))
        glyphs += placed[start:end]
    return tuple(ordered), glyphs


def _boxes(
    words: Words,
    placed: list[_Placed],
    origin: tuple[int, int],
    scale: tuple[float, float],
    vertical: bool,
    char_box: CharBox,
) -> np.ndarray:
    """Return boxes `x0, y0, x1, y1` of the characters, `(N, 4)` float64, in pixels of the mask."""
    (left, top), (wide, tall) = origin, scale
    # Whole pixels: scaling down spreads the ink over every pixel that it touches.
    boxes = [
        [
            math.floor((p.x - left) * wide + 1e-6),
            math.floor((p.y - top) * tall + 1e-6),
            math.ceil((p.x + p.glyph.ink.shape[1] - left) * wide - 1e-6),
            math.ceil((p.y + p.glyph.ink.shape[0] - top) * tall - 1e-6),
        ]
        for p in placed
    ]
    if char_box == "tight":
        return np.array(boxes, np.float64)
    along, across = (1, 0) if vertical else (0, 1)
    out: list[list[float]] = []
    for start, end, _ in words:
        word = boxes[start:end]
        low, high = min(box[across] for box in word), max(box[across + 2] for box in word)
        for box, p in zip(word, placed[start:end], strict=True):
            first, last = ((cell - origin[along]) * scale[along] for cell in p.cell)
            first = min(box[along], first) if len(out) > start else box[along]
            last = max(box[along + 2], last) if len(out) < end - 1 else box[along + 2]
            out.append([low, first, high, last] if vertical else [first, low, last, high])
    return np.array(out, np.float64)


def _bend(mask: ByteArray, quads: np.ndarray, arc: float) -> tuple[ByteArray, np.ndarray]:
    """Bend a straight line of text onto a circular arc of `arc` degrees.

    A point `(x, y)` is mapped to the angle `(x - center) / radius` on a circle whose radius is that
    of the line's middle plus the height above it; lengths along the middle are preserved.
    """
    height, width = mask.shape
    radius = width / np.deg2rad(arc)
    if abs(radius) < 0.75 * height:
        raise ValueError(f"arc {arc}: too strong for a text of {width} x {height} pixels")
    center, middle = width / 2, height / 2

    def forward(points: np.ndarray, raise_by: np.ndarray | float = 1.0) -> np.ndarray:
        angle = (points[..., 0] - center) / radius
        reach = (radius + middle - points[..., 1]) * raise_by
        return np.stack([reach * np.sin(angle), -reach * np.cos(angle)], axis=-1)

    xs = np.linspace(0, width, 65)
    rim = forward(np.array([(x, y) for x in xs for y in (0.0, height)]))
    low = np.floor(rim.min(0))
    columns, rows = (np.ceil(rim.max(0)) - low).astype(int).tolist()

    x = np.arange(columns, dtype=np.float32) + np.float32(0.5 + low[0])
    y = (np.arange(rows, dtype=np.float32) + np.float32(0.5 + low[1]))[:, None]
    sign = np.float32(np.sign(radius))
    reach = np.sqrt(x * x + y * y) * sign
    angle = np.arctan2(x * sign, -y * sign)
    source_x = angle * np.float32(radius) + np.float32(center - 0.5)
    source_y = np.float32(radius + middle - 0.5) - reach
    bent = cv2.remap(mask, source_x, source_y, cv2.INTER_LINEAR)

    # The edge on the outer side is a chord below the arc: move it out to the tangent.
    spread = np.abs(quads[:, 1, 0] - quads[:, 0, 0]) / abs(radius)
    lift = np.ones((len(quads), 4))
    outer = [0, 1] if arc > 0 else [2, 3]
    lift[:, outer] = (1 / np.cos(spread / 2))[:, None]
    return bent, forward(quads, lift) - low


def _signed_area(points: np.ndarray) -> float:
    """Return a positive area for a polygon that is clockwise on the screen (y down)."""
    x, y = points[:, 0], points[:, 1]
    return float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum()) / 2
