"""ALTO: words of pages in XML, as written by libraries and OCR programs; read only.

Source: altoxml/schema, `v4/alto-4-4.xsd` (`String@CONTENT`, `HPOS`, `VPOS`, `WIDTH`, `HEIGHT`,
`WC`, `Shape/Polygon@POINTS`, `MeasurementUnit`, `sourceImageInformation/fileName`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element

from ocrcore.data.readers.documents import (
    LabeledPicture,
    corners,
    number,
    outline,
    size_of,
    string,
    word_of,
    words_of,
)
from ocrcore.data.readers.label_lines import LineError
from ocrcore.pages import LabelError, Word


def read_alto(path: Path, data: Element, notes: Counter[str]) -> Iterator[LabeledPicture]:
    """Read the pages of an ALTO file.

    Args:
        path: path of the file.
        data: the parsed XML, from `read_xml`.
        notes: counts skipped items, by description.

    Raises:
        LabelError: coordinates are not in pixels.
    """
    unit = (data.findtext(".//MeasurementUnit") or "pixel").strip()
    if unit != "pixel":
        raise LabelError(
            path, 0, f"MeasurementUnit {unit}", "pixel: export the file again in pixels"
        )
    name = (data.findtext(".//sourceImageInformation/fileName") or "").strip()
    pages = list(data.iter("Page"))
    for count, page in enumerate(pages, 1):
        items = [
            (word, line)
            for line, one in enumerate(page.iter("TextLine"))
            for word in one.iter("String")
        ]
        words, bad = words_of(path, f"page {count}", items, _word)
        size = None
        try:
            size = size_of(page.get("HEIGHT"), page.get("WIDTH"))
        except LineError:
            notes["pages whose size cannot be read"] += 1
        number_ = count if len(pages) > 1 else None
        yield LabeledPicture(path, name, words, size, bad, other=path.stem, number=number_)


def _word(item: tuple[Element, int]) -> Word:
    word, line = item
    text = string(word.get("CONTENT"), "CONTENT")
    share = word.get("WC")
    confidence = None if share is None else min(max(number(share, "WC"), 0.0), 1.0)
    polygon = word.find("Shape/Polygon")
    if polygon is not None:
        fields: list[object] = [
            one for one in re.split(r"[\s,]+", polygon.get("POINTS", "")) if one
        ]
        points = outline(fields, "POINTS")
    else:
        left, top, wide, high = (
            number(word.get(name), name) for name in ("HPOS", "VPOS", "WIDTH", "HEIGHT")
        )
        points = corners(left, top, left + wide, top + high)
    return word_of(points, text, line=line, confidence=confidence)
