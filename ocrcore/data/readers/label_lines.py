r"""Lines of word labels: the layouts, and parsing a line to a word.

Numbers are separated by commas, tabs or spaces. A tab between numbers and text ends the numbers.
`ocrcore.data.readers.layouts` detects the layout.

Sources: rrc.cvc.uab.es for ICDAR 2013, 2015, MLT and RCTW; MhLiao/DB for MSRA-TD500; Total-Text's
Groundtruth/Text; Curve-Text-Detector's data/README.md for CTW1500; EasyOCR's trainer for the mark
`,####`; Datumaro's ICDAR exporter for `quoted`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import shapely

from ocrcore.geometry import quad_faults
from ocrcore.pages import FloatArray, Word

LAYOUTS = {
    "auto": "detected from all label files of a folder",
    "quad": "x1,y1,x2,y2,x3,y3,x4,y4,text (ICDAR 2015)",
    "box": 'left top right bottom "text" (ICDAR 2013)',
    "polygon": "x1,y1,x2,y2,...,text or ...,####text; polygon:N has N points",
    "quoted": 'quads, boxes and polygons with the text between quotes, x1,y1,...,"text" (CVAT)',
    "mlt": "x1,y1,...,x4,y4,script,text (ICDAR MLT)",
    "rctw": 'x1,y1,...,x4,y4,flag,"text" (RCTW; the flag is 0 or 1)',
    "td500": "x1,y1,...,x4,y4,flag (MSRA-TD500 as DB converts it: 1 is don't care, no text)",
    "msra-td500": "index difficulty x y width height angle (MSRA-TD500's own .gt files, no text)",
    "ctw1500": "left,top,right,bottom,dx1,dy1,...,dx14,dy14 (CTW1500's older labels, no text)",
    "total-text": "x: [[x1 x2 ...]], y: [[y1 y2 ...]], ornt: [u'c'], transcriptions: [u'text']",
}
"""Values of `layout` in a config, with the form of a line."""
SCRIPTS = frozenset(
    ("arabic", "latin", "chinese", "japanese", "korean", "bangla", "hindi", "symbols", "mixed")
) | {"none"}
"""Scripts of ICDAR MLT 2017 and 2019, in lower case."""
MAX_COORDINATE = 1e6
"""Coordinates beyond this, in pixels, are treated as an error in the file."""

_FAR = 1e9
_NUMBER = r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
NUMBER = re.compile(rf"\s*{_NUMBER}\s*", re.ASCII)
_START = re.compile(rf"{_NUMBER}(\s*)(,?)", re.ASCII)
# A number and the separator after it.
_STEPS = {
    ",": re.compile(rf"[^\S\t]*({_NUMBER})[^\S\t]*(,|\t|\Z)", re.ASCII),
    "\t": re.compile(rf"[^\S\t]*({_NUMBER})[^\S\t]*(\t|\Z)", re.ASCII),
    " ": re.compile(rf"\s*({_NUMBER})(\s+|\Z)", re.ASCII),
}
_SEPARATORS = {",": re.compile(","), "\t": re.compile("\t"), " ": re.compile(r"\s+", re.ASCII)}
CURVE = re.compile(r"x\s*:\s*\[\[")
_CURVED = re.compile(
    r"x\s*:\s*\[\[([^\]]*)\]\]\s*,\s*y\s*:\s*\[\[([^\]]*)\]\]\s*"
    r"(?:,\s*ornt\s*:\s*\[(?:u?'([^']*)')?\]\s*)?"
    r"(?:,\s*transcriptions\s*:\s*\[(?:u?(['\"])(.*)\4)?\]\s*)?,?"
)
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U000[0-9a-fA-F]{5}|['\"\\])")
MARK = "####"
_QUOTES = "\"'"
_FILL = 0.15  # minimum fraction of its bounding rectangle that an outline covers
_NEED = {"box": 4, "quad": 8, "turned": 7, "offsets": 32}
EXPECTED = {
    "quad": "eight coordinates and the text: x1,y1,x2,y2,x3,y3,x4,y4,text",
    "box": 'four coordinates and the text: left top right bottom "text"',
    "polygon": "pairs of coordinates and the text: x1,y1,x2,y2,x3,y3,...,text (or ...,####text)",
    "curve": f"Total-Text's lists: {LAYOUTS['total-text']}",
    "turned": f"seven numbers: {LAYOUTS['msra-td500']}",
    "offsets": f"32 numbers: {LAYOUTS['ctw1500']}",
}


class LineError(ValueError):
    """A value that cannot be read; `ocrcore.pages.LabelError` adds the file and line.

    Attributes:
        value: the wrong value, as text.
        expected: what was expected.
    """

    def __init__(self, value: str, expected: str) -> None:
        super().__init__(value, expected)
        self.value, self.expected = value, expected


@dataclass(frozen=True, slots=True)
class Layout:
    """How the lines of a folder are read.

    Attributes:
        name: one of `LAYOUTS`.
        commas: what lines with commas or tabs between the numbers begin with: "quad", "box",
            "polygon", "curve" (Total-Text's lists), "turned" (MSRA-TD500's box with an angle) or
            "offsets" (CTW1500's, relative to the corner of a box); "each": a quad or a polygon,
            decided line by line.
        blanks: the same for lines with spaces between the numbers.
        extra: the column before the text: "", "script" or "flag"; "difficulty": a flag without a
            text.
        quoted: whether a pair of quotes around the text is removed.
        box_quotes: the same for boxes.
        texts: whether most polygons have a text.
        marked: whether `####` at the beginning of the text is removed.
        points: number of points of a polygon; None: as many as there are pairs of numbers.
        found: whether the layout was detected, not set in a config.
    """

    name: str
    commas: str = "quad"
    blanks: str = "quad"
    extra: str = ""
    quoted: bool = False
    box_quotes: bool = True
    texts: bool = False
    marked: bool = False
    points: int | None = None
    found: bool = False

    def __str__(self) -> str:
        """Return a description for the user: the name, and the form of a line."""
        parts = [f"{self.name}: {LAYOUTS[self.name]}"]
        if self.found and self.quoted and self.name not in ("quoted", "rctw"):
            parts.append("quotes around the texts are removed")
        forms = {self.commas, self.blanks}
        if self.found and self.name != "quoted" and len(forms - {"each"}) > 1:
            parts.append("lines differ, each is read in its own form")
        if self.found:
            parts.append("detected from all lines; set `layout` of the data set to choose another")
        return "; ".join(parts)


@dataclass(slots=True)
class LabelLine:
    """A line and the numbers that it begins with.

    Attributes:
        text: the line.
        separator: "," or a tab, or " " for white space.
        numbers: the numbers, as written.
        ends: position after each number and its separator; -1 if the line ends there.
        outline: cached result of `outline_count`; None before the first call.
    """

    text: str
    separator: str
    numbers: list[str]
    ends: list[int]
    outline: int | None = None

    def rest(self, count: int) -> str | None:
        """Return the text after the first `count` numbers; None if the line ends with them."""
        end = self.ends[count - 1]
        return None if end < 0 else self.text[end:].strip()

    def values(self, count: int) -> FloatArray:
        """Return `(count / 2, 2)` coordinates, clipped; out-of-range values are rejected later."""
        numbers = np.clip(np.array(self.numbers[:count], np.float64), -_FAR, _FAR)
        return numbers.astype(np.float32).reshape(-1, 2)


def scan(text: str) -> LabelLine:
    """Find the numbers that a line begins with, and their separator."""
    start = _START.match(text)
    separator = ","
    if start and not start[2] and start[1]:
        separator = "\t" if "\t" in start[1] else " "
    line = LabelLine(text, separator, [], [])
    at, step = 0, _STEPS[separator]
    while found := step.match(text, at):
        line.numbers.append(found[1])
        at = found.end()
        line.ends.append(at if found[2] else -1)
        if not found[2] or (separator != "\t" and "\t" in found[2]):
            break
    return line


def outline_count(line: LabelLine) -> int:
    """Return how many of ten or more numbers are coordinates: > 8: a polygon; 0: ambiguous.

    The points of an outline are near each other, and the outline does not cross itself. The first
    four points of a longer outline seldom form a quad; those of a quad do. So 12,5 after a quad is
    a text, while three more points after four are a polygon.
    """
    if line.outline is None:
        line.outline = _outline_count(line)
    return line.outline


def _outline_count(line: LabelLine) -> int:
    there = _even(line)
    if _text_behind(line) and (line.rest(there) or "").startswith(MARK):
        return there
    found = _longest_outline(line)
    if found and found < there and _text_behind(line):
        return 0
    if found > 10:
        return found  # a text of four or more numbers that happens to fit is not realistic
    quad = quad_faults(line.values(8))[0] in (None, "anticlockwise")
    if not found:
        return 8 if quad else 0
    return 0 if quad else found


def _even(line: LabelLine) -> int:
    return len(line.numbers) - len(line.numbers) % 2


def _text_behind(line: LabelLine) -> bool:
    """Return whether something other than a number follows the last pair of numbers."""
    rest = line.rest(_even(line))
    return (bool(rest) and len(line.numbers) % 2 == 0) or line.ends[-1] >= 0


def _longest_outline(line: LabelLine) -> int:
    """Return how many numbers the longest outline has; 0 if none has ten or more."""
    most = _even(line)
    for place in range(8, most):
        if re.match(r"[+-]?0[0-9]", line.numbers[place]):  # 1,000 is a text
            most = place - place % 2
            break
    points = line.values(most)
    return next((n for n in range(most, 8, -2) if _is_outline(points[: n // 2])), 0)


def _is_outline(points: FloatArray) -> bool:
    """Return whether points form one polygon whose last point is not a text of two numbers."""
    if not (np.abs(points) <= MAX_COORDINATE).all():
        return False
    low, high = np.minimum.accumulate(points), np.maximum.accumulate(points)
    reach = 3 * (high - low).max(axis=1, keepdims=True)
    reach[-2] /= 3
    near = (points[4:] >= (low - reach)[3:-1]) & (points[4:] <= (high + reach)[3:-1])
    shape = shapely.Polygon(points.astype(np.float64))
    if not near.all() or not shape.is_valid:
        return False
    wide, high_ = cv2.minAreaRect(points)[1]
    return bool(shape.area > _FILL * wide * high_ > 0)


def form_of(line: LabelLine, layout: Layout) -> str:
    """Return the form of one line, with "each" resolved; empty if ambiguous."""
    form = layout.blanks if line.separator == " " else layout.commas
    if form != "each":
        return form
    if len(line.numbers) < 10:
        return "quad"
    return {0: "", 8: "quad"}.get(outline_count(line), "polygon")


def coordinate_count(line: LabelLine, layout: Layout) -> int:
    """Return how many numbers of a line should be coordinates."""
    form = form_of(line, layout)
    if form != "polygon":
        return _NEED.get(form, 8)
    there = _even(line)
    if layout.points:
        return 2 * layout.points
    if there < 10 or _text_behind(line):
        return max(6, there)
    return _longest_outline(line) or there


def is_quoted(text: str) -> bool:
    """Return whether a text is enclosed in quotes of one kind."""
    text = text.strip()
    return len(text) > 1 and text[0] == text[-1] and text[0] in _QUOTES


def read_line(text: str, layout: Layout, *, dont_care: Sequence[str]) -> Word:
    """Parse a line to a word.

    Args:
        text: the line, stripped.
        layout: the layout of the folder.
        dont_care: texts that mark a word as "don't care": it gets `care=False` and no text.

    Returns:
        The word. An outline that does not have four points becomes the word's `polygon`; its quad
        is then the minimum-area rectangle around it, clockwise from the corner nearest to its first
        point.

    Raises:
        LineError: the line is not a word.
    """
    if CURVE.match(text):
        return _read_curve(text, layout, dont_care)
    line = scan(text)
    form = form_of(line, layout)
    if not form:
        raise LineError(
            text,
            "an unambiguous line: are the numbers after the eighth points or a text? "
            "layout=polygon or layout=quad decides",
        )
    count, rest = _coordinates(line, form, layout)
    box = form == "box"
    if form in ("turned", "offsets"):
        return _without_text(line, form)
    corners = _checked(line, count, box=box)
    if form == "polygon" and not layout.points and not _text_behind(line):
        _check_outline(text, corners, lacks_text=layout.texts and rest is None)
    care, language = True, None
    if layout.extra and form == "quad":
        head, comma, tail = (rest or "").partition(line.separator)
        head = head.strip()
        if layout.extra == "script" and (not comma or head.lower() not in SCRIPTS):
            raise LineError(text, f"a script and the text: {LAYOUTS['mlt']}")
        if layout.extra == "script":
            language = None if head.lower() == "none" else head
        elif head not in ("0", "1") or (layout.extra == "flag") != bool(comma):
            raise LineError(text, f"a flag, 0 or 1: {LAYOUTS[layout.name]}")
        care = layout.extra != "difficulty" or head == "0"
        rest = None if layout.extra == "difficulty" else tail.strip()
    if rest is not None and (layout.marked or count > 8):
        rest = rest.removeprefix(MARK)
    if rest and (layout.box_quotes if box else layout.quoted):
        rest = _unquote(rest, _QUOTES if layout.quoted else '"')
    return _word(corners, rest, care, language, layout, dont_care)


def _check_outline(text: str, corners: FloatArray, *, lacks_text: bool) -> None:
    """Reject a polygon whose last numbers may be its text, or that seems to be cut off."""
    if len(corners) > 4:
        fits = _is_outline(corners)
    else:
        fits = len(corners) < 4 or quad_faults(corners)[0] in (None, "anticlockwise")
    if not fits or (lacks_text and len(corners) > 4):
        raise LineError(
            text,
            "an outline and its text: are the last numbers the text? Set layout=polygon:N for "
            "outlines of N points",
        )


def _word(
    corners: FloatArray,
    text: str | None,
    care: bool,
    language: str | None,
    layout: Layout,
    dont_care: Sequence[str],
) -> Word:
    if text is not None and text in dont_care:
        care = False
    if text and layout.found and _unquote(text) in dont_care:
        care = False  # "###" in quotes is a mark as well, not a text
    text = text if care else None
    if len(corners) == 4:
        return Word(corners, text, care=care, language=language)
    quad = around(corners)
    return Word(quad, text, polygon=corners, care=care, language=language)


def _coordinates(line: LabelLine, form: str, layout: Layout) -> tuple[int, str | None]:
    """Return how many numbers are coordinates, and what follows them."""
    expected = EXPECTED[form]
    if form == "curve":
        raise LineError(line.text, expected)
    need = coordinate_count(line, layout)
    if layout.points and form == "polygon":
        expected = f"{need} coordinates and the text"
    if len(line.numbers) < need:
        fields = _SEPARATORS[line.separator].split(line.text, need)[:need]
        for field in fields:
            if not NUMBER.fullmatch(field):
                raise LineError(field.strip(), f"a coordinate, a decimal number ({expected})")
        raise LineError(line.text, f"{expected}; found {len(fields)} numbers")
    return need, line.rest(need)


def _within(line: LabelLine, count: int) -> list[float]:
    for number in line.numbers[:count]:
        if abs(float(number)) > MAX_COORDINATE:
            raise LineError(number, f"a coordinate within +-{MAX_COORDINATE:.0f} pixels")
    return [float(number) for number in line.numbers[:count]]


def fits_turned(line: LabelLine) -> bool:
    """Return whether a line is MSRA-TD500's: seven numbers, an index, a flag, a box, an angle."""
    if len(line.numbers) != 7 or line.ends[-1] >= 0:
        return False
    wide, high, angle = map(float, line.numbers[4:])
    return (
        line.numbers[0].isdecimal()
        and line.numbers[1] in ("0", "1")
        and wide > 0 < high
        and abs(angle) <= math.pi
    )


def fits_offsets(line: LabelLine) -> bool:
    """Return whether a line is CTW1500's: 32 numbers, a box and the offsets of 14 points in it."""
    if len(line.numbers) != 32 or line.ends[-1] >= 0:
        return False
    left, top, right, bottom, *offsets = map(float, line.numbers)
    across, down = offsets[::2], offsets[1::2]
    return (
        right >= left
        and bottom >= top
        and -1 <= min(across) <= max(across) <= right - left + 1
        and -1 <= min(down) <= max(down) <= bottom - top + 1
    )


def _without_text(line: LabelLine, form: str) -> Word:
    """Make a word from MSRA-TD500's own form, or from CTW1500's older one."""
    fits = fits_turned(line) if form == "turned" else fits_offsets(line)
    if not fits:
        raise LineError(line.text, EXPECTED[form])
    numbers = _within(line, _NEED[form])
    if form == "offsets":
        polygon = np.array(numbers[4:]).reshape(14, 2) + numbers[:2]
        outline = polygon.astype(np.float32)
        return Word(around(outline), polygon=outline)
    x, y, wide, high, angle = numbers[2:]
    half = np.array([(-wide, -high), (wide, -high), (wide, high), (-wide, high)]) / 2
    cos, sin = math.cos(angle), math.sin(angle)
    turned = half @ np.array([[cos, sin], [-sin, cos]]) + (x + wide / 2, y + high / 2)
    return Word(turned.astype(np.float32), care=line.numbers[1] == "0")


def _checked(line: LabelLine, count: int, *, box: bool) -> FloatArray:
    """Return the corners, `(N, 2)`, after checking their range."""
    _within(line, count)
    corners = line.values(count)
    if not box:
        return corners
    (left, top), (right, bottom) = corners.tolist()
    if right < left or bottom < top:
        raise LineError(line.text, "left <= right and top <= bottom (are these width and height?)")
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)], np.float32)


