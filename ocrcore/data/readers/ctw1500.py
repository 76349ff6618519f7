"""CTW1500's training labels, one XML file per image: outlines of 14 points with a text.

Its older labels and those of the test set are text files, which
`ocrcore.data.readers.label_lines` reads (layouts `ctw1500` and `polygon`).

Source: Yuliang-Liu/Curve-Text-Detector, `data/README.md`; open-mmlab/mmocr,
`datasets/preparers/parsers/ctw1500_parser.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element

from ocrcore.data.readers.documents import (
    LabeledPicture,
    corners,
    number,
    outline,
    string,
    word_of,
    words_of,
)
from ocrcore.pages import Word


def read_ctw1500(path: Path, data: Element, notes: Counter[str]) -> Iterator[LabeledPicture]:
    """Read the images of a file; usually there is one.

    Args:
        path: path of the file.
        data: the parsed XML, from `read_xml`.
        notes: counts skipped items, by description.
    """
    for image in data.iter("image"):
        name = image.get("file", "")
        boxes = [box for box in image if box.tag == "box"]
        words, bad = words_of(path, name or path.name, boxes, _word)
        yield LabeledPicture(path, name or path.stem, words, None, bad, other=path.stem)


def _word(box: Element) -> Word:
    label, segs = box.find("label"), box.find("segs")
    # An empty label is an empty text; a missing one is unknown.
    text = None if label is None else string(label.text or "", "label")
    care = text != "###"
    text = text if care else None
    if segs is not None and (segs.text or "").strip():
        points: list[object] = list((segs.text or "").strip().strip(",").split(","))
        return word_of(outline(points, "segs"), text, care=care)
    left, top, wide, high = (
        number(box.get(name), name) for name in ("left", "top", "width", "height")
    )
    return word_of(corners(left, top, left + wide, top + high), text, care=care)
