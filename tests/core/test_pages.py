from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocrcore.pages import Character, Page, PageError, Sample, Word, read_pages, write_pages

QUAD = [[0, 0], [10, 0], [10, 5], [0, 5]]

coordinates = st.floats(-1e6, 1e6, width=32)
quads = st.lists(st.tuples(coordinates, coordinates), min_size=4, max_size=4)
polygons = st.lists(st.tuples(coordinates, coordinates), min_size=3, max_size=14)
characters = st.builds(Character, text=st.text(max_size=3), quad=quads)
words = st.builds(
    Word,
    quad=quads,
    text=st.none() | st.text(max_size=8),
    polygon=st.none() | polygons,
    score=st.none() | st.floats(0, 1),
    care=st.booleans(),
    characters=st.lists(characters, max_size=3),
    line=st.none() | st.integers(0, 9),
)
sizes = st.integers(1, 5000)
pages = st.builds(
    Page,
    height=sizes,
    width=sizes,
    words=st.lists(words, max_size=3),
    path=st.none() | st.text(max_size=9),
)


@given(pages)
def test_json_round_trip(page):
    assert Page.from_json(page.to_json()) == page


def test_file_round_trip(tmp_path):
    some = [Page(4, 5, (Word(QUAD, text="a\nü\u2028"),)), Page(1, 1)]
    write_pages(tmp_path / "x" / "pages.jsonl", some)
    assert read_pages(tmp_path / "x" / "pages.jsonl") == some


def test_a_bad_line_is_named(tmp_path):
    path = tmp_path / "pages.jsonl"
    path.write_text(Page(4, 5).to_json() + '\n{"height": 3}\n')
    with pytest.raises(PageError, match=r"pages\.jsonl:2: a page lacks width"):
        read_pages(path)
    path.write_text("nonsense\n")
    with pytest.raises(PageError, match=r"pages\.jsonl:1: not JSON"):
        read_pages(path)


def test_words_are_immutable():
    quad = np.array(QUAD, np.float64)
    word = Word(quad, text="a")
    quad[0, 0] = 99
    assert word.quad[0, 0] == 0
    assert word.quad.dtype == np.float32
    with pytest.raises(ValueError, match="read-only"):
        word.quad[0, 0] = 1
    with pytest.raises(AttributeError):
        word.text = "b"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"quad": QUAD[:3]}, "has 3 points, expected 4"),
        ({"quad": [1, 2]}, r"shape \(2,\)"),
        ({"quad": "quad"}, "not a list of"),
        ({"quad": [[0, 0], [1, 0], [1, float("nan")], [0, 1]]}, "not a finite number"),
        ({"quad": QUAD, "text": 3}, "expected a string"),
        ({"quad": QUAD, "polygon": QUAD[:2]}, "at least 3"),
        ({"quad": QUAD, "score": float("inf")}, "finite"),
        ({"quad": QUAD, "characters": [{"text": "a"}]}, "a character lacks quad"),
        ({"quad": QUAD, "color": 1}, "unknown fields color"),
        ({"text": "a"}, "a word lacks quad"),
        (7, "expected an object"),
    ],
)
def test_bad_words_are_refused(value, message):
    with pytest.raises(PageError, match=message):
        Word.from_dict(value)


@pytest.mark.parametrize("size", [0, -1, 2.5, True, None])
def test_bad_sizes_are_refused(size):
    with pytest.raises(PageError, match="positive integer"):
        Page(size, 5)


def test_equality_is_by_value():
    word = Word(QUAD, text="a")
    assert word == Word(np.array(QUAD), text="a")
    assert word != Word(QUAD, text="b")
    assert word != Word(QUAD, text="a", polygon=QUAD)
    assert word != "a"


def test_arrays_of_a_page():
    page = Page(9, 9, (Word(QUAD), Word(QUAD, care=False)))
    assert page.quads.shape == (2, 4, 2)
    assert page.care.tolist() == [True, False]
    assert Page(9, 9).quads.shape == (0, 4, 2)


def test_a_sample_checks_its_image():
    image = np.zeros((4, 5, 3), np.uint8)
    assert Sample(image, Page(4, 5)) == Sample(image.copy(), Page(4, 5))
    with pytest.raises(PageError, match="expected uint8"):
        Sample(image, Page(5, 4))
    with pytest.raises(PageError, match="expected uint8"):
        Sample(image.astype(np.float32), Page(4, 5))
