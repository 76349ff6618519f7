r"""Lines of word labels: what a layout is, and a word out of a line.

Numbers stand between commas, tabs or blanks. A tab between numbers and text ends the numbers.
`ocrcore.data.readers.layouts` tells the layout.

Sources: rrc.cvc.uab.es for ICDAR 2013, 2015, MLT and RCTW; MhLiao/DB for MSRA-TD500; Total-Text's
Groundtruth/Text; EasyOCR's trainer for the mark `,####`; Datumaro's ICDAR exporter for `quoted`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import shapely

from ocrcore.geometry import quad_faults
from ocrcore.pages import FloatArray, Word

LAYOUTS = {
    "auto": "found out by all label files of a folder",
    "quad": "x1,y1,x2,y2,x3,y3,x4,y4,text (ICDAR 2015)",
    "box": 'left top right bottom "text" (ICDAR 2013)',
    "polygon": "x1,y1,x2,y2,...,text or ...,####text; polygon:N has N points",
    "quoted": 'quads, boxes and polygons with the text between quotes, x1,y1,...,"text" (CVAT)',
    "mlt": "x1,y1,...,x4,y4,script,text (ICDAR MLT)",
    "rctw": 'x1,y1,...,x4,y4,flag,"text" (RCTW; the flag is 0 or 1)',
    "td500": "x1,y1,...,x4,y4,flag (MSRA-TD500 as DB has it: 1 is don't care, there is no text)",
    "total-text": "x: [[x1 x2 ...]], y: [[y1 y2 ...]], ornt: [u'c'], transcriptions: [u'text']",
}
"""What a config may name as `layout`, with what a line then is."""
SCRIPTS = frozenset(
    ("arabic", "latin", "chinese", "japanese", "korean", "bangla", "hindi", "symbols", "mixed")
) | {"none"}
"""Of ICDAR MLT 2017 and 2019, in small letters."""
MAX_COORDINATE = 1e6
"""Coordinates beyond this, in pixels, are taken for a fault of the file."""

_NUMBER = r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
NUMBER = re.compile(rf"\s*{_NUMBER}\s*", re.ASCII)
_START = re.compile(rf"{_NUMBER}(\s*)(,?)", re.ASCII)
# A number and the separator behind it.
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
_NEED = {"box": 4, "quad": 8}
EXPECTED = {
    "quad": "eight coordinates and the text: x1,y1,x2,y2,x3,y3,x4,y4,text",
    "box": 'four coordinates and the text: left top right bottom "text"',
    "polygon": "pairs of coordinates and the text: x1,y1,x2,y2,x3,y3,...,text (or ...,####text)",
    "curve": f"Total-Text's lists: {LAYOUTS['total-text']}",
}


class LineError(ValueError):
    """What cannot be read, as `ocrcore.pages.LabelError` says it.

    Attributes:
        value: what is wrong, as text.
        expected: what would be right.
    """

    def __init__(self, value: str, expected: str) -> None:
        super().__init__(value, expected)
        self.value, self.expected = value, expected


@dataclass(frozen=True, slots=True)
class Layout:
    """How the lines of a folder are read.

    Attributes:
        name: of `LAYOUTS`.
        commas: what lines with commas or tabs between the numbers begin with: "quad", "box",
            "polygon" or "curve" (Total-Text's lists); "each": a quad or a polygon, as it fits.
        blanks: the same of lines with blanks between the numbers.
        extra: what stands before the text: "", "script" or "flag"; "difficulty": a flag alone.
        quoted: one pair of quotes around the text is taken off. Of boxes it always is.
        marked: `####` at the beginning of the text is taken off.
        points: how many a polygon has; None: as many as there are pairs of numbers.
        found: whether the lines told it, not a config.
    """

    name: str
    commas: str = "quad"
    blanks: str = "quad"
    extra: str = ""
    quoted: bool = False
    marked: bool = False
    points: int | None = None
    found: bool = False

    def __str__(self) -> str:
        """For the user: the name, and what a line is."""
        parts = [f"{self.name}: {LAYOUTS[self.name]}"]
        if self.found and self.quoted and self.name not in ("quoted", "rctw"):
            parts.append("quotes around the texts are taken off")
        forms = {self.commas, self.blanks}
        if self.found and self.name != "quoted" and len(forms - {"each"}) > 1:
            parts.append("lines differ, each is read as what it is")
        if self.found:
            parts.append("found by all lines; `layout` of the data set names another")
        return "; ".join(parts)


@dataclass(slots=True)
class LabelLine:
    """A line with the numbers that it begins with.

    Attributes:
        text: the line.
        separator: ",", a tab, or " " for blanks.
        numbers: as they are written.
        ends: where what follows each number begins, behind the separator; -1: the line ends there.
    """

    text: str
    separator: str
    numbers: list[str]
    ends: list[int]

    def rest(self, count: int) -> str | None:
        """What follows so many numbers; None where nothing does, no separator either."""
        end = self.ends[count - 1]
        return None if end < 0 else self.text[end:].strip()

    def values(self, count: int) -> FloatArray:
        """`(count / 2, 2)`."""
        return np.array(self.numbers[:count], np.float64).astype(np.float32).reshape(-1, 2)


def scan(text: str) -> LabelLine:
    """Finds the numbers that a line begins with, and what stands between them."""
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


def judge(line: LabelLine) -> str:
    """Whether numbers behind the eighth are "points", a "text", "either" or "neither".

    The points of an outline are near each other, and the outline does not cross itself. The first
    four points of a longer outline are seldom a quad; those of a quad are.
    """
    count = len(line.numbers) - len(line.numbers) % 2
    if any(re.match(r"[+-]?0[0-9]", number) for number in line.numbers[8:count]):
        return "text"  # 1,000
    points = line.values(count)
    quad = quad_faults(points[:4])[0] in (None, "anticlockwise")
    if not (_near(points, 4, len(points) / 4 + 1) and _is_outline(points)):
        return "text" if quad else "neither"
    if not quad or len(points) > 5:  # texts of four numbers that happen to fit are not met with
        return "points"
    return "either"


def _near(points: FloatArray, first: int, reach: float) -> bool:
    """Whether all points lie within so many sizes of the first ones from these."""
    low, high = points[:first].min(axis=0), points[:first].max(axis=0)
    far = reach * (high - low).max()
    return bool(((points >= low - far) & (points <= high + far)).all())


def _closed(points: FloatArray) -> bool:
    """Whether a polygon is an outline, and its last point no text of two numbers."""
    return _is_outline(points) and _near(points, max(3, len(points) - 1), 1.0)


def _is_outline(points: FloatArray) -> bool:
    """Whether a polygon has an area and does not cross itself."""
    if not (np.abs(points) <= MAX_COORDINATE).all():
        return False
    shape = shapely.Polygon(points.astype(np.float64))
    return bool(shape.is_valid and shape.area > 0)


def form_of(line: LabelLine, layout: Layout) -> str:
    """The form of one line, "each" decided; empty where nothing decides."""
    form = layout.blanks if line.separator == " " else layout.commas
    if form != "each":
        return form
    if len(line.numbers) < 10:
        return "quad"
    marked = len(line.numbers) % 2 == 0 and (line.rest(len(line.numbers)) or "").startswith(MARK)
    return "polygon" if marked else {"text": "quad", "points": "polygon"}.get(judge(line), "")


def coordinate_count(line: LabelLine, layout: Layout) -> int:
    """How many numbers of a line should be coordinates."""
    form = form_of(line, layout)
    if form == "polygon":
        there = len(line.numbers)
        return 2 * layout.points if layout.points else max(6, there - there % 2)
    return _NEED.get(form, 8)


def is_quoted(text: str) -> bool:
    """Whether a text stands between quotes of one kind."""
    text = text.strip()
    return len(text) > 1 and text[0] == text[-1] and text[0] in _QUOTES


def read_line(text: str, layout: Layout, *, dont_care: Sequence[str]) -> Word:
    """Makes a word of a line.

    Args:
        text: the line, stripped.
        layout: of the folder.
        dont_care: texts that mark a word as "don't care": it gets `care=False` and no text.

    Returns:
        The word. An outline that has not four points becomes the word's `polygon`; its quad is then
        the smallest rectangle around it, clockwise from the corner nearest to its first point.

    Raises:
        LineError: the line is no word.
    """
    if CURVE.match(text):
        return _read_curve(text, dont_care)
    line = scan(text)
    form = form_of(line, layout)
    if not form:
        raise LineError(
            text,
            "what can be read in one way: are the numbers behind the eighth points or a text? "
            "layout=polygon or layout=quad decides",
        )
    count, rest = _coordinates(line, form, layout)
    box = form == "box"
    corners = _checked(line, count, box=box)
    if form == "polygon" and rest is None and not layout.points and not _closed(corners):
        raise LineError(
            text,
            "an outline that does not cross itself and the text: are the last numbers the text? "
            "layout=polygon:N says how many points there are",
        )
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
    if rest and (layout.quoted or box):
        rest = _unquote(rest, _QUOTES if layout.quoted else '"')
    return _word(corners, rest, care, dont_care, language)


def _word(
    corners: FloatArray,
    text: str | None,
    care: bool,
    dont_care: Sequence[str],
    language: str | None = None,
) -> Word:
    if text is not None and (text in dont_care or (text and _unquote(text) in dont_care)):
        care = False
    text = text if care else None
    if len(corners) == 4:
        return Word(corners, text, care=care, language=language)
    quad = _around(corners)
    return Word(quad, text, polygon=corners, care=care, language=language)


def _coordinates(line: LabelLine, form: str, layout: Layout) -> tuple[int, str | None]:
    """How many numbers are coordinates, and what follows them."""
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
        raise LineError(line.text, f"{expected}; there are {len(fields)} numbers")
    return need, line.rest(need)


def _checked(line: LabelLine, count: int, *, box: bool) -> FloatArray:
    """The corners, `(N, 2)`."""
    for number in line.numbers[:count]:
        if abs(float(number)) > MAX_COORDINATE:
            raise LineError(number, f"a coordinate within +-{MAX_COORDINATE:.0f} pixels")
    corners = line.values(count)
    if not box:
        return corners
    (left, top), (right, bottom) = corners.tolist()
    if right < left or bottom < top:
        raise LineError(line.text, "left <= right and top <= bottom (are these width and height?)")
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)], np.float32)


def _read_curve(text: str, dont_care: Sequence[str]) -> Word:
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
        raise LineError(text, f"as many y as x: {len(rows[1])} and {len(rows[0])}")
    content = None if found[5] is None else _ESCAPE.sub(_unescaped, found[5]).strip()
    # Total-Text writes # for what nobody can read, as the text or as the orientation.
    care = found[3] != "#" and content != "#"
    return _word(np.array(rows, np.float32).T, content, care, dont_care)


def _unescaped(found: re.Match[str]) -> str:
    code = found[1]
    return code if len(code) == 1 else chr(int(code[1:], 16))


def _unquote(text: str, quotes: str = _QUOTES) -> str:
    r"""Takes one pair of quotes off; inside, `\"` and `""` are a quote."""
    if len(text) < 2 or text[0] != text[-1] or text[0] not in quotes:
        return text
    quote, inside = text[0], text[1:-1]
    if quote in inside.replace(quote * 2, "") or quote * 2 not in inside:
        return re.sub(r'\\(["\\])', r"\1", inside)
    return inside.replace(quote * 2, quote)  # all are doubled


def _around(polygon: FloatArray) -> FloatArray:
    """The smallest rectangle around, clockwise from near the first point."""
    corners = cv2.boxPoints(cv2.minAreaRect(polygon))
    edges = np.roll(corners, -1, axis=0) - corners
    if edges[0, 0] * edges[1, 1] - edges[0, 1] * edges[1, 0] < 0:
        corners = corners[::-1]
    first = int(((corners - polygon[0]) ** 2).sum(axis=1).argmin())
    return np.roll(corners, -first, axis=0)