def _read_curve(text: str, layout: Layout, dont_care: Sequence[str]) -> Word:
    found = _CURVED.fullmatch(text)
    if not found:
        raise LineError(text, EXPECTED["curve"])
    rows = []
    for name, row in (("x", found[1]), ("y", found[2])):
        fields = [field for field in re.split(r"[\s,]+", row) if field]
        if wrong := [field for field in fields if not NUMBER.fullmatch(field)]:
            raise LineError(wrong[0], f"a coordinate, a decimal number ({EXPECTED['curve']})")
        if any(abs(float(field)) > MAX_COORDINATE for field in fields):
            raise LineError(row, f"coordinates within +-{MAX_COORDINATE:.0f} pixels")
        if len(fields) < 3:
            raise LineError(row, f"three or more coordinates in {name}")
        rows.append([float(field) for field in fields])
    if len(rows[0]) != len(rows[1]):
        raise LineError(text, f"as many y as x; found {len(rows[1])} and {len(rows[0])}")
    content = None if found[5] is None else _ESCAPE.sub(_unescaped, found[5]).strip()
    # Total-Text writes # for illegible words, as the text or as the orientation.
    care = found[3] != "#" and content != "#"
    return _word(np.array(rows, np.float32).T, content, care, None, layout, dont_care)


def _unescaped(found: re.Match[str]) -> str:
    code = found[1]
    return code if len(code) == 1 else chr(int(code[1:], 16))


def _unquote(text: str, quotes: str = _QUOTES) -> str:
    r"""Remove one pair of quotes; inside, `\"` and `""` are a quote."""
    if len(text) < 2 or text[0] != text[-1] or text[0] not in quotes:
        return text
    quote, inside = text[0], text[1:-1]
    if quote in inside.replace(quote * 2, "") or quote * 2 not in inside:
        return re.sub(r'\\(["\\])', r"\1", inside)
    return inside.replace(quote * 2, quote)  # all quotes inside are doubled


def around(polygon: FloatArray) -> FloatArray:
    """Return the minimum-area rectangle of an outline, `(4, 2)`, clockwise from near its start."""
    corners = cv2.boxPoints(cv2.minAreaRect(polygon))
    edges = np.roll(corners, -1, axis=0) - corners
    if edges[0, 0] * edges[1, 1] - edges[0, 1] * edges[1, 0] < 0:
        corners = corners[::-1]
    first = int(((corners - polygon[0]) ** 2).sum(axis=1).argmin())
    return np.roll(corners, -first, axis=0)
