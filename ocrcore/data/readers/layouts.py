r"""Detects the layout of lines of word labels, from all lines of a folder.

Most layouts begin with numbers, and what follows them may be a text, a column before the text, or
more numbers. A single line is ambiguous; all lines of a folder together nearly never are:
`find_layout`. What remains ambiguous is rejected with an error that names the layouts to choose
from (`LAYOUTS`). Pure functions: other formats of labels take lines, or bytes, and return words in
the same way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from ocrcore.data.readers.label_lines import (
    CURVE,
    EXPECTED,
    LAYOUTS,
    MARK,
    NUMBER,
    SCRIPTS,
    LabelLine,
    Layout,
    LineError,
    coordinate_count,
    fits_offsets,
    fits_turned,
    form_of,
    is_quoted,
    outline_count,
    scan,
)

# Fractions of all lines above which a column is believed, or is too frequent to ignore.
_MOST, _HALF, _FEW = 0.9, 0.5, 0.02
_COLUMN = 4  # lines needed to tell a column with few values from texts that happen to be alike
_FLAGS = 10  # the same for lines that end in 0 or 1, which may be texts of one digit
_QUOTED = 3


_NAMED = {
    "quad": Layout("quad"),
    "box": Layout("box", "box", "box"),
    "polygon": Layout("polygon", "polygon", "polygon", marked=True),
    "quoted": Layout("quoted", "polygon", "box", quoted=True),
    "mlt": Layout("mlt", extra="script"),
    "rctw": Layout("rctw", extra="flag", quoted=True),
    "td500": Layout("td500", extra="difficulty"),
    "msra-td500": Layout("msra-td500", "turned", "turned"),
    "ctw1500": Layout("ctw1500", "offsets", "offsets"),
    "total-text": Layout("total-text", "curve", "curve"),
}


LAYOUT_NAMES = f"{', '.join(LAYOUTS)}, polygon:N"
"""Names for messages."""


def is_layout(name: str) -> bool:
    """Return whether `named_layout` knows a name."""
    base, _, count = name.partition(":")
    points = base == "polygon" and count.isascii() and count.isdecimal() and 2 < int(count) < 1000
    return name in LAYOUTS or points


def named_layout(name: str) -> Layout | None:
    """Return the layout with this name; None for "auto".

    Raises:
        ValueError: an unknown name.
    """
    if not is_layout(name):
        raise ValueError(f"unknown layout {name!r}, expected one of {LAYOUT_NAMES}")
    base, colon, count = name.partition(":")
    layout = _NAMED.get(base)
    return replace(layout, points=int(count)) if layout and colon else layout


def find_layout(lines: Iterable[str]) -> Layout:
    """Detect the layout of a folder from all lines of its label files, without blank lines.

    Raises:
        LineError: the lines can be read in more than one way, or have an unsupported form.
    """
    curves, scanned = 0, []
    for text in lines:
        if CURVE.match(text):
            curves += 1
        elif len((line := scan(text)).numbers) >= 4:
            scanned.append(line)
    if curves and not scanned:
        return replace(_NAMED["total-text"], found=True)
    for name, fits in (("msra-td500", fits_turned), ("ctw1500", fits_offsets)):
        if scanned and all(map(fits, scanned)):
            return replace(_NAMED[name], found=True)
    commas = [line for line in scanned if line.separator != " "]
    blanks = [line for line in scanned if line.separator == " "]
    _refuse_others(blanks)
    form = _form(commas or blanks)
    layout = Layout("quad", form, _form(blanks) if blanks else form, found=True)
    counted = [(line, coordinate_count(line, layout)) for line in scanned]
    rests = [(line, n, line.rest(n)) for line, n in counted if len(line.numbers) >= n]
    texts = [(line, rest) for line, _, rest in rests if rest is not None]
    polygons = [rest is not None for _, n, rest in rests if n > 8]
    layout = replace(layout, texts=sum(polygons) > _HALF * len(polygons))
    marked = [rest for _, rest in texts if rest.startswith(MARK)]
    if len(marked) >= _HALF * len(texts) and any(rest != MARK for rest in marked):
        layout = replace(layout, marked=True)
        texts = [(line, rest.removeprefix(MARK)) for line, rest in texts]
    extra = _extra([(line, rest) for line, rest in texts if form_of(line, layout) == "quad"])
    layout = replace(layout, extra=extra)
    if extra in ("script", "flag"):
        texts = [(line, rest.partition(line.separator)[2].strip()) for line, rest in texts]
    elif not extra:
        _refuse_columns(texts)
    if extra != "difficulty":
        layout = _with_quotes(texts, layout)
    return replace(layout, name=_name(layout))


def _name(layout: Layout) -> str:
    forms = {layout.commas, layout.blanks}
    if layout.extra:
        return {"script": "mlt", "flag": "rctw", "difficulty": "td500"}[layout.extra]
    if forms == {"box"}:
        return "box"
    if layout.quoted:
        return "quoted"
    return "polygon" if forms & {"polygon", "each"} else "quad"


def _refuse_others(blanks: Sequence[LabelLine]) -> None:
    """Reject lines that consist only of numbers whose first four are not a box."""
    counts = {len(line.numbers) if line.ends[-1] < 0 else 0 for line in blanks}
    if counts == {7}:
        raise LineError(
            blanks[0].text,
            f"{EXPECTED['quad']}; seven numbers can be MSRA-TD500's own form (index, difficulty, "
            "x, y, width, height, angle in radians), but these are not",
        )
    shares = [[float(number) for number in line.numbers[1:]] for line in blanks]
    if counts == {5} and all(0 <= share <= 1 for line in shares for share in line):
        raise LineError(
            blanks[0].text,
            f"{EXPECTED['quad']}; these are classes and fractions of the image size, as in YOLO "
            "files, which hold no texts",
        )


def _form(lines: Sequence[LabelLine]) -> str:
    """Return what lines with one kind of separator begin with."""
    boxes = sum(len(line.numbers) in (4, 5) for line in lines)
    quads = [line for line in lines if len(line.numbers) >= 8]
    if boxes > len(quads):
        return "box"
    if quads and all(len(line.numbers) > 8 and line.numbers[8] in ("0", "1") for line in quads):
        return "quad"  # flags
    long = [outline_count(line) for line in quads if len(line.numbers) >= 10]
    points = sum(count > 8 for count in long)
    if points and points >= _HALF * len(quads) and 8 not in long:
        return "polygon"
    if points:
        return "each"
    sure = len(long) < len(quads) or set(long) <= {8}
    return "quad" if sure else "each"


def _extra(texts: Sequence[tuple[LabelLine, str]]) -> str:
    """Detect a column before the texts of quads."""
    count = len(texts)
    columns = [rest.partition(line.separator) for line, rest in texts]
    scripts = [head for head, comma, _ in columns if comma and head.strip().lower() in SCRIPTS]
    if scripts and len(scripts) >= _HALF * count:
        return "script"
    if len(scripts) > _FEW * count:
        raise LineError(
            f"{len(scripts):,} of {count:,} texts begin with the name of a script ({scripts[0]!r})",
            "all or none: layout=mlt reads x1,y1,...,x4,y4,script,text and rejects other lines; "
            "layout=quad reads all that follows the coordinates as text",
        )
    flags = [tail for head, comma, tail in columns if comma and head.strip() in ("0", "1")]
    wrapped = bool(flags) and all(is_quoted(tail) for tail in flags)
    numeric = all(NUMBER.fullmatch(tail) for tail in flags)
    if flags and len(flags) == count and (wrapped or (count >= _COLUMN and not numeric)):
        return "flag"
    if flags and len(flags) >= _MOST * count and (count >= _COLUMN or not numeric):
        raise LineError(
            f"{len(flags):,} of {count:,} texts begin with 0 or 1 and a comma",
            "a choice: layout=rctw reads x1,y1,...,x4,y4,flag,text; layout=quad reads all that "
            "follows the coordinates as text",
        )
    bare = [rest for _, rest in texts if rest in ("0", "1")]
    if bare and len(bare) == count >= _FLAGS:
        return "difficulty"
    if bare and len(bare) >= _MOST * count:
        raise LineError(
            f"{len(bare):,} of {count:,} texts are 0 or 1",
            "a choice: layout=td500 reads them as difficulty flags (there are no texts then); "
            "layout=quad as texts",
        )
    return ""


def _refuse_columns(texts: Sequence[tuple[LabelLine, str]]) -> None:
    """Reject texts that all seem to have another column before or after them."""
    split = [(line, rest) for line, rest in texts if line.separator in rest]
    if len(split) < max(_COLUMN, _MOST * len(texts)):
        return
    split = [(line, rest) for line, rest in split if not is_quoted(rest)]
    for what, column in (
        ("begin", [rest.partition(line.separator)[0].strip() for line, rest in split]),
        ("end", [rest.rpartition(line.separator)[2].strip() for line, rest in split]),
    ):
        few = len(set(column)) <= max(1, len(column) // _COLUMN)
        if len(column) >= _COLUMN and (few or all(map(NUMBER.fullmatch, column))):
            shown = ", ".join(map(repr, list(dict.fromkeys(column))[:3]))
            raise LineError(
                f"{len(column):,} of {len(texts):,} texts {what} with one of {len(set(column)):,} "
                f"values and a comma, tab or space ({shown})",
                "only the text after the coordinates: this seems to be another column; remove it, "
                "or set layout=quad (or box, polygon) to read it as part of the text",
            )


def _with_quotes(texts: Sequence[tuple[LabelLine, str]], layout: Layout) -> Layout:
    """Detect whether quotes around the texts belong to the layout."""
    there = [(line, rest) for line, rest in texts if rest]
    wrapped = [rest for _, rest in there if is_quoted(rest)]
    boxes = all(form_of(line, layout) == "box" for line, _ in there)
    if not wrapped:
        return layout
    if len(wrapped) == len(there) and len({rest[0] for rest in wrapped}) == 1:
        double = wrapped[0][0] == '"'
        if len(wrapped) >= _QUOTED or layout.extra == "flag" or (boxes and double):
            return replace(layout, quoted=True)
        raise LineError(
            f"all {len(wrapped)} texts are in quotes ({wrapped[0]})",
            "more lines to decide, or a choice: layout=quoted removes the quotes; layout=quad "
            "keeps them as part of the text",
        )
    needy = [rest for line, rest in there if line.separator in rest or '""' in rest]
    if needy and wrapped == needy:
        raise LineError(
            f"{len(wrapped):,} of {len(there):,} texts are in quotes, exactly those that contain a "
            f"separator ({wrapped[0]})",
            "a choice: layout=quoted removes the quotes, as spreadsheet programs write them; "
            "layout=quad keeps them as part of the text",
        )
    return replace(layout, box_quotes=False)


def joined_lines(lines: Iterable[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """Join the wrapped lines of Total-Text's lists; all other lines stay as they are.

    Args:
        lines: lines of one file, stripped, with their numbers.
    """
    held: tuple[int, str] | None = None
    for number, line in lines:
        if held and not CURVE.match(line) and not _whole(held[1]):
            held = held[0], f"{held[1]} {line}"
            continue
        if held:
            yield held
            held = None
        if CURVE.match(line):
            held = number, line
        else:
            yield number, line
    if held:
        yield held


def _whole(curve: str) -> bool:
    return curve.endswith("]") and "transcriptions" in curve
