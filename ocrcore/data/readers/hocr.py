"""hOCR: words of pages in HTML, as written by Tesseract and others; read only.

Source: kba/hocr-spec, `1.2/spec.md` (`ocr_page`, `ocr_line`, `ocrx_word`; properties `bbox`,
`poly`, `image`, `ppageno`, `x_wconf`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ocrcore.data.readers.documents import (
    HtmlElements,
    LabeledPicture,
    corners,
    number,
    outline,
    word_of,
    words_of,
)
from ocrcore.data.readers.label_lines import LineError
from ocrcore.pages import LabelError, Word

_PROPERTY = re.compile(r"""(?:"[^"]*"|'[^']*'|[^;])+""")  # a file name may hold a semicolon
_LINES = frozenset(("ocr_line", "ocr_header", "ocr_footer", "ocr_caption", "ocr_textfloat"))


@dataclass(slots=True)
class _Element:
    kind: str
    properties: Mapping[str, str]
    text: str
    line: int | None = None
    paragraph: int | None = None


@dataclass(slots=True)
class _Page:
    properties: Mapping[str, str]
    words: list[_Element] = field(default_factory=list)
    lines: list[_Element] = field(default_factory=list)


def read_hocr(path: Path, data: str, notes: Counter[str]) -> Iterator[LabeledPicture]:
    """Read the pages of a file; if it has no words, its lines are read.

    Args:
        path: path of the file.
        data: its text.
        notes: counts skipped items, by description.

    Raises:
        LabelError: elements are nested too deeply.
    """
    try:
        found = HtmlElements(data).found
    except LineError as fault:
        raise LabelError(path, 0, fault.value, fault.expected) from fault
    except AssertionError as error:  # raised by html.parser for invalid markup
        raise LabelError(path, 0, str(error), "HTML") from error
    pages = _pages(found)
    for count, page in enumerate(pages, 1):
        name = page.properties.get("image", "").strip("\"'")
        items = page.words or page.lines
        words, bad = words_of(path, f"page {count}", items, _word)
        box = page.properties.get("bbox", "").split()
        size = None
        if len(box) == 4 and all(one.isdecimal() and len(one) < 7 for one in box):
            left, top, right, bottom = map(int, box)
            size = (bottom, right) if not left and not top and right and bottom else None
        first = pages[0].properties.get("image", "").strip("\"'")
        place = count if len(pages) > 1 and name == first else None
        yield LabeledPicture(path, name, words, size, bad, other=path.stem, number=place)


def _pages(elements: list[list[Any]]) -> list[_Page]:
    pages: list[_Page] = []
    line = paragraph = -1
    known = {"line": False, "paragraph": False}
    for _, attributes, parts, _ in elements:
        kinds = attributes.get("class", "").split()
        properties = _properties(attributes.get("title", ""))
        if "ocr_page" in kinds:
            pages.append(_Page(properties))
            line = paragraph = -1
            known = {"line": False, "paragraph": False}
        elif not pages:
            continue
        elif "ocr_par" in kinds:
            paragraph += 1
            known["paragraph"] = True
        elif _LINES.intersection(kinds):
            line += 1
            known["line"] = True
            text = " ".join("".join(parts).split())
            pages[-1].lines.append(_Element("line", properties, text))
        elif "ocrx_word" in kinds or "ocr_word" in kinds:
            text = " ".join("".join(parts).split())
            word = _Element("word", properties, text)
            word.line = line if known["line"] else None
            word.paragraph = paragraph if known["paragraph"] else None
            pages[-1].words.append(word)
    return pages


def _properties(title: str) -> dict[str, str]:
    """Parse the properties in a title: `bbox 1 2 3 4; x_wconf 90`."""
    found: dict[str, str] = {}
    for match in _PROPERTY.finditer(title[:10_000]):
        name, _, value = match[0].strip().partition(" ")
        if name:
            found.setdefault(name, value.strip())
    return found


def _word(element: _Element) -> Word:
    poly: list[object] = [*element.properties.get("poly", "").split()]
    fields = element.properties.get("bbox", "").split()
    if len(fields) != 4 and not poly:
        raise LineError(element.properties.get("bbox", "no bbox"), "bbox left top right bottom")
    points = outline(poly, "poly") if poly else corners(*[number(one, "bbox") for one in fields])
    confidence = None
    if "x_wconf" in element.properties:
        share = number(element.properties["x_wconf"], "x_wconf") / 100
        confidence = min(max(share, 0.0), 1.0)
    return word_of(
        points,
        element.text,
        confidence=confidence,
        line=element.line,
        paragraph=element.paragraph,
    )
