"""Datumaro's own JSON: boxes and polygons in pixels, the text in their attributes.

Source: open-edge-platform/datumaro, `plugins/data_formats/datumaro/base.py` and `exporter.py`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ocrcore.data.readers.documents import (
    LabeledPicture,
    cares,
    corners,
    is_ignored,
    mapping,
    number,
    outline,
    sequence,
    shown,
    size_of,
    string,
    text_in,
    turned_corners,
    word_of,
    words_of,
)
from ocrcore.data.readers.label_lines import LineError
from ocrcore.pages import FloatArray, LabelError, Word


def read_datumaro(path: Path, data: Any, notes: Counter[str]) -> Iterator[LabeledPicture]:
    """Read the items of a Datumaro subset.

    Args:
        path: path of the file, for error messages.
        data: the parsed JSON, from `read_json`.
        notes: counts skipped items, by description.
    """
    data = data if isinstance(data, dict) else {}
    labels = _labels(data)
    items = data.get("items")
    for count, item in enumerate(items if isinstance(items, list) else [], 1):
        place = f"item {count}"
        try:
            item = mapping(item, "an item of Datumaro")
            name = string(item.get("id"), "the id of an item") or ""
            place = f"item {name!r}"
            image = mapping(item.get("image") or {}, "the image of an item")
            size = image.get("size")
            height, width = size if isinstance(size, list) and len(size) == 2 else (None, None)
            known = size_of(height, width)
            found = string(image.get("path"), "the path of an image") or name
            shapes = sequence(item.get("annotations") or [], "annotations")
            shapes = [mapping(one, "an annotation") for one in shapes]
        except LineError as fault:
            error = LabelError(path, 0, f"{place}: {fault.value}", fault.expected)
            yield LabeledPicture(path, "", bad=(error,))
            continue
        kept = []
        for shape in shapes:
            if shape.get("type") in ("bbox", "polygon", "rotated_bbox"):
                kept.append(shape)
            else:
                notes[f"annotations of type {shown(shape.get('type'))} skipped"] += 1
        words, bad = words_of(path, place, kept, lambda shape: _word(shape, labels))
        yield LabeledPicture(path, found, words, known, bad, other=name)


def _labels(data: Mapping[str, Any]) -> list[Any]:
    found: Any = data
    for key in ("categories", "label", "labels"):
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, list) else []


def _word(shape: Mapping[str, Any], labels: list[Any]) -> Word:
    attributes = shape.get("attributes")
    attributes = attributes if isinstance(attributes, dict) else {}
    label = shape.get("label_id")
    name = labels[label] if isinstance(label, int) and 0 <= label < len(labels) else None
    care = cares(attributes) and not is_ignored(name.get("name") if isinstance(name, dict) else "")
    return word_of(_points(shape), text_in(attributes), care=care)


def _points(shape: Mapping[str, Any]) -> FloatArray:
    if shape["type"] == "polygon":
        return outline(shape.get("points"))
    turned = shape["type"] == "rotated_bbox"
    rows = sequence(shape.get("points" if turned else "bbox"), "the numbers of a box")
    numbers = [number(one, "a number of a box") for one in rows]
    if turned and len(numbers) == 5:
        x, y, wide, high, angle = numbers
        corner = x - wide / 2, y - high / 2
        return turned_corners(corner, (wide, high), math.radians(angle), center=True)
    if turned or len(numbers) != 4:
        raise LineError(shown(rows), "x, y, width and height of a box")
    x, y, wide, high = numbers
    return corners(x, y, x + wide, y + high)
