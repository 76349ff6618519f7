"""docTR's labels: polygons by image name for detection, texts for recognition.

Source: mindee/doctr, `doctr/datasets/detection.py`, `recognition.py` and `ocr.py`,
`references/detection/README.md`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ocrcore.data.readers.crops import Crop
from ocrcore.data.readers.documents import (
    LabeledPicture,
    corners,
    is_ignored,
    mapping,
    number,
    outline,
    read_json,
    sequence,
    shown,
    string,
    word_of,
    words_of,
)
from ocrcore.data.readers.label_lines import LineError
from ocrcore.files import stays_below
from ocrcore.pages import LabelError, Word

DOCTR_NAME = "labels.json"


def read_doctr(path: Path, data: Any, notes: Counter[str]) -> Iterator[LabeledPicture]:
    """Read the images of a `labels.json` for detection, or with `typed_words`.

    Args:
        path: path of the file, for error messages.
        data: the parsed JSON, from `read_json`.
        notes: counts skipped items, by description.
    """
    for name, entry in (data if isinstance(data, dict) else {}).items():
        place = f"image {name!r}"
        try:
            entry = mapping(entry, "an image of docTR")
            if "typed_words" in entry:
                items: list[Any] = sequence(entry["typed_words"], "typed_words")
                words, bad = words_of(path, place, items, _typed_word)
            else:
                polygons = entry.get("polygons")
                groups = polygons if isinstance(polygons, dict) else {"": polygons}
                items = [
                    (one, is_ignored(kind))
                    for kind, rows in groups.items()
                    for one in sequence(rows, "polygons")
                ]
                words, bad = words_of(path, place, items, _word)
        except LineError as fault:
            error = LabelError(path, 0, f"{place}: {fault.value}", fault.expected)
            yield LabeledPicture(path, "", bad=(error,))
            continue
        yield LabeledPicture(path, name, words, None, bad)


def _word(item: tuple[Any, bool]) -> Word:
    return word_of(outline(item[0], "a polygon"), None, care=not item[1])


def _typed_word(item: Any) -> Word:
    item = mapping(item, "a word")
    numbers = [number(one, "geometry") for one in sequence(item.get("geometry"), "geometry")]
    if len(numbers) != 4:
        raise LineError(shown(numbers), "left, top, right and bottom")
    return word_of(corners(*numbers), string(item.get("value"), "value"))


def read_doctr_crops(path: Path) -> list[Crop]:
    """Read a `labels.json` for recognition: texts by image name; images are in `images`.

    Raises:
        LabelError: not such a file, or a name leads out of the folder.
        OSError: the file cannot be read.
    """
    data = read_json(path)
    if not isinstance(data, dict):
        raise LabelError(path, 0, shown(data), "an object of texts by image name")
    folder = path.parent / "images" if (path.parent / "images").is_dir() else path.parent
    crops = []
    for name, text in data.items():
        try:
            found = string(text, "the text of an image")
        except LineError as fault:
            raise LabelError(path, 0, f"{name}: {fault.value}", fault.expected) from fault
        if found is None or not name or "\0" in name or not stays_below(folder, name):
            raise LabelError(path, 0, f"{name}: {shown(text)}", "a path below it and a text")
        crops.append(Crop(str(folder / name), found))
    return crops
