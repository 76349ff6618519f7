from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocrcore.pages import Character, Page, PageError, Sample, Word, read_pages, write_pages

QUAD = [[0, 0], [10, 0], [10, 5], [0, 5]]

coordinates = st.floats(-1e6, 1e6, width=32)
quads = st.lists(st.tuples(coordinates, coordinates), min_size=4, max_size=4)
polygons = st.lists(st.tuples(coordinates, coordinates), min_size=3, max_size=14)
shares = st.none() | st.floats(0, 1)
characters = st.builds(Character, text=st.text(max_size=3), quad=quads, confidence=shares)
words = st.builds(
    Word,
    quad=quads,
    text=st.none() | st.text(max_size=8),
    polygon=st.none() | polygons,
    score=st.none() | st.floats(0, 1),
    care=st.booleans(),
    characters=st.lists(characters, max_size=3),
    line=st.none() | st.integers(0, 9),
    confidence=shares,
    paragraph=st.none() | st.integers(0, 9),
    language=st.none() | st.text(max_size=5),
)
sizes = st.integers(1, 5000)
pages = st.builds(
    Page,
    height=sizes,
    width=sizes,
    words=st.lists(words, max_size=3),
    path=st.none() | st.text(max_size=9),
    number=st.none() | st.integers(1, 9),
    orientation=st.none() | st.floats(0, 360, exclude_max=True),
)


@given(pages)
def test_json_round_trip(page):
    assert Page.from_json(page.to_json()) == page


def test_the_first_form_is_still_read():
    """As 0.1.0 wrote it, with every field that there was."""
    old = {
        "height": 20,
        "width": 30,
        "path": "a.jpg",
        "words": [
            {
                "quad": QUAD,
                "text": "ab",
                "polygon": QUAD,
                "score": 0.5,
                "care": False,
                "characters": [{"text": "a", "quad": QUAD}],
                "line": 2,
            },
            {"quad": QUAD},
        ],
    }
    page = Page.from_json(json.dumps(old))
    assert page.words[0].characters == (Character("a", QUAD),)
    assert page.words[1] == Word(QUAD)
    assert page.to_dict() == old


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
        ({"quad": QUAD, "score": "high"}, "the score of a word is 'high', expected a number"),
        ({"quad": QUAD, "confidence": 85}, r"confidence of a word is 85.0, expected one in \[0, 1"),
        ({"quad": QUAD, "line": -1}, "the line of a word is -1, expected 0 or a positive"),
        ({"quad": QUAD, "paragraph": 0.5}, "the paragraph of a word is 0.5"),
        ({"quad": QUAD, "language": 3}, "language is 3, expected a string"),
        (
            {"quad": QUAD, "characters": [{"text": "a", "quad": QUAD, "confidence": -1}]},
            "confidence of a character is -1",
        ),
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


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ({"number": 0}, "the number of a page is 0, expected a positive integer"),
        ({"orientation": 360}, r"orientation of a page is 360.0, expected degrees in \[0, 360\)"),
        ({"orientation": float("nan")}, "finite"),
        ({"page": 1}, "unknown fields page"),
    ],
)
def test_bad_pages_are_refused(field, message):
    with pytest.raises(PageError, match=message):
        Page.from_dict({"height": 4, "width": 5, **field})


def test_rounding_does_not_spoil_a_confidence():
    assert Word(QUAD, confidence=np.float32(1) + np.float32(1e-6)).confidence == 1


def test_lines_paragraphs_and_text_of_a_page():
    def word(text, line=None, paragraph=None):
        return Word(QUAD, text, line=line, paragraph=paragraph)

    words = [
        word("to", 0, 0),
        word("be", 0, 0),
        word("or", 1, 0),
        word(None, 1, 0),
        word("x", 2, 1),
    ]
    page = Page(9, 9, words)
    assert page.lines == (tuple(words[:2]), tuple(words[2:4]), (words[4],))
    assert page.paragraphs == (page.lines[:2], page.lines[2:])
    assert page.text == "to be\nor\n\nx"
    loose = Page(9, 9, [word("a"), word("b", 3), word("c"), word("d", 3)])
    assert [[w.text for w in line] for line in loose.lines] == [["a"], ["b", "d"], ["c"]]
    assert len(loose.paragraphs) == 1
    assert loose.text == "a\nb d\nc"
    unread = Page(9, 9, [word(None, 0, 0), word("a", 1, 1)])
    assert unread.text == "a"
    assert (Page(9, 9).lines, Page(9, 9).paragraphs, Page(9, 9).text) == ((), (), "")


def test_many_characters_are_made_like_single_ones():
    quads = np.arange(16.0).reshape(2, 4, 2)
    made = Character.many("ab", quads)
    assert made == tuple(Character(text, quad) for text, quad in zip("ab", quads, strict=True))
    quads[:] = 0
    assert made[1].quad[3, 1] == 15 and not made[1].quad.flags.writeable
    assert Character.many([], np.zeros((0, 4, 2))) == ()
    with pytest.raises(PageError, match=r"shape \(2, 4, 2\), expected \(3, 4, 2\)"):
        Character.many("abc", quads)
    with pytest.raises(PageError, match="the quad of character 'b' has a coordinate that is not"):
        Character.many("ab", quads + np.array([0, np.nan])[:, None, None])
    with pytest.raises(PageError, match="text is 7, expected a string"):
        Character.many(["a", 7], quads)


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


def test_words_as_easyocr_gives_them():
    quad = [(0, 0), (8, 0), (8, 4), (0, 4)]
    page = Page(10, 10, (Word(quad, "a b", confidence=0.5), Word(quad)))
    assert page.to_easyocr() == [
        ([list(p) for p in quad], "a b", 0.5),
        ([list(p) for p in quad], "", 0),
    ]
