import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocrcore.data.readers.characters import PhotoFolder, read_characters
from ocrcore.data.readers.icdar import read_icdar_folder
from ocrcore.images import ImageError, write_image
from ocrcore.pages import LabelError, Word

QUAD = np.array([(0, 0), (20, 0), (20, 9), (0, 9)])


def write(path, entries):
    path.write_text(entries if isinstance(entries, str) else json.dumps(entries), encoding="utf-8")
    return path


def test_boxes_and_quads_and_unknown_characters(tmp_path):
    entries = [
        {"text": "ab", "chars": [["a", 0, 1, 10, 9], ["b", 10, 1, 20, 2, 21, 9, 11, 8]], "x": 1},
        {"chars": []},
        {"text": "?", "chars": [["z", 1, 1, 2, 2]]},
    ]
    words = [Word(QUAD, "ab"), Word(QUAD, "cd"), Word(QUAD, None, care=False)]
    first, second, third = read_characters(write(tmp_path / "a.json", entries), words)
    assert [c.text for c in first.characters] == ["a", "b"]
    assert first.characters[0].quad.tolist() == [[0, 1], [10, 1], [10, 9], [0, 9]]
    assert first.characters[1].quad.tolist() == [[10, 1], [20, 2], [21, 9], [11, 8]]
    assert second == words[1] and not third.care and len(third.characters) == 1


def test_blanks_in_texts_have_no_box(tmp_path):
    entries = [{"text": "a b", "chars": [["a", 0, 1, 10, 9], ["b", 10, 1, 20, 2]]}]
    (word,) = read_characters(write(tmp_path / "a.json", entries), [Word(QUAD, "a b")])
    assert len(word.characters) == 2


@pytest.mark.parametrize(
    ("entries", "message", "reason"),
    [
        ("{", "JSON", "labels"),
        ("[" * 100_000, "JSON", "labels"),
        ({}, "a list with an object for each word", "labels"),
        ([], "0 words.*as many as labels: 1", "box count"),
        ([7], "word 0: 7", "labels"),
        ([{"chars": {}}], "a list `chars`", "labels"),
        ([{"chars": [["a", 1, 2, 3]]}], r"\[character, left", "labels"),
        ([{"chars": [["a", 1, 2, 3, "x"]]}], "coordinates within", "coordinates"),
        ([{"chars": [["a", 1, 2, 3, float("nan")]]}], "coordinates within", "coordinates"),
        ([{"chars": [["a", 1, 2, 3, 10**400]]}], "coordinates within", "coordinates"),
        ([{"chars": [["a", 1, 2, 3, 4]]}], "characters 'a'.*those of 'ab'", "box count"),
        ([{"text": "ba", "chars": []}], "the text of the labels: 'ab'", "labels"),
    ],
)
def test_files_that_cannot_be(tmp_path, entries, message, reason):
    path = write(tmp_path / "a.json", entries)
    with pytest.raises(LabelError, match=message) as caught:
        read_characters(path, [Word(QUAD, "ab")])
    assert caught.value.path == str(path) and caught.value.reason == reason


@given(
    entries=st.recursive(
        st.none() | st.floats() | st.text(max_size=3) | st.integers(),
        lambda inner: st.lists(inner, max_size=5) | st.fixed_dictionaries({"chars": inner}),
    )
)
def test_any_json_is_read_or_a_named_error(entries, tmp_path_factory):
    path = write(tmp_path_factory.mktemp("c") / "a.json", entries)
    try:
        read_characters(path, [Word(QUAD, "ab")])
    except LabelError as error:
        assert str(path) in str(error)


def test_a_folder(tmp_path):
    for folder in ("images", "gt", "chars"):
        with pytest.raises(LabelError, match="expected a folder"):
            PhotoFolder(tmp_path / "images", tmp_path / "gt", tmp_path / "chars")
        (tmp_path / folder).mkdir()
    with pytest.raises(LabelError, match="no image"):
        PhotoFolder(tmp_path / "images", tmp_path / "gt", tmp_path / "chars")
    for name in ("b", "a", "c", "d"):
        write_image(tmp_path / "images" / f"{name}.png", np.zeros((30, 40, 3), np.uint8))
    (tmp_path / "images" / "notes.txt").write_text("no image")
    (tmp_path / "gt" / "gt_a.txt").write_text("0,0,20,0,20,9,0,9,ab\n0,0,9,0,9,9,0,9,###")
    (tmp_path / "gt" / "b.txt").write_text("")
    (tmp_path / "gt" / "d.txt").write_text("")
    write(
        tmp_path / "chars" / "a.json",
        [{"chars": [["a", 0, 0, 9, 9], ["b", 9, 0, 20, 9]]}, {"chars": []}],
    )
    write(tmp_path / "chars" / "b.json", [])
    folder = PhotoFolder(tmp_path / "images", tmp_path / "gt", tmp_path / "chars")
    assert len(folder) == 4
    assert folder.name(0) == str(tmp_path / "images" / "a.png") == folder[0].page.path
    page = folder[0].page
    assert (page.height, page.width) == (30, 40) and folder[1].page.words == ()
    assert [word.care for word in page.words] == [True, False]
    assert [c.text for c in page.words[0].characters] == ["a", "b"]
    with pytest.raises(LabelError, match=r"gt_c\.txt in"):
        folder[2]
    with pytest.raises(LabelError, match=r"d\.json: .*a file of characters"):
        folder[3]
    (tmp_path / "images" / "a.png").write_bytes(b"")
    with pytest.raises(ImageError, match="empty"):
        folder[0]
    with pytest.raises(IndexError):
        folder[4]


def test_photos_are_in_the_order_of_those_to_evaluate_on(tmp_path):
    for folder in ("images", "gt"):
        (tmp_path / folder).mkdir()
    names = [f"img_{number}" for number in range(1, 13)]
    for name in [*names, "img_02"]:
        write_image(tmp_path / "images" / f"{name}.png", np.zeros((3, 4, 3), np.uint8))
        (tmp_path / "gt" / f"gt_{name}.txt").write_text("")
    folder = PhotoFolder(tmp_path / "images", tmp_path / "gt", None)
    trained = [Path(folder.name(index)).stem for index in range(len(folder))]
    pages = read_icdar_folder(tmp_path / "images", tmp_path / "gt")
    assert trained == [Path(page.path).stem for page in pages]
    assert trained == sorted([*names, "img_02"])
