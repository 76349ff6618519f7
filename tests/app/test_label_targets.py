"""Every format that is written reads back as what it was fitted to be."""

from __future__ import annotations

import string
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ocrcore.data.readers.label_formats import FORMATS
from ocrcore.pages import Character, Page, Word
from ocrjax.labels.carry import fitted, is_rectangle, resampled
from ocrjax.labels.convert import read_pages, write_labels
from ocrjax.labels.targets import TARGETS

HEIGHT, WIDTH = 120, 160
LETTERS = string.ascii_letters + string.digits + " ,.'\"\\#*&<>;:[]{}|%äß中文ع\u00a0"
TEXTS = st.text(st.sampled_from(LETTERS), min_size=0, max_size=9).map(str.strip)
SPECIAL = st.sampled_from(["###", ".", "*", "#", "12,5", '"a"', "a\tb", "0", "", "a\\", "\\'"])
TIMES = settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@st.composite
def outlines(draw):
    """An upright box, a turned rectangle, a quad, or a ribbon of 6 to 16 points."""
    kind = draw(st.sampled_from(["box", "turned", "quad", "ribbon"]))
    x, y = draw(st.integers(20, 90)), draw(st.integers(20, 70))
    wide, high = draw(st.integers(8, 40)), draw(st.integers(6, 20))
    if draw(st.booleans()):
        x, y = x + 0.25, y + 0.5
    box = np.array([(x, y), (x + wide, y), (x + wide, y + high), (x, y + high)], np.float32)
    if kind == "box":
        return box, None
    if kind == "turned":
        angle = draw(st.floats(-0.6, 0.6))
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        middle = box.mean(axis=0)
        return ((box - middle) @ turn + middle).astype(np.float32), None
    if kind == "quad":
        moves = draw(st.lists(st.integers(-2, 2), min_size=8, max_size=8))
        return box + np.array(moves, np.float32).reshape(4, 2), None
    count = draw(st.integers(3, 8))
    across = np.linspace(x, x + wide, count)
    bend = 3 * np.sin(np.linspace(0, np.pi, count))
    above = np.stack([across, y - bend], axis=1)
    below = np.stack([across, y + high - bend], axis=1)[::-1]
    return box, np.concatenate([above, below]).round(2).astype(np.float32)


@st.composite
def words(draw):
    quad, polygon = draw(outlines())
    text = draw(st.one_of(st.none(), TEXTS, SPECIAL))
    characters = ()
    if text and draw(st.booleans()) and not any(letter.isspace() for letter in text):
        share = np.linspace(0, 1, len(text) + 1)[:, None].astype(np.float32)
        top, low = quad[0] + share * (quad[1] - quad[0]), quad[3] + share * (quad[2] - quad[3])
        characters = tuple(
            Character(letter, np.stack([top[i], top[i + 1], low[i + 1], low[i]]))
            for i, letter in enumerate(text)
        )
    return Word(
        quad,
        text,
        polygon=polygon,
        care=draw(st.booleans()) or draw(st.booleans()),
        characters=characters,
        line=draw(st.sampled_from([None, 0, 1, 5])),
        language=draw(st.sampled_from([None, "Latin", "Klingon"])),
    )


PAGES = st.lists(st.lists(words(), max_size=4), min_size=1, max_size=3)


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    path = tmp_path_factory.mktemp("picture") / "a.png"
    cv2.imwrite(str(path), np.full((HEIGHT, WIDTH, 3), 200, np.uint8))
    return path


def differences(expected, found):
    """What of two lists of words is not the same."""
    if len(expected) != len(found):
        return [f"{len(found)} words, not {len(expected)}"]
    out = []
    for one, two in zip(expected, found, strict=True):
        same = [
            getattr(one, name) == getattr(two, name)
            for name in ("text", "care", "line", "paragraph", "language")
        ]
        same.append(one.outline.shape == two.outline.shape)
        same.append(same[-1] and np.allclose(one.outline, two.outline, atol=0.02))
        same.append([c.text for c in one.characters] == [c.text for c in two.characters])
        if not all(same):
            out.append(f"{two}\n is not\n{one}")
    return out


@pytest.mark.parametrize("name", TARGETS)
@given(content=PAGES)
@TIMES
def test_round_trip(tmp_path_factory, picture, name, content):
    target = TARGETS[name]
    folder = tmp_path_factory.mktemp("trip")
    pages = []
    for place, found in enumerate(content):
        path = folder / "in" / f"img_{place}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(picture.read_bytes())
        pages.append(Page(HEIGHT, WIDTH, tuple(found), str(path)))
    expected = [fitted(page, target.carries)[0] for page in pages]
    if any(page.words for page in pages) and not any(page.words for page in expected):
        with pytest.raises(ValueError, match="no word can be written"):
            write_labels(pages, folder / "out", name)
        return
    count, _ = write_labels(pages, folder / "out", name)
    assert count == sum(len(page.words) for page in expected)
    read, done = read_pages(
        folder / "out", kind=target.kind, layout=target.layout or "auto", dont_care=("###",)
    )
    assert not done.bad and not done.notes
    assert [Path(page.path).name for page in read] == [Path(page.path).name for page in pages]
    for one, two in zip(expected, read, strict=True):
        assert not differences(one.words, two.words)
    # Nothing is lost the second time.
    assert not any(+fitted(page, target.carries)[1] for page in read)


