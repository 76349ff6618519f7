"""Writers of labels in XML and MATLAB files; pages are already adapted to the format."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import numpy as np

from ocrcore.pages import FloatArray, Page
from ocrjax.labels.carry import box_around, is_upright
from ocrjax.labels.text_files import number


def _xml(root: Element) -> bytes:
    ElementTree.indent(root)
    found: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return found + b"\n"


def cvat(pages: Sequence[Page]) -> bytes:
    """Return `annotations.xml` of CVAT for images 1.1; the text is an attribute of label `text`."""
    root = Element("annotations")
    SubElement(root, "version").text = "1.1"
    task = SubElement(SubElement(root, "meta"), "task")
    for name, value in (("name", "words"), ("size", str(len(pages))), ("mode", "annotation")):
        SubElement(task, name).text = value
    label = SubElement(SubElement(task, "labels"), "label")
    SubElement(label, "name").text = "text"
    attributes = SubElement(label, "attributes")
    for name, kind, default in (("text", "text", ""), ("ignore", "checkbox", "false")):
        attribute = SubElement(attributes, "attribute")
        fields = (("name", name), ("mutable", "False"), ("input_type", kind))
        for key, value in (*fields, ("default_value", default), ("values", default)):
            SubElement(attribute, key).text = value
    for place, page in enumerate(pages):
        image = SubElement(
            root,
            "image",
            id=str(place),
            name=PurePosixPath(str(page.path)).name,
            width=str(page.width),
            height=str(page.height),
        )
        for word in page.words:
            shared = {"label": "text", "source": "manual", "occluded": "0", "z_order": "0"}
            if word.polygon is None and is_upright(word.quad):
                (left, top), (right, bottom) = word.quad[[0, 2]]
                sides = zip(("xtl", "ytl", "xbr", "ybr"), (left, top, right, bottom), strict=True)
                shape = SubElement(image, "box", shared | {k: number(v) for k, v in sides})
            else:
                points = ";".join(f"{number(x)},{number(y)}" for x, y in word.outline)
                shape = SubElement(image, "polygon", shared | {"points": points})
            if word.text is not None:
                SubElement(shape, "attribute", name="text").text = word.text
            SubElement(shape, "attribute", name="ignore").text = "false" if word.care else "true"
    return _xml(root)


def ctw1500_xml(page: Page) -> bytes:
    """Return CTW1500's training labels of one image."""
    root = Element("Annotations")
    image = SubElement(root, "image", file=PurePosixPath(str(page.path)).name)
    for word in page.words:
        (left, top), (right, bottom) = box_around(word.outline)[[0, 2]]
        sides = {"left": left, "top": top, "width": right - left, "height": bottom - top}
        box = SubElement(image, "box", {name: number(value) for name, value in sides.items()})
        SubElement(box, "label").text = word.text if word.care else "###"
        SubElement(box, "segs").text = ",".join(number(value) for value in word.outline.ravel())
    return _xml(root)


def _mat(variables: dict[str, Any]) -> bytes:
    from scipy.io import savemat

    file = io.BytesIO()
    savemat(file, variables, do_compression=True)
    return file.getvalue()


def total_text_mat(page: Page) -> bytes:
    """Return Total-Text's MATLAB file of one image."""
    cells = np.empty((len(page.words), 6), object)
    for place, word in enumerate(page.words):
        curved = word.polygon is not None
        kind = "c" if curved else "h" if is_upright(word.quad) else "m"
        x, y = word.outline.T.astype(np.float64)
        text = word.text if word.care else "#"
        row = ("x:", x[None], "y:", y[None], text, kind if word.care else "#")
        for column, value in enumerate(row):
            cells[place, column] = value
    return _mat({"polygt": cells})


def synthtext(pages: Sequence[Page]) -> bytes:
    """Return SynthText's `gt.mat`: words, characters and texts of all images."""
    cells = {
        name: np.empty((1, len(pages)), object) for name in ("imnames", "wordBB", "charBB", "txt")
    }
    for place, page in enumerate(pages):
        cells["imnames"][0, place] = np.array([str(page.path)])
        cells["wordBB"][0, place] = _boxes([word.quad for word in page.words])
        cells["charBB"][0, place] = _boxes(
            [
                one.quad
                for word in page.words
                for one in word.characters
                for _ in one.text  # a box for each code point
            ]
        )
        texts = [" ".join(word.text or "" for word in line) for line in page.lines]
        longest = max(map(len, texts), default=1)
        cells["txt"][0, place] = np.array([text.ljust(longest) for text in texts])
    return _mat(cells)


def _boxes(quads: Sequence[FloatArray]) -> np.ndarray:
    """`(2, 4, N)`, x and y of four corners."""
    if not quads:
        return np.zeros((2, 4, 0), np.float32)
    return np.stack(quads, axis=2).transpose(1, 0, 2)
