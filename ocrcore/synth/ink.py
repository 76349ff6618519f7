"""Flat items to place on a page: words, lines and signs, with colors, ink and exact quads."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from ocrcore.pages import ByteArray, FloatArray
from ocrcore.synth.config import Style
from ocrcore.synth.effects import draw
from ocrcore.synth.glyphs import Run
from ocrcore.synth.shapes import box, fill, icon, over, rounded
from ocrcore.synth.textures import (
    Color,
    Rng,
    colorize,
    gradient,
    luminance,
    material,
    noise,
    random_color,
    shades,
    sheet,
    with_luminance,
)


@dataclass(frozen=True, eq=False)
class FlatWord:
    """A word of an item, in the item's edge coordinates.

    Attributes:
        text: the word.
        characters: its graphemes.
        quads: `(N, 4, 2)`, one for each of them.
        quad: `(4, 2)`, around them.
        polygon: `(M, 2)` if the word is curved, otherwise None.
        line: index of its line within the item.
    """

    text: str
    characters: tuple[str, ...]
    quads: FloatArray
    quad: FloatArray
    polygon: FloatArray | None
    line: int


@dataclass(frozen=True, eq=False)
class Item:
    """A flat object with text on it.

    Attributes:
        rgba: `(h, w, 4)` uint8, colors premultiplied by alpha.
        ink: `(h, w)` uint8, coverage by the letters alone.
        words: in reading order.
    """

    rgba: ByteArray
    ink: ByteArray
    words: tuple[FlatWord, ...]


def flat_words(run: Run, x: float, y: float, line: int) -> list[FlatWord]:
    """Return the words of a run whose mask is at `(x, y)` of an item."""
    offset = np.array([x, y], np.float32)
    return [
        FlatWord(
            text=text,
            characters=run.characters[start:end],
            quads=run.quads[start:end] + offset,
            quad=run.word_quad(start, end) + offset,
            polygon=run.word_polygon(start, end) + offset if run.curved else None,
            line=line,
        )
        for start, end, text in run.words
    ]


def text_color(rng: Rng, style: Style, ground: Color) -> Color:
    """Draw a color whose luma differs from the background's as the style asks for."""
    level = luminance(ground)
    low, high = style.contrast
    if (hard := draw(rng, style.hard_contrast)) is not None:
        low = high = hard
    lighter = rng.random() < (255 - level) / 255
    room = 255 - level if lighter else level
    # If one side has no room for the minimum contrast, the other has.
    if room < low:
        lighter, room = not lighter, 255 - room
    contrast = rng.uniform(low, max(low, min(high, room)))
    target = float(np.clip(level + (contrast if lighter else -contrast), 0, 255))
    saturation = 0.6 if rng.random() < style.colored else 0.06
    return with_luminance(random_color(rng, saturation=saturation, value=(90, 160)), target)


@dataclass(frozen=True)
class Look:
    """Random choices of a style for one item, shared by all its letters; lengths in ems."""

    outline: float | None
    shadow: float | None
    extrude: float | None
    glow: float | None
    gradient: float | None
    texture: float | None
    opacity: float | None

    @classmethod
    def of(cls, rng: Rng, style: Style) -> Look:
        """Draw a look at random."""
        return cls(
            outline=draw(rng, style.outline),
            shadow=draw(rng, style.shadow),
            extrude=draw(rng, style.extrude),
            glow=draw(rng, style.glow),
            gradient=draw(rng, style.gradient),
            texture=draw(rng, style.texture),
            opacity=draw(rng, style.opacity),
        )

    @property
    def is_plain(self) -> bool:
        """Whether letters have one color and no effects."""
        more = (self.shadow, self.extrude, self.glow, self.gradient, self.texture)
        return all(one is None for one in more)

    @property
    def room(self) -> float:
        """Space around the ink that the look needs, in ems."""
        return max(self.shadow or 0, self.extrude or 0, 2 * (self.glow or 0)) + 0.02

    def pad(self, size: float) -> int:
        """Return the padding around letters of this em size, in pixels."""
        return int(np.ceil(self.room * size)) + 1


def _moved(mask: ByteArray, x: float, y: float) -> ByteArray:
    matrix = np.array([[1, 0, x], [0, 1, y]], np.float32)
    return cv2.warpAffine(mask, matrix, mask.shape[::-1], flags=cv2.INTER_LINEAR)


