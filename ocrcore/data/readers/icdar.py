r"""Labels in text files, one word a line, as the ICDAR competitions hand them out.

Layouts of a line:

* `quad` (ICDAR 2015): `x1,y1,x2,y2,x3,y3,x4,y4,text`, clockwise from the top left in reading
  direction. The text is all that follows the eighth comma, commas and digits included.
* `box` (ICDAR 2013): `left top right bottom "text"`, separated by blanks or commas. One pair of
  double quotes around the text is taken off, and backslashes before `"` and `\` inside it.
* `polygon`: with `points=N` exactly N points, then a comma and the text. Without it the text
  begins after `,####` (the form in which Total-Text and CTW1500 results are exchanged) and any
  number of points goes before, so that a text of digits is never taken for coordinates.

In each the text may be missing, separator included: then it is not known (None). An empty text is
a text. Fractions, blanks around fields, blank lines, a byte order mark and any line ends are
accepted; blanks around the text are not part of it.

Corners are kept as they are written. Boxes without area, crossed quads and corners that run
anticlockwise are therefore read without complaint, because the scoring protocols define what
becomes of them; `ocrcore.geometry.quad_faults` names them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from ocrcore.files import check_regular, write_text
from ocrcore.images import SUFFIXES, image_size
from ocrcore.pages import FloatArray, LabelError, Page, Word

LAYOUTS = ("auto", "quad", "box", "polygon")
DONT_CARE = ("###",)
MAX_COORDINATE = 1e6
"""Coordinates beyond this, in pixels, are taken for a fault of the file."""
MAX_BYTES = 1 << 25
"""Label files above this size are refused."""

_NUMBER = re.compile(r"\s*[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\s*", re.ASCII)
_BLANKS = re.compile(r"\s*,\s*|\s+", re.ASCII)
_LINE_END = re.compile(r"\r\n|\n|\r")
_MARK = ",####"
_EXPECTED = {
    "quad": "eight coordinates and the text: x1,y1,x2,y2,x3,y3,x4,y4,text",
    "box": 'four coordinates and the text: left top right bottom "text"',
    "polygon": "pairs of coordinates, then ,#### and the text: x1,y1,x2,y2,x3,y3,...,####text",
}


def read_icdar(
    path: str | Path,
    *,
    layout: str = "auto",
    points: int | None = None,
    dont_care: Sequence[str] = DONT_CARE,
    bad: list[LabelError] | None = None,
) -> list[Word]:
    """Reads the words of one label file.

    Args:
        path: of the file, UTF-8.
        layout: one of `LAYOUTS`. `auto` chooses between `quad` and `box` for the whole file: each
            line that begins with eight or more numbers between commas speaks for `quad`, one that
            begins with four (or five, the fifth being a text of digits) for `box`, and so does one
            with blanks between; the majority decides, `quad` at a tie. Name the layout where files
            are short and texts are lists of numbers.
        points: how many points each line of a `polygon` file has.
        dont_care: texts that mark a word as "don't care": it gets `care=False` and no text. Empty
            texts do not, unless `""` is among these.
        bad: where given, malformed lines are added to this list and left out instead of raised.

    Returns:
        One word for each line. An outline that has not four points becomes the word's `polygon`;
        its quad is then the smallest rectangle around it, clockwise from the corner nearest to the
        polygon's first point.

    Raises:
        LabelError: a malformed line; it names the file, the line, the value and what was expected.
        OSError: the file cannot be read.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"unknown layout {layout!r}, expected one of {', '.join(LAYOUTS)}")
    if points is not None and (layout != "polygon" or points < 3):
        raise ValueError(f"points={points} with layout={layout!r}: expected 3 or more of a polygon")
    if isinstance(dont_care, str):
        dont_care = (dont_care,)
    words = []
    lines = list(_lines(Path(path)))
    if layout == "auto":
        layout = _guess([line for _, line in lines])
    for number, line in lines:
        try:
            words.append(_word(path, number, line, layout, points, dont_care))
        except LabelError as error:
            if bad is None:
                raise
            bad.append(error)
    return words


