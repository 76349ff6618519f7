"""Labels of an image: `Page`, `Word`, `Character`; and `Sample`, an image with its page.

These are the common data types of the whole project: data set readers, synthetic text, detectors
and evaluation all use them. They hold labels only, never network outputs, are immutable and
validated, and are stored as JSON: fields at their defaults are left out, unknown ones are rejected.

Coordinates are in pixels of the image, x to the right and y down, from the top-left corner. A
quad is `(4, 2)` float32, clockwise from the top left *in reading direction*: for a word that runs
upwards the first corner is the lower left one on the screen.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ocrcore.files import check_regular, json_line, write_text

FloatArray = NDArray[np.float32]
ByteArray = NDArray[np.uint8]


class PageError(ValueError):
    """An invalid label: a wrong shape or type, or a coordinate that is not a finite number."""


class LabelError(ValueError):
    """An invalid line of a label file.

    Attributes:
        path: path of the file.
        line: number of the line, from 1; 0 for the whole file.
        value: the wrong value, as text.
        expected: what was expected.
        reason: a few words, to group and count errors: "labels", "box count" or "coordinates".
    """

    def __init__(
        self, path: str | Path, line: int, value: str, expected: str, *, reason: str = "labels"
    ) -> None:
        super().__init__(str(path), line, value, expected)
        self.reason = reason
        self.path = str(path)
        self.line = line
        self.value = value
        self.expected = expected

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}" if self.line else self.path
        value = self.value if len(self.value) <= 100 else self.value[:100] + "..."
        return f"{place}: {value!r}: expected {self.expected}"


def _points(value: ArrayLike, *, what: str, count: int | None) -> FloatArray:
    """Return `value` as a read-only `(N, 2)` float32 array, or raises `PageError`."""
    try:
        points = np.array(value, np.float32)
    except (TypeError, ValueError, OverflowError) as error:
        raise PageError(f"{what} is not a list of (x, y) points: {value!r}") from error
    if points.ndim != 2 or points.shape[1] != 2:
        raise PageError(f"{what} has shape {points.shape}, expected (N, 2)")
    if count is not None and len(points) != count:
        raise PageError(f"{what} has {len(points)} points, expected {count}")
    if count is None and len(points) < 3:
        raise PageError(f"{what} has {len(points)} points, expected at least 3")
    if not np.isfinite(points).all():
        raise PageError(f"{what} has a coordinate that is not a finite number: {points.tolist()}")
    points.flags.writeable = False
    return points


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return a is not None and b is not None and np.array_equal(a, b)
    return bool(a == b)


class _ByValue:
    """Equality by value for dataclasses that hold arrays."""

    __slots__ = ()
    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        names: Mapping[str, Any] = type(self).__dataclass_fields__  # type: ignore[attr-defined]
        return all(_same(getattr(self, name), getattr(other, name)) for name in names)


@dataclass(frozen=True, slots=True, eq=False)
class Character(_ByValue):
    """One character: a grapheme and where it is.

    Attributes:
        text: the grapheme, one or more code points.
        quad: `(4, 2)` float32, clockwise from the top left in reading direction.
        confidence: probability that the text is right, in [0, 1]; None for human labels.
    """

    text: str
    quad: FloatArray
    confidence: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.text, str):
            raise PageError(f"a character's text is {self.text!r}, expected a string")
        what = f"the quad of character {self.text!r}"
        object.__setattr__(self, "quad", _points(self.quad, what=what, count=4))
        if self.confidence is not None:
            object.__setattr__(self, "confidence", _confidence(self.confidence, "a character"))

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; fields at their defaults are left out."""
        return _plain(self)

    @classmethod
    def many(cls, texts: Sequence[str], quads: ArrayLike) -> tuple[Character, ...]:
        """Make characters without confidence, several times faster than one by one.

        Args:
            texts: N graphemes.
            quads: `(N, 4, 2)`.

        Raises:
            PageError: as for a single character; or there are more or fewer quads than texts.
        """
        array = np.array(quads, np.float32)
        if array.shape != (len(texts), 4, 2):
            raise PageError(f"quads have shape {array.shape}, expected ({len(texts)}, 4, 2)")
        if not (np.isfinite(array).all() and all(isinstance(text, str) for text in texts)):
            return tuple(map(cls, texts, array))  # raises for the first faulty one
        array.flags.writeable = False
        made = []
        for text, quad in zip(texts, array, strict=True):
            character = object.__new__(cls)
            object.__setattr__(character, "text", text)
            object.__setattr__(character, "quad", quad)
            object.__setattr__(character, "confidence", None)
            made.append(character)
        return tuple(made)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Character:
        """Inverse of `to_dict`; raises `PageError` on a missing or unknown field."""
        _check_fields(value, what="a character", required={"text", "quad"}, known=cls)
        return cls(**value)


