r"""PaddleOCR's and PPOCRLabel's `Label.txt`: a path, a tab and a JSON list, one image per line.

The texts "###" and "*", and `difficult`, mark words as "don't care".

Source: PFCCLab/PPOCRLabel, README.md 2.1 and `PPOCRLabel.py`.
"""

from __future__ import annotations

import json
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

MARKS = ("###", "*")


def read_ppocr(path: Path, data: str, notes: Counter[str]) -> Iterator[LabeledPicture]:
    """Read the lines of a `Label.txt`.

    Args:
        path: path of the file, for error messages.
        data: its text.
        notes: counts skipped items, by description.
    """
    for line, text in enumerate(data.split("\n"), 1):
        if not text.strip():
            continue
        name, tab, tail = text.strip("\r").partition("\t")
        try:
            if not tab or not name.strip():
                raise LineError(text[:100], "a path, a tab and a list of words")
            items = sequence(json.loads(tail), "the words of an image")
        except LineError as fault:
            yield LabeledPicture(path, "", bad=(LabelError(path, line, *fault.args),))
            continue
        except (ValueError, RecursionError) as error:
            fault_ = LabelError(path, line, tail, f"a list of words in JSON ({error})")
            yield LabeledPicture(path, "", bad=(fault_,))
            continue
        words, bad = words_of(path, name, items, _word, line=line)
        yield LabeledPicture(path, name.strip(), words, None, bad)


def _word(item: Any) -> Word:
    item = mapping(item, "a word")
    text = string(item.get("transcription"), "transcription")
    care = not item.get("difficult") and text not in MARKS
    return word_of(outline(item.get("points")), None if text in MARKS else text, care=care)
