"""Label files in JSON, XML and HTML: bounded, hardened parsing, and checked values.

Files from others are treated as hostile: sizes and nesting depths are bounded, a gzip file is not
decompressed beyond the limit, and XML that declares entities or loads external ones is rejected.
"""

from __future__ import annotations

import gzip
import json
import math
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.parsers import expat

import numpy as np

from ocrcore.data.readers.label_lines import MAX_COORDINATE, LineError, around
from ocrcore.files import check_regular
from ocrcore.pages import FloatArray, LabelError, PageError, Word

MAX_BYTES = 1 << 30
"""Label files above this size, decompressed, are rejected."""
MAX_DEPTH = 64
"""Maximum nesting depth of elements."""
MAX_POINTS = 10_000
"""Maximum number of points of an outline."""
IGNORED = frozenset(
    ("ignore", "ignored", "illegible", "unreadable", "difficult", "dontcare", "don't care")
) | {"dont care", "do not care", "###"}
"""Names of labels and of attributes, in lower case, that mean "don't care"."""
_TEXTS = ("text", "transcription", "transcript", "utf8_string", "value", "word", "content", "ocr")
_LEGIBLE = ("legible", "legibility", "readable")
_YES = ("true", "1", "yes", "on")
_NO = ("false", "0", "no", "off", "", "none", "illegible", "unreadable")


@dataclass(frozen=True, slots=True)
class LabeledPicture:
    """What a label file says about one image, before the image is located.

    Attributes:
        source: the label file.
        name: the image as written there: a path, a URL or a bare name.
        words: the words of the image.
        size: height and width of the image that was labeled, if the file says so.
        bad: errors of entries that cannot be read.
        other: another name to look for, derived from the label file if it is for one image.
        number: page number, from 1, in a multi-page image file; None for a single page.
    """

    source: Path
    name: str
    words: tuple[Word, ...] = ()
    size: tuple[int, int] | None = None
    bad: tuple[LabelError, ...] = ()
    other: str = ""
    number: int | None = None


def read_bytes(path: Path) -> bytes:
    """Read a label file, decompressing gzip.

    Raises:
        LabelError: the file is too large, or a damaged gzip file.
        OSError: the file cannot be read.
    """
    size = check_regular(path)
    if size > MAX_BYTES:
        raise LabelError(path, 0, f"{size} bytes", f"a label file of at most {MAX_BYTES} bytes")
    data = path.read_bytes()
    if not data.startswith(b"\x1f\x8b"):
        return data
    try:
        with gzip.open(path) as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise LabelError(path, 0, str(error), "an undamaged gzip file") from error
    if len(data) > MAX_BYTES:
        raise LabelError(path, 0, "a gzip file", f"at most {MAX_BYTES} bytes when decompressed")
    return data


