"""COCO-Text v2 and TextOCR: one JSON file of `imgs` and `anns`.

COCO-Text stores the outline as `mask`, and has `legibility`. TextOCR stores the outline as
`points`, clockwise from the top left of the text, and uses "." as the text of illegible words. Both
have `bbox` as x, y, width and height.

Source: open-mmlab/mmocr, `dataset_zoo/cocotextv2/sample_anno.md`, `textocr/sample_anno.md` and
`datasets/preparers/parsers/coco_parser.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ocrcore.data.readers.documents import (
    LabeledPicture,
    corners,
    mapping,
    number,
    outline,
    sequence,
    shown,
    size_of,
    string,
    word_of,
    words_of,
)
from ocrcore.data.readers.label_lines import LineError
from ocrcore.pages import FloatArray, LabelError, Word


def read_coco_text(path: Path, data: Any, notes: Counter[str]) -> Iterator[LabeledPicture]:
    """Read the images of COCO-Text.

    Args:
        path: path of the file, for error messages.
        data: the parsed JSON, from `read_json`.
        notes: counts skipped items, by description.
    """
    yield from _read(path, data, notes, "mask")


def read_textocr(path: Path, data: Any, notes: Counter[str]) -> Iterator[LabeledPicture]:
    """Read the images of TextOCR; the arguments are those of `read_coco_text`."""
    yield from _read(path, data, notes, "points")


def _read(path: Path, data: Any, notes: Counter[str], field: str) -> Iterator[LabeledPicture]:
    data = data if isinstance(data, dict) else {}
    images, words = data.get("imgs"), data.get("anns")
    images = images if isinstance(images, dict) else {}
    by_image: dict[str, list[Any]] = {}
    for item in (words if isinstance(words, dict) else {}).values():
        key = str(item.get("image_id")) if isinstance(item, dict) else ""
        if key not in images:
            notes["words that belong to no image of the file skipped"] += 1
            continue
        by_image.setdefault(key, []).append(item)
    for key, entry in images.items():
        place = f"image {key}"
        try:
            entry = mapping(entry, "an image")
            name = string(entry.get("file_name", entry.get("filename")), "file_name") or key
            size = size_of(entry.get("height"), entry.get("width"))
        except LineError as fault:
            error = LabelError(path, 0, f"{place}: {fault.value}", fault.expected)
            yield LabeledPicture(path, "", bad=(error,))
            continue
        found, bad = words_of(path, place, by_image.get(key, []), lambda one: _word(one, field))
        yield LabeledPicture(path, name, found, size, bad)


def _word(item: Mapping[str, Any], field: str) -> Word:
    text = string(item.get("utf8_string"), "utf8_string")
    language = string(item.get("language"), "language")
    care = item.get("legibility", "legible") != "illegible"
    if field == "points" and text == ".":
        text, care = None, False
    return word_of(_points(item, field), text, care=care, language=language or None)


def _points(item: Mapping[str, Any], field: str) -> FloatArray:
    points = item.get(field)
    if isinstance(points, list) and len(points) > 5:
        return outline(points, field)
    box = [number(one, "bbox") for one in sequence(item.get("bbox"), "bbox")]
    if len(box) != 4:
        raise LineError(shown(box), "x, y, width and height")
    return corners(box[0], box[1], box[0] + box[2], box[1] + box[3])
