"""Read pages as hOCR, ALTO and searchable PDF, read back by other programs' means."""

from __future__ import annotations

import sys
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from ocrcore.pages import Character, Page, Word
from ocrcore.reading_order import arrange
from ocrjax.page_files import ALTO, to_alto, to_hocr
from ocrjax.pdf import write_pdf

HTML = "{http://www.w3.org/1999/xhtml}"


def word(text, left, top, *, degrees=0.0, confidence=0.9):
    turn = np.radians(degrees)
    matrix = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    box = np.array([(0, 0), (12 * len(text), 0), (12 * len(text), 20), (0, 20)], float)
    return Word(box @ matrix + (left, top), text, confidence=confidence)


def with_characters(word, texts):
    """A word cut into parts of one width."""
    left, right = word.quad[[0, 3]], word.quad[[1, 2]]
    ends = [left + (right - left) * place / len(texts) for place in range(len(texts) + 1)]
    characters = [
        Character(text, np.stack([a[0], b[0], b[1], a[1]]), 0.25)
        for text, a, b in zip(texts, ends, ends[1:], strict=False)
    ]
    return replace(word, characters=tuple(characters))


@pytest.fixture
def page():
    words = [
        word('"a" <b>', 20, 30),
        word("& c", 115, 30, confidence=0.456),
        word("next", 20, 56),
        word("far\x07", 200, 300),
        word("slant", 300, 120, degrees=12),
    ]
    return arrange(Page(400, 600, tuple(words), 'odd "name".png'))


def test_hocr(page):
    text = to_hocr([page, Page(7, 9, number=3)], title="odd & <old>", software="ocrjax 1")
    root = ElementTree.fromstring(text)
    assert root.findtext(f"{HTML}head/{HTML}title") == "odd & <old>"
    names = [one.get("id") for one in root.iter() if one.get("id")]
    assert len(set(names)) == len(names)
    by_class: dict[str, list] = {}
    for one in root.iter():
        by_class.setdefault(one.get("class"), []).append(one)
    first, second = by_class["ocr_page"]
    assert first.get("title") == 'image "odd \\"name\\".png"; bbox 0 0 600 400; ppageno 0'
    assert second.get("title") == "bbox 0 0 9 7; ppageno 2" and not list(second)
    assert [len(by_class[name]) for name in ("ocr_carea", "ocr_par", "ocr_line")] == [3, 3, 4]
    words = {one.text: one.get("title") for one in by_class["ocrx_word"]}
    assert list(words) == [one.text.replace("\x07", "\ufffd") for one in page.words]
    assert words["& c"] == "bbox 115 30 151 50; x_wconf 46"
    assert "poly 300.0 120.0 " in words["slant"] and "poly" not in words["next"]
    angles = [one.get("title") for one in by_class["ocr_line"] if "textangle" in one.get("title")]
    assert len(angles) == 1 and angles[0].endswith("textangle -12.00")
    parents = {child: one for one in root.iter() for child in one}
    assert {parents[one].get("class") for one in by_class["ocrx_word"]} == {"ocr_line"}


def test_alto(page):
    text = to_alto([page, Page(7, 9, number=3)], name="odd", software=("ocrjax", "1"))
    root = ElementTree.fromstring(text)
    ns = {"a": ALTO}
    assert root.tag == f"{{{ALTO}}}alto"
    assert [child.tag.rpartition("}")[2] for child in root] == ["Description", "Layout"]
    assert root.findtext("a:Description/a:MeasurementUnit", namespaces=ns) == "pixel"
    ids = [one.get("ID") for one in root.iter() if one.get("ID")]
    assert len(set(ids)) == len(ids)
    first, second = root.findall("a:Layout/a:Page", ns)
    assert (first.get("WIDTH"), first.get("HEIGHT")) == ("600", "400")
    assert second.get("PHYSICAL_IMG_NR") == "3" and not second.findall(".//a:TextBlock", ns)
    lines = first.findall("a:PrintSpace/a:TextBlock/a:TextLine", ns)
    rows = [[one.get("CONTENT", " ") for one in line] for line in lines]
    assert rows == [['"a" <b>', " ", "& c"], ["next"], ["far\ufffd"], ["slant"]]
    string = lines[0].findall("a:String", ns)[1]
    place = {name: string.get(name) for name in ("HPOS", "VPOS", "WIDTH", "HEIGHT", "WC")}
    assert place == {"HPOS": "115", "VPOS": "30", "WIDTH": "36", "HEIGHT": "20", "WC": "0.4560"}
    (shape,) = first.findall(".//a:Shape/a:Polygon", ns)
    assert shape.get("POINTS").startswith("300.0,120.0 ")