def read_text(path: Path) -> str:
    """Read a label file in UTF-8, or in UTF-16 with a byte order mark.

    Raises:
        LabelError: the file is too large or not UTF-8.
        OSError: the file cannot be read.
    """
    data = read_bytes(path)
    coding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return data.decode(coding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        shown = repr(data[error.start : error.start + 8])
        raise LabelError(path, line, shown, "UTF-8: save the file as UTF-8") from error


def read_json(path: Path) -> Any:
    """Read a JSON file; JSON Lines (one value per line) gives a list.

    Raises:
        LabelError: not JSON; or as for `read_text`.
        OSError: the file cannot be read.
    """
    text = read_text(path)
    try:
        return json.loads(text)
    except RecursionError as error:
        raise LabelError(path, 0, "lists nested too deeply", "JSON of labels") from error
    except ValueError as error:
        lines = [line for line in text.splitlines() if line.strip()]
        if len(lines) > 1 and all(line.lstrip().startswith("{") for line in lines[:2]):
            return _json_lines(path, text)
        line = getattr(error, "lineno", 0)
        raise LabelError(path, line, str(error), "JSON") from error


def _json_lines(path: Path, text: str) -> list[Any]:
    values = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            values.append(json.loads(line))
        except (ValueError, RecursionError) as error:
            raise LabelError(path, number, line, f"a JSON value ({error})") from error
    return values


def read_xml(path: Path) -> ElementTree.Element:
    """Read an XML file; namespaces are removed from the names of elements.

    Raises:
        LabelError: not XML, nested too deeply, or it declares entities.
        OSError: the file cannot be read.
    """
    data = read_bytes(path)
    builder = ElementTree.TreeBuilder()
    parser = expat.ParserCreate(namespace_separator="}")
    depth = 0

    def start(name: str, attributes: Mapping[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > MAX_DEPTH:
            raise _refused(parser, "nested elements", f"a nesting depth of at most {MAX_DEPTH}")
        builder.start(_local(name), {_local(key): value for key, value in attributes.items()})

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(_local(name))

    def declared(name: str, *_: Any) -> None:
        raise _refused(parser, f"<!ENTITY {name} ...>", "a file that declares no entities")

    def external(*_: Any) -> int:
        raise _refused(parser, "an external entity", "a self-contained file")

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = builder.data
    parser.EntityDeclHandler = parser.UnparsedEntityDeclHandler = declared
    parser.ExternalEntityRefHandler = external
    try:
        parser.Parse(data, True)
        return builder.close()
    except _Refused as fault:
        raise LabelError(path, fault.line, fault.value, fault.expected) from fault
    except expat.ExpatError as error:
        raise LabelError(path, error.lineno, str(error), "well-formed XML") from error
    except (AssertionError, ValueError, LookupError) as error:  # no element; unknown encoding
        raise LabelError(path, 0, str(error) or "no element", "well-formed XML") from error


class _Refused(Exception):
    def __init__(self, line: int, value: str, expected: str) -> None:
        super().__init__(value)
        self.line, self.value, self.expected = line, value, expected


def _refused(parser: Any, value: str, expected: str) -> _Refused:
    return _Refused(parser.CurrentLineNumber, value, expected)


def _local(name: str) -> str:
    return name.rpartition("}")[2]


class HtmlElements(HTMLParser):
    """The elements of an HTML file as a flat list, with the text inside each.

    HTML entities are decoded; nothing is loaded. Elements that are never closed end with the file.

    Attributes:
        found: `[name, attributes, text, depth]` in the order of their opening tags.
    """

    _VOID = frozenset(("br", "hr", "img", "input", "link", "meta", "wbr", "col", "base", "area"))

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[list[Any]] = []
        self._open: list[list[Any]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Open an element; the parser calls this and the other handlers."""
        element = [tag, {name: value or "" for name, value in attrs}, [], len(self._open)]
        self.found.append(element)
        if tag not in self._VOID:
            if len(self._open) >= MAX_DEPTH:
                raise LineError("nested elements", f"a nesting depth of at most {MAX_DEPTH}")
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Record an empty element."""
        self.found.append([tag, {n: v or "" for n, v in attrs}, [], len(self._open)])

    def handle_endtag(self, tag: str) -> None:
        """Close an element, and unclosed elements inside it."""
        for place in range(len(self._open) - 1, -1, -1):
            if self._open[place][0] == tag:
                del self._open[place:]
                return

    def handle_data(self, data: str) -> None:
        """Add a text to all open elements."""
        for element in self._open:
            element[2].append(data)


def mapping(value: Any, what: str) -> dict[str, Any]:
    """Return a JSON object, or raises `LineError`."""
    if not isinstance(value, dict):
        raise LineError(shown(value), f"an object: {what}")
    return value


def sequence(value: Any, what: str) -> list[Any]:
    """Return a JSON list, or raises `LineError`."""
    if not isinstance(value, list):
        raise LineError(shown(value), f"a list: {what}")
    return value


def number(value: Any, what: str) -> float:
    """Return a finite number, also from a string, or raises `LineError`."""
    try:
        found = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise LineError(shown(value), f"a number: {what}")
    return found


def size_of(height: Any, width: Any) -> tuple[int, int] | None:
    """Return height and width of an image; None if the file does not give both.

    Raises:
        LineError: not a valid size.
    """
    if height is None or width is None:
        return None
    found = number(height, "the height of the image"), number(width, "the width of the image")
    if not (1 <= found[0] <= MAX_COORDINATE and 1 <= found[1] <= MAX_COORDINATE):
        raise LineError(f"{width}x{height}", "the size of an image, in pixels")
    return round(found[0]), round(found[1])


def string(value: Any, what: str) -> str | None:
    """Return a text, stripped; None if there is none.

    Raises:
        LineError: not a text, or it contains an unpaired surrogate.
    """
    if value is None:
        return None
    if not isinstance(value, str):
        raise LineError(shown(value), f"a text: {what}")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise LineError(ascii(value), f"no unpaired surrogates: {what}") from error
    return value.strip()


def shown(value: Any) -> str:
    """Return a value as shown in messages, truncated."""
    if isinstance(value, str):
        return ascii(value[:100])[1:-1] if not value[:100].isprintable() else value[:100]
    if isinstance(value, list | dict) and len(value) > 20:
        return f"{'a list' if isinstance(value, list) else 'an object'} of {len(value)}"
    try:
        return repr(value)[:100]
    except (RecursionError, ValueError):  # very long integers cannot be formatted
        return type(value).__name__


def outline(points: Any, what: str = "points") -> FloatArray:
    """Return the points of an outline, `(N, 2)` float32, from pairs or from one flat list.

    Raises:
        LineError: fewer than three points, or an invalid point.
    """
    if isinstance(points, list) and points and not isinstance(points[0], list | tuple):
        if len(points) % 2:
            raise LineError(f"{len(points)} numbers", f"pairs of coordinates: {what}")
        points = [points[at : at + 2] for at in range(0, len(points), 2)]
    if not isinstance(points, list) or not 3 <= len(points) <= MAX_POINTS:
        count = f"{len(points)} points" if isinstance(points, list) else shown(points)
        raise LineError(count, f"three or more points [x, y]: {what}")
    rows = []
    for point in points:
        if not isinstance(point, list | tuple) or len(point) != 2:
            raise LineError(shown(point), f"a point [x, y]: {what}")
        rows.append((number(point[0], what), number(point[1], what)))
    return bounded(rows)


def bounded(rows: Sequence[tuple[float, float]]) -> FloatArray:
    """Return points as `(N, 2)` float32; raise `LineError` if a coordinate is out of range."""
    for point in rows:
        if not all(abs(value) <= MAX_COORDINATE for value in point):
            raise LineError(
                f"{point[0]:g}, {point[1]:g}",
                f"coordinates within +-{MAX_COORDINATE:.0f} pixels",
            )
    return np.array(rows, np.float64).astype(np.float32)


def corners(left: float, top: float, right: float, bottom: float) -> FloatArray:
    """Return the corners of an upright box, `(4, 2)` float32; opposite sides may be swapped."""
    left, right = min(left, right), max(left, right)
    top, bottom = min(top, bottom), max(top, bottom)
    return bounded([(left, top), (right, top), (right, bottom), (left, bottom)])


def turned_corners(
    corner: tuple[float, float], size: tuple[float, float], angle: float, *, center: bool
) -> FloatArray:
    """Return the corners of a rotated box, `(4, 2)` float32, clockwise from its own top left.

    Args:
        corner: the top left corner; if `center`, its position before the rotation.
        size: width and height of the box.
        angle: angle of the rotation in radians, clockwise on the screen.
        center: rotate about the center of the box, not about that corner.
    """
    (x, y), (wide, high) = corner, size
    px, py = (x + wide / 2, y + high / 2) if center else (x, y)
    cos, sin = math.cos(angle), math.sin(angle)
    flat = ((x, y), (x + wide, y), (x + wide, y + high), (x, y + high))
    return bounded(
        [
            (px + (a - px) * cos - (b - py) * sin, py + (a - px) * sin + (b - py) * cos)
            for a, b in flat
        ]
    )


def word_of(points: FloatArray, text: str | None, *, care: bool = True, **more: Any) -> Word:
    """Make a word from its corners or its outline.

    An outline that does not have four points becomes the word's `polygon`; its quad is then the
    minimum-area rectangle around it, clockwise from the corner nearest to its first point.
    """
    text = text if care else text or None  # of a "don't care" word, an empty text is unknown
    if len(points) == 4:
        return Word(points, text, care=care, **more)
    return Word(around(points), text, polygon=points, care=care, **more)


def words_of(
    source: Path,
    place: str,
    items: Iterable[Any],
    make: Callable[[Any], Word | None],
    *,
    line: int = 0,
) -> tuple[tuple[Word, ...], tuple[LabelError, ...]]:
    """Make the words of an image, and the errors of invalid ones.

    Args:
        source: the label file.
        place: where the image is in that file, for messages.
        items: one item per word.
        make: makes a word from an item; None skips it.
        line: line number in the file, if known.
    """
    words: list[Word] = []
    bad: list[LabelError] = []
    for count, item in enumerate(items, 1):
        try:
            word = make(item)
        except (LineError, PageError) as fault:
            value, expected = (
                (fault.value, fault.expected)
                if isinstance(fault, LineError)
                else (str(fault), "a word")
            )
            bad.append(LabelError(source, line, f"{place}, word {count}: {value}", expected))
            continue
        if word is not None:
            words.append(word)
    return tuple(words), tuple(bad)


def text_in(attributes: Mapping[str, Any]) -> str | None:
    """Return the text among the attributes of a shape, found by common names.

    Raises:
        LineError: not a text.
    """
    names = {str(name).strip().lower(): name for name in attributes}
    for known in _TEXTS:
        if known in names:
            value = attributes[names[known]]
            if isinstance(value, int | float) and not isinstance(value, bool):
                value = str(value)  # parsers turn the text "12" into a number
            return string(value, known)
    return None


def cares(attributes: Mapping[str, Any]) -> bool:
    """Return whether a shape counts, judged by boolean attributes like "ignore"."""
    for name, value in attributes.items():
        name = str(name).strip().lower().replace("_", " ")
        text = str(value).strip().lower()
        if name.replace(" ", "") in _COMPACT and (value is True or text in _YES):
            return False
        if name in _LEGIBLE and (value is False or text in _NO):
            return False
        if name == "illegibility" and (value is True or text in _YES):
            return False
    return True


_COMPACT = frozenset(name.replace(" ", "") for name in IGNORED)


def is_ignored(label: Any) -> bool:
    """Return whether the name of a label means "don't care"."""
    return isinstance(label, str) and label.strip().lower().replace("_", " ") in IGNORED