def letters(
    rng: Rng, ink: ByteArray, outlined: ByteArray | None, size: float, color: Color, look: Look
) -> ByteArray:
    """Color letters.

    Args:
        rng: the random generator.
        ink: `(h, w)` uint8 coverage, padded as the look needs.
        outlined: coverage by letters and outline, if there is one.
        size: em size in pixels.
        color: color of the fill.
        look: further effects.

    Returns:
        `(h, w, 4)` uint8, colors premultiplied by alpha.
    """
    height, width = ink.shape
    simple = look.is_plain and outlined is None
    if simple:
        plain = [cv2.convertScaleAbs(ink, None, c / 255, 0) for c in np.clip(color, 0, 255)]
        rgba = cv2.merge((*plain, ink))
    else:
        rgb = np.zeros((height, width, 3), np.uint8)
        alpha = np.zeros((height, width), np.uint8)

        def lay(mask: ByteArray, top: Color | ByteArray) -> None:
            over(rgb, mask, top)
            np.maximum(
                alpha, cv2.add(mask, cv2.multiply(alpha, 255 - mask, scale=1 / 255)), out=alpha
            )

        body = ink if outlined is None else outlined
        angle = rng.uniform(0, 2 * np.pi)
        x, y = np.cos(angle), np.sin(angle)
        if look.glow is not None:
            side = max(3, int(look.glow * size) | 1)
            halo = cv2.blur(cv2.blur(body, (side, side)), (side, side))
            lay(cv2.convertScaleAbs(halo, None, 0.8, 0), with_luminance(color, 230))
        if look.shadow is not None:
            cast = _moved(body, x * look.shadow * size, y * look.shadow * size)
            side = max(1, int(look.shadow * size * rng.uniform(0, 1)) | 1)
            shade = cv2.blur(cast, (side, side))
            lay(cv2.convertScaleAbs(shade, None, rng.uniform(0.4, 0.9), 0), (10.0, 10.0, 12.0))
        if look.extrude is not None:
            steps = int(np.clip(look.extrude * size, 1, 8))
            solid = body
            for step in range(1, steps + 1):
                k = look.extrude * size * step / steps
                solid = np.maximum(solid, _moved(body, x * k, y * k))
            lay(solid, with_luminance(color, 0.45 * luminance(color)))
        if outlined is not None:
            other = 255.0 if luminance(color) < 128 else 0.0
            lay(outlined, with_luminance(random_color(rng, value=(100, 101)), abs(other - 20)))
        if look.gradient is None and look.texture is None:
            lay(ink, color)
        else:
            span = look.gradient or 0.0
            luma = luminance(color)
            ends = [
                with_luminance(color, float(np.clip(luma + d, 0, 255)))
                for d in (-span / 2, span / 2)
            ]
            paint = colorize(gradient(rng, height, width), ends)
            if look.texture is not None:
                field = noise(rng, str(rng.choice(("grain", "cloud", "speckle"))), height, width)
                k = look.texture / 45
                paint = cv2.addWeighted(paint, 1, cv2.merge((field,) * 3), k, -128 * k)
            lay(ink, paint)
        rgba = cv2.merge((rgb, alpha))
    if look.opacity is not None:
        rgba = cv2.convertScaleAbs(rgba, None, look.opacity, 0)
    return rgba


def padded(mask: ByteArray, pad: int) -> ByteArray:
    """Return a mask with `pad` empty pixels around it."""
    return cv2.copyMakeBorder(mask, pad, pad, pad, pad, cv2.BORDER_CONSTANT, value=0)


def loose_item(rng: Rng, style: Style, look: Look, run: Run, size: float, ground: Color) -> Item:
    """Make letters without a board, as if painted on a wall."""
    color = text_color(rng, style, ground)
    pad = look.pad(size)
    ink = padded(run.mask, pad)
    outlined = None if run.stroke_mask is None else padded(run.stroke_mask, pad)
    rgba = letters(rng, ink, outlined, size, color, look)
    return Item(rgba=rgba, ink=ink, words=tuple(flat_words(run, pad, pad, 0)))


