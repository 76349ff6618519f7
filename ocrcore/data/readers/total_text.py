"""Total-Text's MATLAB files, one per image: rows of x, y, the text and the orientation.

Its text files are read by `ocrcore.data.readers.label_lines` (layout `total-text`).

Source: cs-chan/Total-Text-Dataset, `Groundtruth/Text/README.md` and
`Evaluation_Protocol/Examples/Groundtruth/poly_gt_img1.mat`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ocrcore.data.readers.documents import LabeledPicture, outline, word_of, words_of
from ocrcore.data.readers.label_lines import LineError
from ocrcore.data.readers.mat import Cells, read_cells
from ocrcore.pages import LabelError, Word

VARIABLES = ("polygt", "gt")
PREFIXES = ("poly_gt_", "gt_", "")
_COLUMNS = 6
_MOST = 10_000  # maximum number of words in an image


def read_total_text(path: Path, data: None, notes: Counter[str]) -> Iterator[LabeledPicture]:
    """Read the file of one image.

    Args:
        path: path of the file.
        data: unused; the file is read here.
        notes: counts skipped items, by description.

    Raises:
        LabelError: not such a file.
    """
    cells = _cells(path)
    count = len(cells) // _COLUMNS
    stem = path.stem
    name = next(stem.removeprefix(one) for one in PREFIXES if stem.startswith(one))
    rows = []
    for place in range(count):
        try:
            row = [cells[place + count * column] for column in range(_COLUMNS)]
        except LabelError as error:
            yield LabeledPicture(path, name, bad=(error,))
            return
        numbers = isinstance(row[1], np.ndarray) and row[1].size
        if numbers and row[1].size < 3 and _text(row[5]) == "#":
            notes["outlines of one or two points marked don't care skipped"] += 1
        else:
            rows.append(row)
    words, bad = words_of(path, path.name, rows, _word)
    yield LabeledPicture(path, name, words, None, bad)


def _cells(path: Path) -> Cells:
    found = read_cells(path, VARIABLES)
    cells = next((found[name] for name in VARIABLES if name in found), None)
    if cells is None:
        raise LabelError(path, 0, f"no {' or '.join(VARIABLES)} in it", "a file of Total-Text")
    shape = cells.shape
    if len(cells) and (len(shape) != 2 or shape[1] != _COLUMNS or shape[0] > _MOST):
        raise LabelError(path, 0, f"{cells.name} of shape {shape}", "rows of six cells")
    return cells


def _text(cell: Any) -> str:
    return cell[0] if isinstance(cell, list) and len(cell) == 1 else ""


def _word(row: list[Any]) -> Word:
    axes = []
    for cell in (row[1], row[3]):
        if not isinstance(cell, np.ndarray):
            raise LineError(str(cell)[:100], "numbers: x in column 2 and y in column 4")
        axes.append(cell.reshape(-1, order="F").tolist())
    if len(axes[0]) != len(axes[1]):
        raise LineError(f"{len(axes[0])} x, {len(axes[1])} y", "as many x as y")
    text, orientation = _text(row[4]), _text(row[5])
    care = orientation != "#" and text != "#"
    points = outline([list(point) for point in zip(*axes, strict=True)])
    return word_of(points, text if care else None, care=care)
