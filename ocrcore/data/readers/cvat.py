"""CVAT's XML, "CVAT for images 1.1": boxes, rotated about their center, and polygons in pixels.

The text of a word is one of its attributes. CVAT's ICDAR exports are text files, which
`ocrcore.data.readers.label_lines` reads (layout `quoted`).

Source: open-edge-platform/datumaro, `plugins/data_formats/cvat/base.py`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element

from ocrcore.data.readers.documents import (
    LabeledPicture,
    cares,
    corners,
    is_ignored,
    number,
    outline,
    size_of,
    text_in,
    turned_corners,
    word_of,
    words_of,
)
from ocrcore.data.readers.label_lines import LineError
from ocrcore.pages import LabelError, Word

_SHAPES = ("box", "polygon")
_OTHERS = ("polyline", "points", "mask", "ellipse", "cuboid", "skeleton")


def read_cvat(path: Path, data: Element, notes: Counter[str]) -> Iterator[LabeledPicture]:
    """Read the images of a CVAT export.

    Args:
        path: path of the file, for error messages.
        data: the parsed XML, from `read_xml`.
        notes: counts skipped items, by description.

    Raises:
        LabelError: the export is of a video.
    """
    if data.find("track") is not None:
        raise LabelError(
            path, 0, "<track>", "labels of images: export as 'CVAT for images 1.1', not for video"
        )
    for image in data.iter("image"):
        name = image.get("name", "")
        place = f"image {name!r}"
        shapes = [shape for shape in image if shape.tag in _SHAPES]
        for shape in image:
            if shape.tag in _OTHERS:
                notes[f"shapes of type {shape.tag} skipped"] += 1
        words, bad = words_of(path, place, shapes, _word)
        try:
            size = size_of(image.get("height"), image.get("width"))
        except LineError as fault:
            error = LabelError(path, 0, f"{place}: {fault.value}", fault.expected)
            yield LabeledPicture(path, name, words, None, (*bad, error))
            continue
        yield LabeledPicture(path, name, words, size, bad)


def _word(shape: Element) -> Word:
    attributes = {one.get("name", ""): (one.text or "") for one in shape.iter("attribute")}
    if shape.tag == "box":
        left, top, right, bottom = (
            number(shape.get(name), name) for name in ("xtl", "ytl", "xbr", "ybr")
        )
        angle = number(shape.get("rotation", "0"), "rotation")
        points = corners(left, top, right, bottom)
        if angle:
            points = turned_corners(
                (left, top), (right - left, bottom - top), math.radians(angle), center=True
            )
    else:
        pairs = [pair.split(",") for pair in shape.get("points", "").split(";")]
        points = outline(pairs, "points of a polygon")
    care = cares(attributes) and not is_ignored(shape.get("label"))
    return word_of(points, text_in(attributes), care=care)