def read_icdar_folder(
    images: str | Path,
    labels: str | Path,
    *,
    missing_label: str = "error",
    missing_image: str = "error",
    layout: str = "auto",
    points: int | None = None,
    dont_care: Sequence[str] = DONT_CARE,
    bad: list[LabelError] | None = None,
) -> list[Page]:
    """Reads a folder of pictures with their label files.

    The labels of `NAME.jpg` are in `gt_NAME.txt`, `NAME.txt` or `res_NAME.txt`. Of the pictures
    only the headers are read.

    Args:
        images: folder of the pictures; those in folders inside it are not read.
        labels: folder of the label files; may be the same.
        missing_label: what becomes of a picture without label file: `error`, `skip`, or `empty` for
            a page without words.
        missing_image: what becomes of a label file without picture: `error` or `skip`.
        layout: as for `read_icdar`; `auto` chooses for each file.
        points: as for `read_icdar`.
        dont_care: as for `read_icdar`.
        bad: as for `read_icdar`.

    Returns:
        The pages by name of the picture: `img_10` before `img_2`.

    Raises:
        LabelError: a malformed line, a picture or a label file without the other, or with two.
        ImageError: a file that is no picture.
    """
    if missing_label not in ("error", "skip", "empty"):
        raise ValueError(f"missing_label={missing_label!r}: expected error, skip or empty")
    if missing_image not in ("error", "skip"):
        raise ValueError(f"missing_image={missing_image!r}: expected error or skip")
    pictures: dict[str, Path] = {}
    for path in sorted(_files(images), key=by_name):
        if path.suffix.lower() in SUFFIXES:
            if path.stem in pictures:
                raise LabelError(
                    path,
                    0,
                    path.name,
                    f"one picture of this name; {pictures[path.stem]} is another",
                )
            pictures[path.stem] = path
    left = {path.stem: path for path in _files(labels) if path.suffix.lower() == ".txt"}
    if not pictures:
        raise LabelError(images, 0, str(images), f"a folder of pictures ({', '.join(SUFFIXES)})")

    found: dict[Path, Path | None] = {}
    for stem, picture in pictures.items():
        names = [name for name in (f"gt_{stem}", stem, f"res_{stem}") if name in left]
        if len(names) > 1:
            raise LabelError(
                left[names[1]],
                0,
                left[names[1]].name,
                f"one label file; {left[names[0]]} is another",
            )
        found[picture] = left.pop(names[0]) if names else None
    if missing_image == "error" and left:
        path = min(left.values(), key=by_name)
        raise LabelError(
            path,
            0,
            path.name,
            f"a picture of this name in {images} ({len(left)} such files; missing_image='skip' "
            "leaves them out)",
        )
    lost = [picture for picture, label in found.items() if label is None]
    if missing_label == "error" and lost:
        stem = lost[0].stem
        raise LabelError(
            lost[0],
            0,
            lost[0].name,
            f"a label file gt_{stem}.txt, {stem}.txt or res_{stem}.txt in {labels} ({len(lost)} "
            "such pictures; missing_label='skip' leaves them out, 'empty' takes them as without "
            "words)",
        )

    pages = []
    for picture, label in found.items():
        if label is None and missing_label == "skip":
            continue
        words: list[Word] = []
        if label is not None:
            words = read_icdar(label, layout=layout, points=points, dont_care=dont_care, bad=bad)
        height, width = image_size(picture)
        pages.append(Page(height, width, tuple(words), str(picture)))
    return pages


def write_icdar(path: str | Path, page: Page, *, dont_care: str = DONT_CARE[0]) -> None:
    """Writes the words of a page in the layout `quad`, all or nothing.

    `read_icdar(path, layout="quad")` returns equal quads, texts and `care`; other attributes of the
    words, and the text of words that do not count, are not written.

    Args:
        path: of the file to write.
        page: its words.
        dont_care: the text to write for words with `care=False`.

    Raises:
        ValueError: a word that would not read back: a text with line ends or with blanks around it,
            one that means "don't care", or a polygon (`ocrcore.pages.write_pages` keeps those).
    """
    path = Path(path)
    lines = []
    for index, word in enumerate(page.words):
        if word.polygon is not None:
            raise ValueError(f"{path}: word {index} has a polygon, which this layout cannot hold")
        text = word.text if word.care else dont_care
        if text is not None and (text != text.strip() or _LINE_END.search(text)):
            raise ValueError(
                f"{path}: the text of word {index} is {text!r}: expected neither line ends in it "
                "nor blanks around it"
            )
        if word.care and text == dont_care:
            raise ValueError(
                f"{path}: the text of word {index} is {text!r}, which means don't care"
            )
        fields = [np.format_float_positional(value, trim="-") for value in word.quad.reshape(-1)]
        lines.append(",".join(fields if text is None else [*fields, text]) + "\n")
    write_text(path, "".join(lines))