@pytest.mark.parametrize("name", [name for name in TARGETS if TARGETS[name].kind in FORMATS])
def test_the_format_is_guessed(tmp_path, picture, name):
    quad = np.array([(9, 9), (60, 12), (59, 30), (9, 28)], np.float32)
    polygon = np.array([(9, 9), (30, 5), (60, 9), (60, 30), (30, 26), (9, 30)], np.float32)
    page = Page(HEIGHT, WIDTH, (Word(quad, "a"), Word(quad, "b", polygon=polygon)), str(picture))
    write_labels([page], tmp_path / "out", name)
    read, done = read_pages(tmp_path / "out")
    assert done.source.startswith(FORMATS[TARGETS[name].kind].title)
    assert ", 1 " in done.source and "2 words" in done.source
    assert len(read) == 1 and len(read[0].words) == 2


def test_via_finds_the_lines_of_its_csv(tmp_path, picture):
    # ox-vgg/via, via-2.x.y/via.js: import_annotations_from_csv splits at line ends before it looks
    # for quotes, compares the whole first line, and takes the rest by position.
    quad = np.array([(9, 9), (60, 9), (60, 30), (9, 30)], np.float32)
    words = (Word(quad, "a, b"), Word(quad, "c", care=False))
    empty = tmp_path / "b.png"
    empty.write_bytes(picture.read_bytes())
    pages = [Page(HEIGHT, WIDTH, words, str(picture)), Page(HEIGHT, WIDTH, (), str(empty))]
    write_labels(pages, tmp_path / "out", "via-csv")
    text = (tmp_path / "out" / "via_export_csv.csv").read_bytes().decode()
    size, box = picture.stat().st_size, '""x"": 9.0, ""y"": 9.0, ""width"": 51.0, ""height"": 21.0'
    assert text.split("\n") == [
        "filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,"
        "region_attributes",
        f'a.png,{size},{{}},2,0,"{{""name"": ""rect"", {box}}}","{{""text"": ""a, b""}}"',
        f'a.png,{size},{{}},2,1,"{{""name"": ""rect"", {box}}}",'
        '"{""text"": ""c"", ""ignore"": ""true""}"',
        f"b.png,{size},{{}},0,0,{{}},{{}}",
        "",
    ]


def test_what_is_lost_is_named(picture):
    quad = np.array([(9, 9), (60, 12), (59, 30), (9, 28)], np.float32)
    polygon = np.array([(9, 9), (30, 5), (60, 9), (60, 30), (30, 26), (9, 30)], np.float32)
    characters = (Character("a", quad),)
    page = Page(
        HEIGHT,
        WIDTH,
        (
            Word(quad, "a", characters=characters, line=0, language="Latin"),
            Word(quad, ".", polygon=polygon, confidence=0.5),
            Word(quad, "b", care=False),
            Word(quad, None),
        ),
        str(picture),
    )
    found = {name: set(+fitted(page, TARGETS[name].carries)[1]) for name in TARGETS}
    assert found["icdar2013"] == {
        "pages whose lines and paragraphs are lost",
        "words whose characters are lost",
        "languages",
        "quads made axis-aligned boxes",
        "polygons made axis-aligned boxes",
        "scores and confidences",
        "texts of don't-care words",
    }
    assert "unknown texts made empty" in found["mlt"] and "languages" not in found["mlt"]
    assert "words with the text '.', which means don't care there" in found["textocr"]
    assert "don't-care words made ordinary words" in found["doctr"]
    assert "texts" in found["doctr"]
    assert "words without characters left out" in found["synthtext"]
    assert "pages whose lines and paragraphs are lost" not in found["hiertext"]
    assert "texts of don't-care words" not in found["label-studio"]


def test_outlines_of_fourteen_points():
    quad = np.array([(0, 0), (40, 0), (40, 10), (0, 10)], np.float32)
    more = resampled(quad, 14)
    assert len(more) == 14
    assert cv2.contourArea(more) == pytest.approx(400)
    assert {tuple(point) for point in quad} <= {tuple(point) for point in more}
    assert len(resampled(resampled(quad, 20), 14)) == 14
    assert is_rectangle(quad) and not is_rectangle(quad[::-1])
