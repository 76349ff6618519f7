"""What is wrong with the words of one page: their boxes, their texts, and both together.

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

# Of 5,811 words of real data sets 0.03 % are narrower than the first and none is wider than the
# second: width of a character in heights of its word.
_NARROW, _WIDE = 0.12, 3.5
_OUTSIDE = 0.1  # of a word's area that may lie beside the picture
_SAME = 0.6  # of the area of both: two labels of one word
_SHORT = 3  # characters; of shorter words the shape says little


class WordFault(NamedTuple):
    """A fault of a word: its index on the page, a kind of `KINDS`, and what is meant in words."""

    word: int
    kind: str
    why: str


def word_faults(page: Page, *, scale: float, charset: Charset | None = None) -> list[WordFault]:
    """Finds the faults of the words of a page; those that do not count are passed over.

    Args:
        page: the labels.
        scale: how much the picture is magnified before the detector sees it.
        charset: of the recognizer; None: any character is right.
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
        yield "no text", "a word that counts and has no text is masked; ### says it is illegible"
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
            share = f"{1 - inside[index]:.0%} of the word lies beside the picture"
            yield WordFault(index, "reaches outside", share)
        count = len(visible_graphemes(word.text or ""))
        vertical = is_vertical(*across_down, count)
        long, high = across_down[::-1] if vertical else across_down
        if high * scale < SMALL:
            lower = f"{high * scale:.1f} pixels high for the network: below {SMALL} nothing is read"
            yield WordFault(index, "too small", lower)
        if fault or word.polygon is not None or count < _SHORT:
            continue
        yield from (WordFault(index, *one) for one in _disagreements(word, across_down, vertical))
        each = long / (count * high)
        if not _NARROW <= each <= _WIDE:
            kind = "too much text" if each < _NARROW else "too little text"
            yield WordFault(
                index, kind, f"{count} characters in {long}x{high} pixels: of another word?"
            )


def _disagreements(word: Word, size: tuple[int, int], vertical: bool) -> Iterator[tuple[str, str]]:
    """Where the first corner seems to be another one than that of the text."""
    corner = first_corner(word.quad, *size)
    if corner == "turned":
        yield "lies on its side", "the first corner does not seem to be the top left one"
    elif corner == "upside down":
        yield "stands on its head", "the first corner seems to be the bottom right one"
    elif vertical and size[1] > 2 * size[0] and (word.text or "").isascii():
        yield (
            "letters one below another",
            "as the corners say; where the word runs up or down, the first is its own top left",
        )


_WHY = {
    "zero area": "a box without area",
    "self-crossing": "its sides cross each other",
    "anticlockwise": "expected corners clockwise from the top left in reading direction",
    "outside of the picture": "wholly beside the picture",
    "within the first pixel": "shares of the picture? Expected pixels",
    "dented or too thin": "no crop can be made of it",
}


def _outline_fault(word: Word) -> str | None:
    """What is wrong with the outline of a word that has more points than four."""
    shape = outlines([word.outline])
    if not shape.areas[0]:
        return "zero area"
    return None if shape.valid[0] else "self-crossing"


def _inside(page: Page) -> FloatArray:
    """Which share of each word lies on its picture; 1 where that is not clear."""
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
    """Labels of one place; the later one is named."""
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
            two, "overlapping labels", f"{share:.0%} shared with word {one + 1}, which has {what}"
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
