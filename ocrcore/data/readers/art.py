"""ICDAR 2019 ArT (and LSVT): lists of words by image name, in one JSON file.

Source: open-mmlab/mmocr, `tools/dataset_converters/textdet/art_converter.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ocrcore.data.readers.documents import (
    LabeledPicture,
    mapping,
    outline,
    sequence,
    string,
    word_of,
    words_of,
)
from ocrcore.data.readers.label_lines import LineError
from ocrcore.pages import LabelError, Word


def read_art(path: Path, data: Any, notes: Counter[str]) -> Iterator[LabeledPicture]:
    """Read the images of a `train_labels.json`.

    Args:
        path: path of the file, for error messages.
        data: the parsed JSON, from `read_json`.
        notes: counts skipped items, by description.
    """
    for name, items in (data if isinstance(data, dict) else {}).items():
        place = f"image {name!r}"
        try:
            items = sequence(items, "the words of an image")
        except LineError as fault:
            error = LabelError(path, 0, f"{place}: {fault.value}", fault.expected)
            yield LabeledPicture(path, "", bad=(error,))
            continue
        words, bad = words_of(path, place, items, _word)
        yield LabeledPicture(path, name, words, None, bad, other=name.removeprefix("gt_"))


def _word(item: Any) -> Word:
    item = mapping(item, "a word")
    text = string(item.get("transcription"), "transcription")
    care = not item.get("illegibility") and text != "###"
    language = string(item.get("language"), "language")
    points = outline(item.get("points"))
    return word_of(points, None if text == "###" else text, care=care, language=language or None)