def test_characters_in_hocr_and_alto():
    words = [
        with_characters(word("<a b", 20, 30), "<a b"),
        with_characters(word("up", 200, 30, degrees=20), "up"),
        with_characters(word("é\u0328", 20, 90), ["é\u0328"]),  # no single code point for this one
        with_characters(word("other", 20, 130), "text"),  # characters of another text
        word("none", 20, 180),
    ]
    page = Page(400, 600, tuple(words))
    text = to_hocr([page], software="ocrjax 1")
    root = ElementTree.fromstring(text)
    assert 'ocrx_word ocrx_cinfo"' in text and "cinfo" not in to_hocr([Page(4, 6)])
    read = {
        "".join(one.itertext()): [(child.text, child.get("title")) for child in one]
        for one in root.iter()
        if one.get("class") == "ocrx_word"
    }
    assert [*read] == ["<a b", "up", "é\u0328", "other", "none"]
    assert [one for one, _ in read["<a b"]] == ["<", "a", " ", "b"]
    assert read["<a b"][1] == ("a", "x_bboxes 32 30 44 50; x_conf 25.00")
    assert read["é\u0328"] and not read["other"] and not read["none"]

    alto = ElementTree.fromstring(to_alto([page], software=("ocrjax", "1")))
    strings = {one.get("CONTENT"): one for one in alto.iter(f"{{{ALTO}}}String")}
    glyphs = {name: one.findall(f"{{{ALTO}}}Glyph") for name, one in strings.items()}
    assert {name: len(found) for name, found in glyphs.items()} == {
        **{"<a b": 4, "up": 2},
        **dict.fromkeys(("é\u0328", "other", "none"), 0),
    }
    assert glyphs["<a b"][1].attrib == {
        **{"CONTENT": "a", "GC": "0.2500", "HPOS": "32", "VPOS": "30"},
        **{"WIDTH": "12", "HEIGHT": "20"},
    }
    shapes = [one.find(f"{{{ALTO}}}Shape/{{{ALTO}}}Polygon") for one in glyphs["up"]]
    assert shapes[0].get("POINTS").startswith("200.0,30.0 ")
    assert glyphs["<a b"][0].find(f"{{{ALTO}}}Shape") is None


def test_a_searchable_pdf(tmp_path):
    pypdf = pytest.importorskip("pypdf")
    pytest.importorskip("reportlab")
    picture = np.random.default_rng(0).integers(0, 256, (400, 600, 3), np.uint8)
    Image.fromarray(picture).save(tmp_path / "a.jpg", dpi=(300, 300))
    words = [word("Hello,", 20, 30), word("world", 110, 30), word("slant", 300, 200, degrees=12)]
    words.append(word("日本", 20, 300))
    page = arrange(Page(400, 600, tuple(words)))
    out = tmp_path / "a.pdf"
    write_pdf(out, [(tmp_path / "a.jpg", page), (picture, Page(400, 600))], title="a scan")
    reader = pypdf.PdfReader(out)
    assert reader.metadata.title == "a scan"
    first, second = reader.pages
    lines = [line.strip() for line in first.extract_text().splitlines()]
    assert lines == ["Hello, world", "日本", "slant"]
    assert second.extract_text() == ""
    assert [float(value) for value in first.mediabox] == [0, 0, 144, 96]  # 300 dots an inch
    # The JPEG is that of the file, the other picture is kept without loss.
    (stored,) = first["/Resources"]["/XObject"].values()
    assert stored.get_object().get_data() == (tmp_path / "a.jpg").read_bytes()
    np.testing.assert_array_equal(np.asarray(second.images[0].image), picture)
    places = {}

    def visit(text, _, matrix, *rest):
        if text.strip():
            places[text.strip()] = matrix

    first.extract_text(visitor_text=visit)
    # In points from the bottom left: the baseline is a little above the bottom of the quad.
    matrix = places["Hello,"]
    assert matrix[4] == pytest.approx(20 * 0.24)
    assert 96 - 50 * 0.24 < matrix[5] < 96 - 42 * 0.24
    slant = places["slant"]
    assert np.degrees(np.arctan2(slant[1], slant[0])) == pytest.approx(-12, abs=0.01)
    before = out.read_bytes()
    write_pdf(out, [(tmp_path / "a.jpg", page), (picture, Page(400, 600))], title="a scan")
    assert out.read_bytes() == before


def test_without_reportlab_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "reportlab", None)
    with pytest.raises(ImportError, match=r"pip install 'ocrjax\[pdf\]'"):
        write_pdf(tmp_path / "a.pdf", [])
    assert not list(tmp_path.iterdir())
