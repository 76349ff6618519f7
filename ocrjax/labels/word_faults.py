"""Faults of the words of one page: boxes, texts, and their combination.

Host code: no jax.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from craftjax.audit import SMALL, first_corner, misplaced
from craftjax.weak.word_crops import is_vertical, word_size
from crnnjax.charset import Charset
from ocrcore.geometry import box_pairs, convex_quads, intersection_areas, outlines, overlaps
from ocrcore.geometry import quad_faults as shape_faults
from ocrcore.pages import FloatArray, Page, Word
from ocrcore.text import visible_graphemes
from ocrjax.labels.text_faults import text_faults

# Limits of the width of a character relative to the height of its word. Of 5,811 words of real data
# sets, 0.03 % are below the first and none is above the second.
_NARROW, _WIDE = 0.12, 3.5
_OUTSIDE = 0.1  # share of a word's area that may be outside the image
_SAME = 0.6  # overlap above which two labels are of one word
_SHORT = 3  # characters; the aspect ratio of shorter words tells little


class WordFault(NamedTuple):
    """A fault of a word: its index on the page, a kind of `KINDS`, and an explanation."""

    word: int
    kind: str
    why: str


def word_faults(page: Page, *, scale: float, charset: Charset | None = None) -> list[WordFault]:
    """Find the faults of the words of a page; don't-care words are skipped.

    Args:
        page: the labels.
        scale: scale of the image at the detector's input.
        charset: charset of the recognizer; None: any character is valid.
    """
    found = [
        WordFault(index, kind, why)
        for index, word in enumerate(page.words)
        if word.care
        for kind, why in _text_faults(word, charset)
    ]
    found += [*_box_faults(page, scale), *_doubles(page)]
    return sorted(found)


def _text_faults(word: Word, charset: Charset | None) -> Iterator[tuple[str, str]]:
    if not visible_graphemes(word.text or ""):
        yield "no text", "a word without text is masked in training; ### marks an illegible one"
    if not word.text:
        return
    yield from text_faults(word.text)
    if charset is not None and (missing := charset.missing(word.text)):
        listed = ", ".join(f"{c!r} (U+{ord(c):04X})" for c in sorted(missing)[:5])
        yield "outside the charset", f"{listed} not in the charset {charset.name}"


def _box_faults(page: Page, scale: float) -> Iterator[WordFault]:
    size = page.height, page.width
    shapes = shape_faults(page.quads)
    inside = _inside(page)
    for index, word in enumerate(page.words):
        if not word.care:
            continue
        across_down = word_size(word.quad, size)
        fault = _outline_fault(word) if word.polygon is not None else shapes[index]
        if what := fault or misplaced(word.quad, size, across_down):
            yield WordFault(index, what, _WHY.get(what, what))
        if across_down is None:
            continue
        if not fault and inside[index] < 1 - _OUTSIDE:
            share = f"{1 - inside[index]:.0%} of the word is outside the image"
            yield WordFault(index, "reaches outside", share)
        count = len(visible_graphemes(word.text or ""))
        vertical = is_vertical(*across_down, count)
        long, high = across_down[::-1] if vertical else across_down
        if high * scale < SMALL:
            lower = f"{high * scale:.1f} pixels high at the network input, too small below {SMALL}"
            yield WordFault(index, "too small", lower)
        if fault or word.polygon is not None or count < _SHORT:
            continue
        yield from (WordFault(index, *one) for one in _disagreements(word, across_down, vertical))
        each = long / (count * high)
        if not _NARROW <= each <= _WIDE:
            kind = "too much text" if each < _NARROW else "too little text"
            yield WordFault(
                index, kind, f"{count} characters in {long}x{high} pixels: text of another word?"
            )


def _disagreements(word: Word, size: tuple[int, int], vertical: bool) -> Iterator[tuple[str, str]]:
    """Report a first corner that does not seem to be the top left of the text."""
    corner = first_corner(word.quad, *size)
    if corner == "turned":
        yield "lies on its side", "the first corner does not seem to be the top left one"
    elif corner == "upside down":
        yield "upside down", "the first corner seems to be the bottom right one"
    elif vertical and size[1] > 2 * size[0] and (word.text or "").isascii():
        yield (
            "stacked letters",
            "according to the corners; if the text runs up or down, the first corner should be "
            "the top left of the text",
        )


_WHY = {
    "zero area": "a box without area",
    "self-crossing": "its sides cross each other",
    "anticlockwise": "expected corners clockwise from the top left in reading direction",
    "outside the picture": "entirely outside the image",
    "within the first pixel": "relative coordinates? Expected pixels",
    "concave or too thin": "no crop can be cut out",
}


def _outline_fault(word: Word) -> str | None:
    """The fault of the outline of a word with more than four points."""
    shape = outlines([word.outline])
    if not shape.areas[0]:
        return "zero area"
    return None if shape.valid[0] else "self-crossing"


def _inside(page: Page) -> FloatArray:
    """The share of each word inside the image; 1 if it cannot be determined."""
    quads = page.quads.astype(np.float64).reshape(-1, 4, 2)
    shares = np.ones(len(quads), np.float32)
    beyond = (quads < 0).any(axis=(1, 2)) | (quads > (page.width, page.height)).any(axis=(1, 2))
    chosen = np.flatnonzero(beyond & convex_quads(quads))
    if len(chosen):
        right, bottom = page.width, page.height
        frame = np.array([(0, 0), (right, 0), (right, bottom), (0, bottom)], np.float64)
        parts = intersection_areas(quads[chosen], np.repeat(frame[None], len(chosen), axis=0))
        shares[chosen] = parts / outlines(quads[chosen]).areas
    return shares


def _doubles(page: Page) -> Iterator[WordFault]:
    """Report labels of the same place, by the later one."""
    words = page.words
    first: dict[tuple[bytes, str | None, bool], int] = {}
    twice = set()
    for index, word in enumerate(words):
        key = np.sort(word.outline, axis=0).tobytes(), word.text, word.care
        if (other := first.setdefault(key, index)) != index:
            twice.add(index)
            yield WordFault(index, "labeled twice", f"the same as word {other + 1}")
    left = [i for i, word in enumerate(words) if word.care and i not in twice]
    for one, two, share in _overlapping(words, left):
        texts = words[one].text, words[two].text
        what = "the same text" if texts[0] == texts[1] else f"another text, {texts[0]!r}"
        yield WordFault(
            two, "overlapping labels", f"{share:.0%} overlap with word {one + 1}, which has {what}"
        )


def _overlapping(words: Sequence[Word], chosen: list[int]) -> Iterator[tuple[int, int, float]]:
    shapes = outlines([words[index].outline for index in chosen])
    group = np.zeros(len(shapes), np.intp)
    one, two = box_pairs(shapes.boxes, group, shapes.boxes, group)
    kept = (one < two) & shapes.valid[one] & shapes.valid[two]
    one, two = one[kept], two[kept]
    shared = overlaps(shapes, one, shapes, two)
    shares = shared / (shapes.areas[one] + shapes.areas[two] - shared)
    for place in np.flatnonzero(shares > _SAME):
        yield chosen[one[place]], chosen[two[place]], float(shares[place])
