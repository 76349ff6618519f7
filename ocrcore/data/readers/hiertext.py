"""HierText: paragraphs of lines of words, in one JSON object, compressed by gzip.

Source: google-research-datasets/hiertext, README.md, "Annotations".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ocrcore.data.readers.documents import (
    LabeledPicture,
    mapping,
    outline,
    sequence,
    size_of,
    string,
    word_of,
    words_of,
)
from ocrcore.data.readers.label_lines import LineError
from ocrcore.pages import LabelError, Word


def read_hiertext(path: Path, data: Any, notes: Counter[str]) -> Iterator[LabeledPicture]:
    """Read the images of a split.

    Args:
        path: path of the file, for error messages.
        data: the parsed JSON, from `read_json`.
        notes: counts skipped items, by description.
    """
    data = data if isinstance(data, dict) else {}
    entries = data.get("annotations")
    for count, entry in enumerate(entries if isinstance(entries, list) else [], 1):
        place = f"image {count}"
        try:
            entry = mapping(entry, "an image of HierText")
            name = string(entry.get("image_id"), "image_id") or ""
            place = f"image {name!r}"
            size = size_of(entry.get("image_height"), entry.get("image_width"))
            items = list(_items(entry))
        except LineError as fault:
            error = LabelError(path, 0, f"{place}: {fault.value}", fault.expected)
            yield LabeledPicture(path, "", bad=(error,))
            continue
        words, bad = words_of(path, place, items, _word)
        yield LabeledPicture(path, name, words, size, bad)


def _items(entry: Mapping[str, Any]) -> Iterator[tuple[Any, int, int]]:
    """Yield words with the numbers of their lines and paragraphs."""
    line = 0
    for place, paragraph in enumerate(sequence(entry.get("paragraphs"), "paragraphs")):
        lines = mapping(paragraph, "a paragraph").get("lines")
        for one in sequence(lines, "the lines of a paragraph"):
            for word in sequence(mapping(one, "a line").get("words"), "the words of a line"):
                yield word, line, place
            line += 1


def _word(item: tuple[Any, int, int]) -> Word:
    word, line, paragraph = mapping(item[0], "a word"), item[1], item[2]
    text = string(word.get("text"), "text")
    care = word.get("legible", True) is not False
    points = outline(word.get("vertices"), "vertices")
    text = text if care or text else None
    return word_of(points, text, care=care, line=line, paragraph=paragraph)