def by_name(path: Path) -> str:
    """Sorts files by name, as `sorted` does: `img_10` before `img_2`.

    Whatever takes part of a folder, to train or to test on, must sort it so: parts that do not
    overlap in one order do in another.
    """
    return path.name


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yields the lines that are not blank, with their numbers."""
    size = check_regular(path)
    if size > MAX_BYTES:
        raise LabelError(path, 0, f"{size} bytes", f"a label file of at most {MAX_BYTES} bytes")
    # Bytes that are not UTF-8 become lone surrogates: the line that holds them is the bad one.
    text = path.read_bytes().decode("utf-8", "surrogateescape")
    for number, line in enumerate(_LINE_END.split(text), 1):
        line = line.lstrip("\ufeff").strip()
        if line:
            yield number, line


def _numbers(fields: Sequence[str]) -> int:
    """Returns how many of the first fields are numbers."""
    count = 0
    for field in fields:
        if not _NUMBER.fullmatch(field):
            break
        count += 1
    return count


def _guess(lines: Sequence[str]) -> str:
    quads = boxes = 0
    for line in lines:
        count = _numbers(line.split(",", 9)[:9])
        if count >= 8:
            quads += 1
        elif count in (4, 5) or _numbers(_BLANKS.split(line, maxsplit=4)[:4]) == 4 > count:
            boxes += 1
    return "box" if boxes > quads else "quad"


def _word(
    path: str | Path,
    number: int,
    line: str,
    layout: str,
    points: int | None,
    dont_care: Sequence[str],
) -> Word:
    escaped = [character for character in line if "\udc80" <= character <= "\udcff"]
    if escaped:
        shown = line.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        raise LabelError(
            path, number, shown, f"UTF-8, but byte 0x{ord(escaped[0]) - 0xDC00:02x} is not"
        )
    text: str | None
    if layout == "box":
        fields = _BLANKS.split(line, maxsplit=4)
        coordinates, rest = fields[:4], fields[4:]
        text = _unquote(rest[0]) if rest else None
        need, expected = 4, _EXPECTED["box"]
    elif layout == "polygon" and points is None:
        outline, mark, after = line.partition(_MARK)
        coordinates = outline.split(",")
        text = after.strip() if mark else None
        need, expected = max(6, len(coordinates) + len(coordinates) % 2), _EXPECTED["polygon"]
    else:
        need = 8 if points is None else 2 * points
        expected = _EXPECTED["quad"] if points is None else f"{need} coordinates and the text"
        fields = line.split(",", need)
        coordinates, rest = fields[:need], fields[need:]
        text = rest[0].strip() if rest else None

    values = []
    for field in coordinates:
        if not _NUMBER.fullmatch(field):
            raise LabelError(path, number, field, f"a coordinate, a decimal number ({expected})")
        value = float(field)
        if abs(value) > MAX_COORDINATE:
            raise LabelError(
                path, number, field, f"a coordinate within +-{MAX_COORDINATE:.0f} pixels"
            )
        values.append(value)
    if len(values) != need:
        raise LabelError(path, number, line, f"{expected}; there are {len(values)} numbers")

    if layout == "box":
        left, top, right, bottom = values
        if right < left or bottom < top:
            raise LabelError(
                path, number, line, "left <= right and top <= bottom (are these width and height?)"
            )
        values = [left, top, right, top, right, bottom, left, bottom]
    corners = np.array(values, np.float32).reshape(-1, 2)
    care = text is None or text not in dont_care
    if len(corners) == 4:
        return Word(corners, text if care else None, care=care)
    return Word(_around(corners), text if care else None, polygon=corners, care=care)


def _unquote(text: str) -> str:
    text = text.strip()
    if len(text) >= 2 and text[0] == text[-1] == '"':
        return re.sub(r'\\(["\\])', r"\1", text[1:-1])
    return text


def _around(polygon: FloatArray) -> FloatArray:
    """Returns the smallest rectangle around, clockwise from near the first point."""
    corners = cv2.boxPoints(cv2.minAreaRect(polygon))
    edges = np.roll(corners, -1, axis=0) - corners
    if edges[0, 0] * edges[1, 1] - edges[0, 1] * edges[1, 0] < 0:
        corners = corners[::-1]
    first = int(((corners - polygon[0]) ** 2).sum(axis=1).argmin())
    return np.roll(corners, -first, axis=0)


def _files(folder: str | Path) -> list[Path]:
    folder = Path(folder)
    if not folder.is_dir():
        raise LabelError(folder, 0, str(folder), "a folder")
    return [path for path in folder.iterdir() if path.is_file()]
