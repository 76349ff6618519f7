r"""Labels in text files, one word per line, as the ICDAR competitions distribute them.

`ocrcore.data.readers.label_lines` documents the form of a line: corners and a text, a box, a
polygon, and extra columns between. White space around fields, blank lines, a byte order mark and
any line endings are accepted; white space around the text is stripped. The text may be missing,
including its separator: then it is unknown (None). An empty text is a text.

Corners are kept as they are written. Boxes without area, self-intersecting quads and
counterclockwise corners are therefore accepted, because the scoring protocols define how to handle
them; `ocrcore.geometry.quad_faults` detects them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ocrcore.data.readers.label_files import LabelFiles, file_layout, read_words
from ocrcore.files import write_text
from ocrcore.images import image_size
from ocrcore.pages import LabelError, Page, Word

DONT_CARE = ("###",)

_LINE_END = re.compile(r"[\r\n]")


def read_icdar(
    path: str | Path,
    *,
    layout: str = "auto",
    dont_care: Sequence[str] = DONT_CARE,
    bad: list[LabelError] | None = None,
) -> list[Word]:
    """Read the words of one label file.

    Args:
        path: path of the file.
        layout: one of `ocrcore.data.readers.label_lines.LAYOUTS`. "auto" detects it from the lines
            of this file; a whole folder is more reliable (`read_icdar_folder`).
        dont_care: texts that mark a word as "don't care": it gets `care=False` and no text. Empty
            texts do not, unless `""` is among these.
        bad: if given, errors of malformed lines are appended to this list and the lines left out;
            otherwise the first one is raised.

    Returns:
        One word for each line. An outline that does not have four points becomes the word's
        `polygon`; its quad is then the minimum-area rectangle around it.

    Raises:
        LabelError: a malformed line; names the file, the line, the value and what was expected.
        OSError: the file cannot be read.
        ValueError: an unknown layout.
    """
    if isinstance(dont_care, str):
        dont_care = (dont_care,)
    try:
        return read_words(path, file_layout(path, layout), dont_care=dont_care, bad=bad)
    except LabelError as error:
        if bad is None:
            raise
        bad.append(error)
        return []


def read_icdar_folder(
    images: str | Path,
    labels: str | Path,
    *,
    missing_label: str = "error",
    missing_image: str = "error",
    layout: str = "auto",
    dont_care: Sequence[str] = DONT_CARE,
    bad: list[LabelError] | None = None,
) -> list[Page]:
    """Read a folder of images with their label files.

    Only the headers of the images are read. How label files are matched to images is documented
    in `ocrcore.data.readers.label_files`.

    Args:
        images: folder of the images; subfolders are not read.
        labels: folder of the label files; may be the same.
        missing_label: what to do with an image without label file: `error`, `skip`, or `empty`
            (treat it as a page without words).
        missing_image: what to do with a label file without image: `error` or `skip`.
        layout: one of `ocrcore.data.readers.label_lines.LAYOUTS`; "auto" detects it from all files.
        dont_care: as for `read_icdar`.
        bad: as for `read_icdar`.

    Returns:
        The pages, sorted by the name of the image: `img_10` before `img_2`.

    Raises:
        LabelError: a malformed line; an image or label file without counterpart, or with two;
            lines that can be read in more than one way.
        ImageError: a file is not an image.
    """
    if missing_label not in ("error", "skip", "empty"):
        raise ValueError(f"missing_label={missing_label!r}: expected error, skip or empty")
    if missing_image not in ("error", "skip"):
        raise ValueError(f"missing_image={missing_image!r}: expected error or skip")
    files = LabelFiles(images, labels, layout=layout)
    if missing_image == "error" and files.lonely:
        path = files.lonely[0]
        raise LabelError(
            path,
            0,
            path.name,
            f"an image of this name in {images} ({len(files.lonely)} such files; "
            "missing_image='skip' leaves them out)",
        )
    found = {picture: files.label(picture) for picture in files.pictures}
    lost = [picture for picture, label in found.items() if label is None]
    if missing_label == "error" and lost:
        stem = lost[0].stem
        raise LabelError(
            lost[0],
            0,
            lost[0].name,
            f"a label file gt_{stem}.txt, {stem}.txt or res_{stem}.txt in {labels} ({len(lost)} "
            "such images; missing_label='skip' leaves them out, 'empty' treats them as images "
            "without words)",
        )
    pages = []
    for picture, label in found.items():
        if label is None and missing_label == "skip":
            continue
        words: list[Word] = []
        if label is not None:
            words = read_words(label, files.layout, dont_care=dont_care, bad=bad)
        height, width = image_size(picture)
        pages.append(Page(height, width, tuple(words), str(picture)))
    return pages


def write_icdar(path: str | Path, page: Page, *, dont_care: str = DONT_CARE[0]) -> None:
    """Write the words of a page in the layout `quad`, atomically.

    `read_icdar(path, layout="quad")` returns equal quads, texts and `care`. Other attributes of the
    words, and the text of "don't care" words, are not written.

    Args:
        path: the file to write.
        page: the page with the words.
        dont_care: the text to write for words with `care=False`.

    Raises:
        ValueError: a word would not be read back correctly: its text has line breaks or white space
            around it, or means "don't care", or the word has a polygon
            (`ocrcore.pages.write_pages` keeps those).
    """
    path = Path(path)
    lines = []
    for index, word in enumerate(page.words):
        if word.polygon is not None:
            raise ValueError(f"{path}: word {index} has a polygon, which this layout cannot hold")
        text = word.text if word.care else dont_care
        if text is not None and (text != text.strip() or _LINE_END.search(text)):
            raise ValueError(
                f"{path}: the text of word {index} is {text!r}: expected no line breaks in it and "
                "no white space around it"
            )
        if word.care and text == dont_care:
            raise ValueError(
                f"{path}: the text of word {index} is {text!r}, which means don't care"
            )
        fields = [np.format_float_positional(value, trim="-") for value in word.quad.reshape(-1)]
        lines.append(",".join(fields if text is None else [*fields, text]) + "\n")
    write_text(path, "".join(lines))
