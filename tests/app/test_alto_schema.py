"""ALTO files against the rules of ALTO's schema, version 4.4, for the elements that are written.

The rules are those of `v4/alto-4-4.xsd` of the repository altoxml/schema, by the names of its
types. No validator of XML schemas is among the dependencies, so they are said here once more.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocrcore.pages import Character, Page, Word
from ocrcore.reading_order import arrange
from ocrjax.page_files import ALTO, to_alto


def is_float(value):
    return re.fullmatch(r"[-+]?\d+(\.\d+)?([eE][-+]?\d+)?", value)


def is_share(value):  # WCType, and the type of GC
    return is_float(value) and 0 <= float(value) <= 1


def is_id(value):  # xsd:ID is an NCName
    return re.fullmatch(r"[A-Za-z_][\w.-]*", value)


def is_one_character(value):  # CONTENT of GlyphType: xsd:length 1
    return len(value) == 1


def is_text(value):
    return True


PLACE = dict.fromkeys(("HEIGHT", "WIDTH", "HPOS", "VPOS"), is_float)
# Of each element: its children in order, as a regular expression over their names; the attributes
# that it must have, and those that it may have.
RULES = {
    # altoType: a sequence of Description?, Styles?, Tags?, ReadingOrder?, Layout
    "alto": ("(Description )?Layout ", {}, {"SCHEMAVERSION": is_text}),
    # DescriptionType: MeasurementUnit, sourceImageInformation?, OCRProcessing*, Processing*
    "Description": ("MeasurementUnit (sourceImageInformation )?(Processing )*", {}, {}),
    "MeasurementUnit": ("", {}, {}),  # MeasurementUnitType: pixel, mm10 or inch1200
    "sourceImageInformation": ("(fileName )?", {}, {}),
    "fileName": ("", {}, {}),
    # processingStepType, and its extension in DescriptionType, which has an ID
    "Processing": ("(processingSoftware )?", {"ID": is_id}, {}),
    "processingSoftware": ("(softwareName )?(softwareVersion )?", {}, {}),
    "softwareName": ("", {}, {}),
    "softwareVersion": ("", {}, {}),
    "Layout": ("(Page )+", {}, {}),  # LayoutType
    # PageType: margins, then PrintSpace?; PHYSICAL_IMG_NR is an xsd:float
    "Page": (
        "(PrintSpace )?",
        {"ID": is_id, "PHYSICAL_IMG_NR": is_float},
        {"HEIGHT": is_float, "WIDTH": is_float},
    ),
    "PrintSpace": ("(Shape )?(TextBlock )*", {}, {"ID": is_id, **PLACE}),  # PageSpaceType
    "TextBlock": ("(Shape )?(TextLine )*", {"ID": is_id}, PLACE),  # BlockType, TextBlockType
    # In TextBlockType; the second part says that no two SP follow each other, nor one is first
    "TextLine": ("(Shape )?(String (SP )?)+", {}, {"ID": is_id, **PLACE}),
    "SP": ("", {}, {"ID": is_id, **PLACE}),  # SPType
    "String": (  # StringType: Shape?, ALTERNATIVE*, Glyph*
        "(Shape )?(Glyph )*",
        {"CONTENT": is_text},
        {"ID": is_id, "WC": is_share, **PLACE},
    ),
    "Glyph": ("(Shape )?", {"CONTENT": is_one_character}, {"GC": is_share, **PLACE}),  # GlyphType
    "Shape": ("Polygon ", {}, {}),  # ShapeType: a choice of one
    "Polygon": ("", {"POINTS": is_text}, {}),  # PolygonType
}


def faults(text):
    """What breaks the rules; raises on what is no XML."""
    root = ElementTree.fromstring(text.encode())
    out = [] if root.tag == f"{{{ALTO}}}alto" else [f"the root is {root.tag}"]
    ids = [one.get("ID") for one in root.iter() if "ID" in one.attrib]
    if len(set(ids)) < len(ids):
        out.append("an ID twice")
    for one in root.iter():
        name = one.tag.removeprefix(f"{{{ALTO}}}")
        if name not in RULES:
            out.append(f"an element {name}")
            continue
        pattern, needed, allowed = RULES[name]
        children = "".join(child.tag.removeprefix(f"{{{ALTO}}}") + " " for child in one)
        if not re.fullmatch(pattern, children):
            out.append(f"{name} holds {children}")
        if children and (one.text or "").strip():
            out.append(f"{name} holds text")
        if missing := needed.keys() - one.attrib.keys():
            out.append(f"{name} lacks {missing}")
        known = {**needed, **allowed}
        for attribute, value in one.attrib.items():
            if attribute not in known or not known[attribute](value):
                out.append(f"{name} has {attribute}={value!r}")
    unit = root.findtext(f"{{{ALTO}}}Description/{{{ALTO}}}MeasurementUnit")
    return out + ([] if unit == "pixel" else [f"unit {unit}"])


POINTS = st.tuples(st.floats(-50, 700, width=32), st.floats(-50, 500, width=32))
QUADS = st.lists(POINTS, min_size=4, max_size=4)
SHARES = st.none() | st.floats(0, 1)


@st.composite
def words(draw):
    text = draw(st.none() | st.text(max_size=6))
    characters = [
        Character(part, draw(QUADS), draw(SHARES)) for part in text or "" if draw(st.booleans())
    ]
    polygon = draw(st.none() | st.lists(POINTS, min_size=3, max_size=6))
    quad, confidence = draw(QUADS), draw(SHARES)
    return Word(quad, text, polygon, characters=tuple(characters), confidence=confidence)


@given(st.lists(st.lists(words(), max_size=5), min_size=1, max_size=3), st.text(max_size=5))
def test_whatever_is_on_the_pages_the_file_keeps_to_the_schema(pages, name):
    made = [arrange(Page(400, 600, tuple(page))) for page in pages]
    assert faults(to_alto(made, name=name, software=("ocrjax", "1"))) == []


@pytest.mark.parametrize(
    ("right", "wrong", "fault"),
    [
        ('CONTENT="b"', 'CONTENT="bc"', "Glyph has CONTENT='bc'"),
        ('GC="0.5000"', 'GC="1.5000"', "Glyph has GC='1.5000'"),
        ('ID="word_1_1" ', 'ID="page_1" ', "an ID twice"),
        ("<SP />", "<SP /><SP />", "TextLine holds String SP SP String "),
        (' PHYSICAL_IMG_NR="1"', "", "Page lacks {'PHYSICAL_IMG_NR'}"),
        ('HPOS="0"', 'HPOS="left"', "PrintSpace has HPOS='left'"),
        ("pixel", "point", "unit point"),
        ("Layout>", "Body>", "an element Body"),
    ],
)
def test_the_rules_find_what_is_wrong(right, wrong, fault):
    def word(text, left):
        corners = [(left, 0), (left + 20, 0), (left + 20, 9), (left, 9)]
        part = (Character(text, corners, 0.5),)
        return Word(corners, text, characters=part, confidence=0.5)

    page = arrange(Page(40, 90, (word("a", 0), word("b", 25))))
    text = to_alto([page], software=("ocrjax", "1"))
    assert faults(text) == []
    assert right in text
    assert fault in faults(text.replace(right, wrong))