@dataclass(frozen=True, slots=True, eq=False)
class Word(_ByValue):
    """One word (or line, if a data set labels lines).

    Attributes:
        quad: `(4, 2)` float32, clockwise from the top left in reading direction.
        text: the transcription; None if unknown (a detection, an unlabeled word).
        polygon: `(N, 2)` float32 outline, clockwise, if the word is curved; otherwise None.
        score: detection score, roughly in [0, 1]; None for human labels.
        care: False for "don't care": counts neither as found nor as missed. Data sets call it
            illegible, ignored or difficult.
        characters: in reading order; empty if unknown.
        line: index of the text line on the page that the word belongs to, if known.
        confidence: probability that the text is right, in [0, 1]; None for human labels.
        paragraph: index of the paragraph on the page, if known.
        language: language or script, as named by the data set (`en`, `Latin`), if known.
    """

    quad: FloatArray
    text: str | None = None
    polygon: FloatArray | None = None
    score: float | None = None
    care: bool = True
    characters: tuple[Character, ...] = ()
    line: int | None = None
    confidence: float | None = None
    paragraph: int | None = None
    language: str | None = None

    def __post_init__(self) -> None:
        what = "the quad of a word" if self.text is None else f"the quad of word {self.text!r}"
        if self.text is not None and not isinstance(self.text, str):
            raise PageError(f"a word's text is {self.text!r}, expected a string or None")
        object.__setattr__(self, "quad", _points(self.quad, what=what, count=4))
        if self.polygon is not None:
            polygon = _points(self.polygon, what=what.replace("quad", "polygon"), count=None)
            object.__setattr__(self, "polygon", polygon)
        if self.score is not None:
            object.__setattr__(self, "score", _number(self.score, "the score of a word"))
        if self.confidence is not None:
            object.__setattr__(self, "confidence", _confidence(self.confidence, "a word"))
        for name in ("line", "paragraph"):
            if (index := getattr(self, name)) is not None:
                object.__setattr__(self, name, _integer(index, f"the {name} of a word", least=0))
        if self.language is not None and not isinstance(self.language, str):
            raise PageError(f"a word's language is {self.language!r}, expected a string or None")
        object.__setattr__(self, "care", bool(self.care))
        object.__setattr__(self, "characters", tuple(self.characters))
        for character in self.characters:
            if not isinstance(character, Character):
                raise PageError(f"a word's characters hold {character!r}, expected Character")

    @property
    def outline(self) -> FloatArray:
        """The polygon if there is one, otherwise the quad."""
        return self.quad if self.polygon is None else self.polygon

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; fields at their defaults are left out."""
        return _plain(self)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Word:
        """Inverse of `to_dict`; raises `PageError` on a missing or unknown field."""
        _check_fields(value, what="a word", required={"quad"}, known=cls)
        characters = tuple(map(Character.from_dict, value.get("characters", ())))
        return cls(**{**value, "characters": characters})


@dataclass(frozen=True, slots=True, eq=False)
class Page(_ByValue):
    """The labels of one image.

    Attributes:
        height: height of the image, in pixels.
        width: width of the image, in pixels.
        words: in reading order, if it is known.
        path: path of the image, if it has one.
        number: page number in a multi-page file (TIFF), from 1; None for a single-page file.
        orientation: clockwise rotation of the text in degrees, in [0, 360); None if unknown.
    """

    height: int
    width: int
    words: tuple[Word, ...] = ()
    path: str | None = None
    number: int | None = None
    orientation: float | None = None

    def __post_init__(self) -> None:
        for name in ("height", "width"):
            size = _integer(getattr(self, name), f"the {name} of a page", least=1)
            object.__setattr__(self, name, size)
        object.__setattr__(self, "words", tuple(self.words))
        for word in self.words:
            if not isinstance(word, Word):
                raise PageError(f"a page's words hold {word!r}, expected Word")
        if self.path is not None:
            object.__setattr__(self, "path", str(self.path))
        if self.number is not None:
            number = _integer(self.number, "the number of a page", least=1)
            object.__setattr__(self, "number", number)
        if self.orientation is not None:
            orientation = _number(self.orientation, "the orientation of a page")
            if not 0 <= orientation < 360:
                raise PageError(
                    f"the orientation of a page is {orientation}, expected degrees in [0, 360)"
                )
            object.__setattr__(self, "orientation", orientation)

    @property
    def quads(self) -> FloatArray:
        """`(N, 4, 2)` float32: the quads of all words."""
        if not self.words:
            return np.zeros((0, 4, 2), np.float32)
        return np.stack([word.quad for word in self.words])

    @property
    def care(self) -> NDArray[np.bool_]:
        """`(N,)` bool: which words count."""
        return np.array([word.care for word in self.words], np.bool_)

    @property
    def lines(self) -> tuple[tuple[Word, ...], ...]:
        """Words by line, in page order; a word without a line forms a line of its own."""
        return _lines(self.words)

    @property
    def paragraphs(self) -> tuple[tuple[tuple[Word, ...], ...], ...]:
        """Lines by paragraph; words without a paragraph form one together."""
        groups: dict[int | None, list[Word]] = {}
        for word in self.words:
            groups.setdefault(word.paragraph, []).append(word)
        return tuple(map(_lines, groups.values()))

    @property
    def text(self) -> str:
        """The known texts: one line of text per line, with a blank line between paragraphs."""
        paragraphs = [
            [" ".join(word.text for word in line if word.text) for line in lines]
            for lines in self.paragraphs
        ]
        return "\n\n".join("\n".join(filter(None, lines)) for lines in paragraphs if any(lines))

    def to_easyocr(self) -> list[tuple[list[list[float]], str, float]]:
        """Return words as EasyOCR's `readtext` does: corners, text, confidence."""
        return [
            (word.quad.tolist(), word.text or "", word.confidence or 0.0) for word in self.words
        ]

    def with_words(self, words: Sequence[Word]) -> Page:
        """Return the same page with other words."""
        return replace(self, words=tuple(words))

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; fields at their defaults are left out, except the words."""
        out = _plain(self)
        out["words"] = out.pop("words", [])  # last, because it is the longest
        return out

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Page:
        """Inverse of `to_dict`; raises `PageError` on a missing or unknown field."""
        _check_fields(value, what="a page", required={"height", "width"}, known=cls)
        words = tuple(map(Word.from_dict, value.get("words", ())))
        return cls(**{**value, "words": words})

    def to_json(self) -> str:
        """Return one line of JSON."""
        return json_line(self.to_dict())

    @classmethod
    def from_json(cls, text: str) -> Page:
        """Inverse of `to_json`; raises `PageError` if the text is not a page."""
        try:
            value = json.loads(text)
        except ValueError as error:
            raise PageError(f"not JSON: {error}") from error
        return cls.from_dict(value)


@dataclass(frozen=True, slots=True, eq=False)
class Sample(_ByValue):
    """An image with its labels.

    Attributes:
        image: `(height, width, 3)` uint8, RGB.
        page: its labels.
    """

    image: ByteArray
    page: Page

    def __post_init__(self) -> None:
        shape = (self.page.height, self.page.width, 3)
        if self.image.dtype != np.uint8 or self.image.shape != shape:
            raise PageError(
                f"the image is {self.image.dtype} {self.image.shape}, expected uint8 {shape}"
            )


def read_pages(path: str | Path) -> list[Page]:
    """Read a file with one page per line, as written by `write_pages`.

    Raises:
        PageError: names the file and the line.
    """
    pages = []
    check_regular(path)
    with Path(path).open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                try:
                    pages.append(Page.from_json(line))
                except PageError as error:
                    raise PageError(f"{path}:{number}: {error}") from error
    return pages


def write_pages(path: str | Path, pages: Sequence[Page]) -> None:
    """Write one page per line (JSON Lines, UTF-8), atomically."""
    write_text(path, "".join(page.to_json() + "\n" for page in pages))


def _lines(words: Sequence[Word]) -> tuple[tuple[Word, ...], ...]:
    """Group words by line, in the order of the first word of each."""
    groups: dict[tuple[str, int], list[Word]] = {}
    for place, word in enumerate(words):
        key = ("word", place) if word.line is None else ("line", word.line)
        groups.setdefault(key, []).append(word)
    return tuple(map(tuple, groups.values()))


def _number(value: Any, what: str) -> float:
    """Return a finite number as a float, or raises `PageError`."""
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise PageError(f"{what} is {value!r}, expected a number") from error
    if not np.isfinite(number):
        raise PageError(f"{what} is {number}, expected a finite number")
    return number


def _confidence(value: Any, of: str) -> float:
    """Return a number in [0, 1], tolerating rounding errors, or raises `PageError`."""
    confidence = _number(value, f"the confidence of {of}")
    if not -1e-3 <= confidence <= 1 + 1e-3:
        raise PageError(f"the confidence of {of} is {confidence}, expected one in [0, 1]")
    return min(max(confidence, 0.0), 1.0)


def _integer(value: Any, what: str, *, least: int) -> int:
    """Return an integer of at least `least`, or raises `PageError`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        kind = "a positive integer" if least else "0 or a positive integer"
        raise PageError(f"{what} is {value!r}, expected {kind}")
    return int(value)


def _plain(label: Character | Word | Page) -> dict[str, Any]:
    """Return plain JSON values of the fields that are not at their defaults."""
    out: dict[str, Any] = {}
    for field in fields(label):
        value = getattr(label, field.name)
        if isinstance(value, np.ndarray):
            out[field.name] = value.tolist()
        elif value != field.default:
            is_list = isinstance(value, tuple)
            out[field.name] = [item.to_dict() for item in value] if is_list else value
    return out


def _check_fields(value: Any, *, what: str, required: set[str], known: type) -> None:
    if not isinstance(value, Mapping):
        raise PageError(f"{what} is {value!r}, expected an object")
    if missing := required - set(value):
        raise PageError(f"{what} lacks {', '.join(sorted(missing))}")
    if unknown := set(value) - set(known.__dataclass_fields__):  # type: ignore[attr-defined]
        raise PageError(f"{what} has unknown fields {', '.join(sorted(unknown))}")
