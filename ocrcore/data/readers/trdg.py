"""TextRecognitionDataGenerator's crops: texts in a `labels.txt`, or in the names of the images.

Source: Belval/TextRecognitionDataGenerator, `trdg/run.py` and `trdg/data_generator.py`
(`--name_format` 0: `text_0.jpg`, 1: `0_text.jpg`, 2: `0.jpg` and `labels.txt`).
"""

from __future__ import annotations

import re
from pathlib import Path

from ocrcore.data.readers.crops import Crop
from ocrcore.data.readers.documents import read_text
from ocrcore.files import stays_below
from ocrcore.images import SUFFIXES
from ocrcore.pages import LabelError

TRDG_NAME = "labels.txt"
_MARKS = ("_mask", "_boxes")
_FORMS = tuple(
    re.compile(form, re.DOTALL) for form in (r"(?P<text>.+)_[0-9]+", r"[0-9]+_(?P<text>.+)")
)


def is_trdg(folder: Path) -> bool:
    """Return whether a folder has a `labels.txt` of this form.

    Names like `word_1.jpg` are ambiguous, so texts in names must be requested explicitly.
    """
    if not (folder / TRDG_NAME).is_file():
        return False
    with (folder / TRDG_NAME).open("rb") as file:
        name, blank, _ = file.readline(4096).partition(b" ")
    return bool(blank) and name.lower().endswith(tuple(suffix.encode() for suffix in SUFFIXES))


def _names(folder: Path) -> list[str]:
    found = (path.name for path in folder.iterdir() if path.name.lower().endswith(SUFFIXES))
    return sorted(name for name in found if not Path(name).stem.endswith(_MARKS))


def read_trdg(path: str | Path) -> list[Crop]:
    """Read the crops of a folder, in the order of their names or of `labels.txt`.

    Args:
        path: the folder.

    Raises:
        LabelError: a line without a name and a text, a name that leads out of the folder, or names
            that do not hold their texts in one of the two forms.
        OSError: a file cannot be read.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise LabelError(folder, 0, str(folder), "a folder of TextRecognitionDataGenerator's")
    file = folder / TRDG_NAME
    if file.is_file():
        return _listed(file)
    names = _names(folder)
    fits = [form for form in _FORMS if all(form.fullmatch(Path(name).stem) for name in names)]
    if not names or not fits:
        raise LabelError(
            folder, 0, names[0] if names else "no image", "names like text_0.jpg or 0_text.jpg"
        )
    if len(fits) > 1:
        raise LabelError(
            folder,
            0,
            f"{names[0]}: numbers at both ends of the names",
            "unambiguous names: write a labels.txt with a name, a space and a text on each line",
        )
    found = [(name, fits[0].fullmatch(Path(name).stem)) for name in names]
    return [Crop(str(folder / name), match["text"]) for name, match in found if match]


def _listed(file: Path) -> list[Crop]:
    crops = []
    for number, line in enumerate(read_text(file).split("\n"), 1):
        line = line.removesuffix("\r")
        if not line.strip():
            continue
        name, blank, text = line.partition(" ")
        if not name or not blank or "\0" in name or not stays_below(file.parent, name):
            raise LabelError(file, number, line, "an image name, a space and a text on each line")
        crops.append(Crop(str(file.parent / name), text.strip()))
    return crops
