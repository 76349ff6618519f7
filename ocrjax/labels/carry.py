"""Adapt pages to what a label format can store, and count what is lost."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np

from ocrcore.data.readers.label_lines import around
from ocrcore.pages import FloatArray, Page, Word

CTW_POINTS = 14
_ENDS = frozenset("\r\n\t\v\f\x1c\x1d\x1e\x85\u2028\u2029")  # end a line or a column


@dataclass(frozen=True, slots=True)
class Carries:
    """What a format can store about a word.

    Attributes:
        shape: "polygon", "quad", "rectangle" (may be rotated) or "box" (axis-aligned).
        points: number of points of every outline; None: any number.
        text: whether the format has texts.
        unknown: whether it distinguishes an unknown text from an empty one.
        empty: whether it can store an empty text.
        mark: the text that marks don't-care words, in formats that use one.
        marks: other texts that readers of the format take for don't care.
        care: whether don't-care words can be marked. If not, they are left out if `characters`,
            and otherwise become ordinary words.
        characters: whether it stores character quads. Words without them, and words with white
            space, are then left out.
        lines: whether it stores lines.
        paragraphs: whether it stores paragraphs of lines.
        language: whether it stores a language or script.
        languages: the only languages that it allows, in lower case; None: any.
        letters: whether texts must not have control characters, which XML does not allow.
    """

    shape: str = "polygon"
    points: int | None = None
    text: bool = True
    unknown: bool = True
    empty: bool = True
    mark: str = ""
    marks: tuple[str, ...] = ("###",)
    care: bool = True
    characters: bool = False
    lines: bool = False
    paragraphs: bool = False
    language: bool = False
    languages: frozenset[str] | None = None
    letters: bool = False


def fitted(page: Page, carries: Carries) -> tuple[Page, Counter[str]]:
    """Adapt a page to a format, and count what is lost.

    Args:
        page: the page.
        carries: what the format can store.

    Returns:
        The page as it reads back from the format, and the number of losses by kind.
    """
    lost: Counter[str] = Counter()
    found = [_fitted_word(word, carries, lost) for word in page.words]
    words = [word for word in found if word is not None]
    lines = any(word.line is not None for word in words)
    paragraphs = any(word.paragraph is not None for word in words)
    if carries.lines:
        lost["pages whose paragraphs are lost"] += paragraphs and not carries.paragraphs
        words = _numbered(page.with_words(words), paragraphs=carries.paragraphs)
    elif lines or paragraphs:
        lost["pages whose lines and paragraphs are lost"] += 1
        words = [replace(word, line=None, paragraph=None) for word in words]
    return page.with_words(words), lost


def _numbered(page: Page, *, paragraphs: bool) -> list[Word]:
    """Words sorted by paragraph and line, which are renumbered from the first on."""
    out = []
    count = 0
    for place, lines in enumerate(page.paragraphs if paragraphs else [page.lines]):
        for line in lines:
            paragraph = place if paragraphs else None
            out += [replace(word, line=count, paragraph=paragraph) for word in line]
            count += 1
    return out


def _fitted_word(word: Word, carries: Carries, lost: Counter[str]) -> Word | None:
    if carries.characters and not (word.characters and word.text):
        lost["words without characters left out"] += 1
        return None
    if carries.characters and len((word.text or "").split()) != 1:
        lost["words with white space in them left out"] += 1
        return None
    if not word.care and not carries.care:
        if carries.characters:
            lost["don't-care words left out"] += 1
            return None
        lost["don't-care words made ordinary words"] += 1
        word = replace(word, care=True)
    if word.characters and not carries.characters:
        lost["words whose characters are lost"] += 1
        word = replace(word, characters=())
    if word.score is not None or word.confidence is not None:
        lost["scores and confidences"] += 1
        word = replace(word, score=None, confidence=None)
    return _fitted_shape(
        _fitted_text(_fitted_language(word, carries, lost), carries, lost), carries, lost
    )


def _fitted_language(word: Word, carries: Carries, lost: Counter[str]) -> Word:
    if not word.language:
        return replace(word, language=None)
    known = carries.languages is None or word.language.lower() in carries.languages
    if carries.language and known and word.language.lower() != "none":
        return word
    lost["languages"] += 1
    return replace(word, language=None)


def _fitted_text(word: Word, carries: Carries, lost: Counter[str]) -> Word:
    if word.text is None and word.care:
        if not carries.text or carries.unknown:
            return word
        lost["unknown texts made empty"] += 1
        return replace(word, text="")
    if not carries.text:
        lost["texts"] += bool(word.text)
        return replace(word, text=None)
    text = word.text
    if text is not None:
        plain = " ".join(text.split()) if _ENDS.intersection(text) else text.strip()
        if carries.letters:
            plain = "".join(c for c in plain if c.isprintable() or c == " " or ord(c) > 0x9F)
            plain = plain.replace("\ufffe", "").replace("\uffff", "").strip()
        lost["texts whose line breaks, control characters or outer spaces are lost"] += (
            plain != text
        )
        text = plain
    if not word.care:
        if carries.mark:
            lost["texts of don't-care words"] += bool(text)
            return replace(word, text=None)
        if text in (*carries.marks, ""):
            text = None
        return replace(word, text=text)
    if text in (*carries.marks, carries.mark) and text:
        lost[f"words with the text {text!r}, which means don't care there"] += 1
        return replace(word, text=None, care=False)
    if text == "" and not carries.empty:
        lost["empty texts made unknown"] += 1
        text = None
    return replace(word, text=text)


def _fitted_shape(word: Word, carries: Carries, lost: Counter[str]) -> Word:
    polygon = word.polygon
    if polygon is not None and len(polygon) == 4:
        word, polygon = replace(word, quad=polygon, polygon=None), None
    if carries.shape == "polygon":
        if carries.points is not None:
            outline = resampled(word.outline, carries.points)
            lost[f"outlines of more than {carries.points} points simplified"] += (
                len(word.outline) > carries.points
            )
            return replace(word, polygon=outline, quad=around(outline))
        return word if polygon is None else replace(word, quad=around(polygon))
    kinds = {"quad": "quads", "rectangle": "rectangles", "box": "axis-aligned boxes"}
    if polygon is not None:
        lost[f"polygons made {kinds[carries.shape]}"] += 1
    quad = word.quad if polygon is None else around(polygon)
    if carries.shape == "box" and not is_upright(quad):
        lost["quads made axis-aligned boxes"] += polygon is None
        quad = box_around(quad if polygon is None else polygon)
    elif carries.shape == "rectangle" and not is_rectangle(quad):
        lost["quads made rectangles"] += 1
        quad = around(quad)
    return replace(word, quad=quad, polygon=None)


def box_around(points: FloatArray) -> FloatArray:
    """Return the axis-aligned box around points, `(4, 2)`."""
    (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)], np.float32)


def is_upright(quad: FloatArray) -> bool:
    """Return whether a quad is an axis-aligned box that begins at its top left."""
    return bool(np.array_equal(quad, box_around(quad)))


def is_rectangle(quad: FloatArray) -> bool:
    """Return whether a quad is a clockwise rectangle, within a hundredth of a pixel."""
    along = quad[[1, 2]] - quad[[0, 3]]
    down = quad[3] - quad[0]
    area = along[0, 0] * down[1] - along[0, 1] * down[0]
    size = max(1.0, float(np.abs(along[0]).sum() + np.abs(down).sum()))
    square = abs(float(along[0] @ down)) <= 0.01 * size
    return bool(np.abs(along[0] - along[1]).max() < 0.01) and square and bool(area > 0)


def resampled(outline: FloatArray, count: int) -> FloatArray:
    """Resample an outline to another number of points.

    Points are added in the middle of the longest sides, which does not change the shape. Points are
    removed in order of the area of their corner, the smallest first.
    """
    points = [tuple(map(float, point)) for point in outline]
    while len(points) > count:
        areas = [
            _area(points[place - 1], points[place], points[(place + 1) % len(points)])
            for place in range(len(points))
        ]
        del points[int(np.argmin(areas))]
    while len(points) < count:
        sides = [
            np.hypot(*np.subtract(points[(place + 1) % len(points)], points[place]))
            for place in range(len(points))
        ]
        place = int(np.argmax(sides))
        middle = np.add(points[place], points[(place + 1) % len(points)]) / 2
        points.insert(place + 1, (float(middle[0]), float(middle[1])))
    return np.array(points, np.float32)


def _area(one: tuple[float, ...], two: tuple[float, ...], three: tuple[float, ...]) -> float:
    return abs((two[0] - one[0]) * (three[1] - one[1]) - (two[1] - one[1]) * (three[0] - one[0]))
