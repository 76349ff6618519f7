"""Pages as hOCR and as ALTO.

hOCR 1.2 (HTML with boxes in attributes) is the format of tesseract and OCRmyPDF; ALTO 4.4 (XML,
Library of Congress) is what libraries and archives keep. Both hold paragraphs, lines and words with
axis-aligned boxes in pixels, and the characters of words whose boxes are known. Rotated words also
have their outline, in ALTO rotated characters as well.

Host code: no jax.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from xml.etree import ElementTree

import numpy as np

from ocrcore.pages import Character, FloatArray, Page, Word

ALTO = "http://www.loc.gov/standards/alto/ns-v4#"
# Characters that XML 1.0 does not allow, and lone surrogates of file names that are not UTF-8.
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

Box = tuple[int, int, int, int]


def to_hocr(pages: Sequence[Page], *, title: str = "", software: str = "ocrjax") -> str:
    """Return the pages of one file as hOCR, an XHTML document.

    Args:
        pages: in order.
        title: title of the document.
        software: name and version of the program.
    """
    words = [word for page in pages for word in page.words]
    out = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        '<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN" '
        '"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">',
        '<html xmlns="http://www.w3.org/1999/xhtml">',
        f"<head><title>{_html(title)}</title>",
        '<meta http-equiv="Content-Type" content="text/html;charset=utf-8"/>',
        f'<meta name="ocr-system" content="{_html(software)}"/>',
        '<meta name="ocr-capabilities" content="ocr_page ocr_carea ocr_par ocr_line ocrx_word'
        f'{" ocrx_cinfo" if any(map(_characters, words)) else ""}"/>',
        "</head>\n<body>",
    ]
    for number, page in enumerate(pages, 1):
        name = f"page_{number}"
        path = (page.path or "").replace("\\", "\\\\").replace('"', '\\"')
        image = f'image "{path}"; ' if path else ""
        where = f"{image}bbox 0 0 {page.width} {page.height}; ppageno {(page.number or number) - 1}"
        out.append(f'<div class="ocr_page" id="{name}" title="{_html(where)}">')
        line_number = word_number = 0
        for block, lines in enumerate(page.paragraphs, 1):
            where = _bbox(page, [word for line in lines for word in line])
            out.append(f' <div class="ocr_carea" id="block_{number}_{block}" title="{where}">')
            out.append(f'  <p class="ocr_par" id="par_{number}_{block}" title="{where}">')
            for line in lines:
                line_number += 1
                angle = -_degrees(line)
                where = _bbox(page, line) + (f"; textangle {angle:.2f}" if abs(angle) > 1 else "")
                out.append(
                    f'   <span class="ocr_line" id="line_{number}_{line_number}" title="{where}">'
                )
                for word in line:
                    word_number += 1
                    where = _bbox(page, [word])
                    if not _upright(word):
                        where += "; poly " + " ".join(f"{v:.1f}" for v in _outline(word).flat)
                    if word.confidence is not None:
                        where += f"; x_wconf {round(100 * word.confidence)}"
                    text = "".join(
                        f'<span class="ocrx_cinfo" title="{_cinfo(page, character)}">'
                        f"{_html(character.text)}</span>"
                        for character in _characters(word)
                    )
                    out.append(
                        f'    <span class="ocrx_word" id="word_{number}_{word_number}" '
                        f'title="{where}">{text or _html(word.text or "")}</span>'
                    )
                out.append("   </span>")
            out.append("  </p>\n </div>")
        out.append("</div>")
    return "\n".join([*out, "</body>\n</html>\n"])


def to_alto(pages: Sequence[Page], *, name: str = "", software: tuple[str, str]) -> str:
    """Return the pages of one file as ALTO 4.4.

    Args:
        pages: in order.
        name: name of the image file.
        software: name and version of the program.
    """
    root = ElementTree.Element("alto", {"xmlns": ALTO, "SCHEMAVERSION": "4.4"})
    description = _inside(root, "Description")
    _inside(description, "MeasurementUnit").text = "pixel"
    _inside(_inside(description, "sourceImageInformation"), "fileName").text = _xml(name)
    processing = _inside(_inside(description, "Processing", ID="ocr"), "processingSoftware")
    _inside(processing, "softwareName").text, _inside(processing, "softwareVersion").text = software
    layout = _inside(root, "Layout")
    for number, page in enumerate(pages, 1):
        height, width = str(page.height), str(page.width)
        sheet = _inside(
            layout,
            "Page",
            ID=f"page_{number}",
            PHYSICAL_IMG_NR=str(page.number or number),
            HEIGHT=height,
            WIDTH=width,
        )
        space = _inside(sheet, "PrintSpace", HPOS="0", VPOS="0", WIDTH=width, HEIGHT=height)
        line_number = word_number = 0
        for block, lines in enumerate(page.paragraphs, 1):
            place = _place(page, [word for line in lines for word in line])
            paragraph = _inside(space, "TextBlock", ID=f"block_{number}_{block}", **place)
            for line in lines:
                line_number += 1
                place = _place(page, line)
                row = _inside(paragraph, "TextLine", ID=f"line_{number}_{line_number}", **place)
                for index, word in enumerate(line):
                    word_number += 1
                    if index:
                        _inside(row, "SP")
                    string = _inside(
                        row,
                        "String",
                        ID=f"word_{number}_{word_number}",
                        CONTENT=_xml(word.text or ""),
                        **_place(page, [word]),
                    )
                    if word.confidence is not None:
                        string.set("WC", f"{word.confidence:.4f}")
                    _shape(string, word)
                    characters = _characters(word)
                    if any(len(character.text) > 1 for character in characters):
                        continue  # a Glyph holds one code point
                    for character in characters:
                        content = _xml(character.text)
                        place = _place(page, [character])
                        glyph = _inside(string, "Glyph", CONTENT=content, **place)
                        if character.confidence is not None:
                            glyph.set("GC", f"{character.confidence:.4f}")
                        _shape(glyph, character)
    ElementTree.indent(root, " ")
    text = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


def _inside(element: ElementTree.Element, tag: str, **attributes: str) -> ElementTree.Element:
    return ElementTree.SubElement(element, tag, attributes)


def _shape(element: ElementTree.Element, item: Word | Character) -> None:
    if not _upright(item):
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in _outline(item))
        _inside(_inside(element, "Shape"), "Polygon", POINTS=points)


def _characters(word: Word) -> Sequence[Character]:
    """The characters of a word if they make up its text, else none."""
    whole = "".join(character.text for character in word.characters) == word.text
    return word.characters if whole else ()


def _cinfo(page: Page, character: Character) -> str:
    """The title of a character, as tesseract writes it."""
    where = "x_bboxes " + " ".join(map(str, _box(page, [character])))
    if character.confidence is not None:
        where += f"; x_conf {100 * character.confidence:.2f}"
    return where


def _outline(item: Word | Character) -> FloatArray:
    return item.outline if isinstance(item, Word) else item.quad


def _box(page: Page, items: Sequence[Word | Character]) -> Box:
    """Left, top, right and bottom in whole pixels, clipped to the page."""
    points = np.concatenate([_outline(item) for item in items])
    low, high = np.floor(points.min(axis=0)), np.ceil(points.max(axis=0))
    size = page.width, page.height
    left, top = (int(min(max(value, 0), side)) for value, side in zip(low, size, strict=True))
    right, bottom = (int(min(max(value, 0), side)) for value, side in zip(high, size, strict=True))
    return left, top, right, bottom


def _bbox(page: Page, words: Sequence[Word]) -> str:
    return "bbox " + " ".join(map(str, _box(page, words)))


def _place(page: Page, items: Sequence[Word | Character]) -> dict[str, str]:
    left, top, right, bottom = _box(page, items)
    values = {"HPOS": left, "VPOS": top, "WIDTH": right - left, "HEIGHT": bottom - top}
    return {name: str(value) for name, value in values.items()}


def _upright(item: Word | Character) -> bool:
    """Whether the item equals its axis-aligned box, so that no outline is needed."""
    if isinstance(item, Word) and item.polygon is not None:
        return False
    (left, top), (right, bottom) = item.quad[0], item.quad[2]
    box = np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
    return bool(right > left and bottom > top and np.abs(item.quad - box).max() <= 1)


def _degrees(words: Sequence[Word]) -> float:
    """The clockwise rotation of a line in degrees, in (-180, 180]."""
    along = sum(word.quad[1] - word.quad[0] + word.quad[2] - word.quad[3] for word in words)
    return float(np.degrees(np.arctan2(along[1], along[0])))


def _xml(text: str) -> str:
    return _NO_XML.sub("\ufffd", text)


def _html(text: str) -> str:
    return escape(_xml(text))
