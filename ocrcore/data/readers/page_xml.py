"""PAGE XML: regions, lines and words, as written by Transkribus and Aletheia; read only.

A line without words is read as one word.

Source: PRImA-Research-Lab/PAGE-XML, `PAGE-release/gts/pagecontent/2019-07-15/pagecontent.xsd`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element

from ocrcore.data.readers.documents import (
    LabeledPicture,
    number,
    outline,
    size_of,
    string,
    word_of,
    words_of,
)
from ocrcore.data.readers.label_lines import LineError
from ocrcore.pages import LabelError, Word


def read_page_xml(path: Path, data: Element, notes: Counter[str]) -> Iterator[LabeledPicture]:
    """Read the page of a PAGE XML file.

    Args:
        path: path of the file.
        data: the parsed XML, from `read_xml`.
        notes: counts skipped items, by description.
    """
    for page in data.iter("Page"):
        items: list[tuple[Element, int, int]] = []
        line = 0
        for paragraph, region in enumerate(page.iter("TextRegion")):
            for one in region.findall("TextLine"):
                inside = one.findall("Word")
                if not inside:
                    notes["lines without words, read as one word"] += 1
                items += [(word, line, paragraph) for word in inside or [one]]
                line += 1
        words, bad = words_of(path, path.name, items, _word)
        size = None
        try:
            size = size_of(page.get("imageHeight"), page.get("imageWidth"))
        except LineError as fault:
            bad = (*bad, LabelError(path, 0, fault.value, fault.expected))
        name = page.get("imageFilename", "")
        yield LabeledPicture(path, name, words, size, bad, other=path.stem)


def _word(item: tuple[Element, int, int]) -> Word:
    element, line, paragraph = item
    coords = element.find("Coords")
    if coords is None:
        raise LineError(f"a {element.tag} without Coords", "Coords with points")
    pairs: list[object]
    if coords.get("points") is not None:
        pairs = [pair.split(",") for pair in coords.get("points", "").split()]
    else:  # versions up to 2010
        pairs = [[point.get("x"), point.get("y")] for point in coords.findall("Point")]
    equivalents = sorted(element.findall("TextEquiv"), key=_rank)
    text: str | None = None
    confidence = None
    if equivalents:
        text = string(equivalents[0].findtext("Unicode") or "", "Unicode")
        share = equivalents[0].get("conf")
        confidence = None if share is None else min(max(number(share, "conf"), 0.0), 1.0)
    points = outline(pairs, "Coords")
    return word_of(points, text, line=line, paragraph=paragraph, confidence=confidence)


def _rank(equivalent: Element) -> int:
    """Return the rank of an alternative reading of a word; the lowest counts."""
    index = equivalent.get("index", "0")
    return int(index) if index.isascii() and index.isdecimal() and len(index) < 9 else 0