def sign_item(
    rng: Rng, style: Style, runs: list[tuple[Run, float]], *, longest: float
) -> Item | None:
    """Make a plate, poster, screen or fascia board with lines of text on it.

    Args:
        rng: the random generator.
        style: how letters are drawn.
        runs: the lines with their em sizes, from the top.
        longest: maximum side of the sign in pixels.

    Returns:
        The item; None if it would be larger.
    """
    em = float(np.mean([size for _, size in runs]))
    look = replace(Look.of(rng, style), opacity=None)
    pad = em * rng.uniform(0.25, 1.2) + look.room * em
    leading = rng.uniform(0.12, 0.7) * em
    text_w = max(run.mask.shape[1] for run, _ in runs)
    text_h = sum(run.mask.shape[0] for run, _ in runs) + leading * (len(runs) - 1)
    # Some signs have a picture beside, above or below the text.
    picture = rng.random() < 0.35
    beside = rng.random() < 0.5
    extra = em * rng.uniform(1, 3) if picture else 0.0
    extra = max(extra, text_h) if picture and beside and rng.random() < 0.5 else extra
    width = int(text_w + 2 * pad + (extra + pad / 2 if picture and beside else 0))
    height = int(text_h + 2 * pad + (extra + pad / 2 if picture and not beside else 0))
    if max(width, height) > longest:
        return None
    plate, alpha, base = _plate(rng, width, height, em)
    left, top = pad, pad
    if picture:
        first = rng.random() < 0.6
        x = pad if not beside or first else width - pad - extra
        y = pad if beside or first else height - pad - extra
        side = min(extra, height - 2 * pad, width - 2 * pad) if beside else extra
        other = text_color(rng, style, base)
        if beside:
            icon(rng, plate, x, (height - side) / 2, side, other)
            left += extra + pad / 2 if first else 0
        else:
            icon(rng, plate, (width - side) / 2, y, side, other)
            top += extra + pad / 2 if first else 0
    color = text_color(rng, style, base)
    second = text_color(rng, style, base) if rng.random() < 0.25 else color
    align = rng.choice((0.0, 0.5, 0.5, 1.0))
    ink = np.zeros((height, width), np.uint8)
    words: list[FlatWord] = []
    y = top
    for number, (run, size) in enumerate(runs):
        h, w = run.mask.shape
        x0, y0 = int(left + align * (text_w - w)), int(y)
        room = int(look.room * size)
        a, b = max(0, x0 - room), max(0, y0 - room)
        c, d = min(width, x0 + w + room), min(height, y0 + h + room)
        part = np.zeros((d - b, c - a), np.uint8)
        part[y0 - b : y0 - b + h, x0 - a : x0 - a + w] = run.mask
        outlined = None
        if run.stroke_mask is not None:
            outlined = np.zeros_like(part)
            outlined[y0 - b : y0 - b + h, x0 - a : x0 - a + w] = run.stroke_mask
        line = letters(rng, part, outlined, size, second if number else color, look)
        blend(plate[b:d, a:c], line)
        np.maximum(ink[b:d, a:c], part, out=ink[b:d, a:c])
        words += flat_words(run, x0, y0, number)
        y += h + leading
    alpha3 = cv2.cvtColor(alpha, cv2.COLOR_GRAY2RGB)
    rgba = cv2.merge((cv2.multiply(plate, alpha3, scale=1 / 255), alpha))
    return Item(rgba=rgba, ink=ink, words=tuple(words))


def _plate(rng: Rng, width: int, height: int, em: float) -> tuple[ByteArray, ByteArray, Color]:
    """Draw the board of a sign; return image, alpha and the color behind the text."""
    base = random_color(rng, saturation=0.45, value=(8, 248))
    if rng.random() < 0.35:  # white and black boards are the most common
        base = random_color(rng, saturation=0.04, value=(215, 252))
    elif rng.random() < 0.2:
        base = random_color(rng, saturation=0.1, value=(5, 45))
    kind = rng.random()
    if kind < 0.45:
        r, g, b = (float(round(value)) for value in base)
        plate = sheet(height, width, (r, g, b))
    elif kind < 0.75:
        span = rng.uniform(8, 50)
        luma = luminance(base)
        ends = [with_luminance(base, float(np.clip(luma + d, 0, 255))) for d in (-span, span)]
        plate = colorize(gradient(rng, height, width), ends)
    elif kind < 0.92:
        field = noise(rng, str(rng.choice(("cloud", "smooth", "grain"))), height, width)
        plate = colorize(field, shades(base, contrast=rng.uniform(0.05, 0.3)))
    else:
        plate = material(rng, height, width, kind=str(rng.choice(("planks", "plaster", "marble"))))
        r, g, b = (float(v) for v in cv2.mean(plate)[:3])
        base = (r, g, b)
    alpha = np.full((height, width), 255, np.uint8)
    outline = box(0, 0, width, height)
    if rng.random() < 0.4:
        outline = rounded(0, 0, width, height, em * rng.uniform(0.2, 1.5))
        alpha[:] = 0
        fill(alpha, outline, 255)
    if rng.random() < 0.4:
        edge = random_color(rng, saturation=0.3, value=(5, 250))
        inset = em * rng.uniform(0.02, 0.2)
        thick = max(1, int(em * rng.uniform(0.03, 0.15)))
        middle = np.array([width / 2, height / 2])
        scale = 1 - 2 * inset / np.array([width, height])
        points = np.rint((outline - middle) * scale + middle).astype(np.int32)
        cv2.polylines(plate, [points], True, edge, thick, cv2.LINE_AA)
    return plate, alpha, base


def blend(ground: ByteArray, rgba: ByteArray) -> None:
    """Blend premultiplied colors over the background in place."""
    keep = cv2.cvtColor(cv2.bitwise_not(cv2.extractChannel(rgba, 3)), cv2.COLOR_GRAY2RGB)
    kept = cv2.multiply(ground, keep, scale=1 / 255)
    cv2.add(kept, cv2.cvtColor(rgba, cv2.COLOR_RGBA2RGB), dst=ground)
