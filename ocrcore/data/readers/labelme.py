"""labelme's files, one JSON file per image: rectangles, rotated rectangles and polygons.

The text of a word is its description. If no shape of a file has one, it is the label, unless that
names a kind of object ("text", "word").

Source: wkentaro/labelme, `labelme/_label_file.py` and `_shape.py`.
"""

from __future__ import annotations

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
    word_of,
    words_of,
)
from ocrcore.data.readers.label_lines import LineError
from ocrcore.pages import LabelError, Word

_KINDS = frozenset(("text", "word", "words", "line", "textline", "text_line", "ocr", "label"))
_SHAPES = ("polygon", "rectangle", "oriented_rectangle")


def read_labelme(path: Path, data: Any, notes: Counter[str]) -> Iterator[LabeledPicture]:
    """Read the file of one image.

    Args:
        path: path of the file.
        data: the parsed JSON, from `read_json`.
        notes: counts skipped items, by description.
    """
    stem = path.name.removesuffix(".json")
    try:
        data = mapping(data, "a file of labelme")
        shapes = [mapping(one, "a shape") for one in sequence(data.get("shapes"), "shapes")]
        name = string(data.get("imagePath"), "imagePath") or stem
        size = size_of(data.get("imageHeight"), data.get("imageWidth"))
    except LineError as fault:
        error = LabelError(path, 0, fault.value, fault.expected)
        yield LabeledPicture(path, "", bad=(error,), other=stem)
        return
    kept = []
    for shape in shapes:
        if (kind := shape.get("shape_type", "polygon")) in _SHAPES:
            kept.append(shape)
        else:
            notes[f"shapes of type {shown(kind)} skipped"] += 1
    described = any(shape.get("description") for shape in kept)
    words, bad = words_of(path, path.name, kept, lambda shape: _word(shape, described))
    yield LabeledPicture(path, name, words, size, bad, other=stem)


def _word(shape: Mapping[str, Any], described: bool) -> Word:
    points = shape.get("points")
    if shape.get("shape_type") == "rectangle":
        pair = sequence(points, "points of a rectangle")
        if len(pair) == 2:
            numbers = [
                number(one, "a corner") for row in pair for one in sequence(row, "a corner [x, y]")
            ]
            if len(numbers) != 4:
                raise LineError(shown(pair), "two corners [x, y]")
            box = corners(*numbers)
        else:  # older files hold all four corners
            box = outline(pair, "points of a rectangle")
    else:
        box = outline(points)
    label = string(shape.get("label"), "the label of a shape")
    flags = shape.get("flags")
    care = cares(flags if isinstance(flags, dict) else {}) and not is_ignored(label)
    if described:
        text = string(shape.get("description"), "the description of a shape") or None
    else:
        text = None if is_ignored(label) or (label or "").lower() in _KINDS else label
    return word_of(box, text, care=care)
