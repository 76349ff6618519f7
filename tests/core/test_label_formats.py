"""Label files of annotation tools: each format by a hand-made sample, and what can go wrong."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from label_samples import BOX, HEIGHT, QUAD, SAMPLES, WIDTH
from PIL import Image

from ocrcore.data.readers.documents import MAX_DEPTH, read_xml
from ocrcore.data.readers.label_documents import open_documents, turned_points
from ocrcore.data.readers.label_formats import FORMATS
from ocrcore.data.readers.label_lines import LineError
from ocrcore.data.readers.picture_names import PictureNames, is_picture_name, name_forms
from ocrcore.data.readers.skipped_files import unused_files
from ocrcore.data.readers.total_text import read_total_text
from ocrcore.data.readers.words import open_words
from ocrcore.images import read_image
from ocrcore.pages import LabelError

NAMES = [sample.kind for sample in SAMPLES]


def write(folder: Path, files, *, picture="photo.png"):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    if picture:
        (folder / picture).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (WIDTH, HEIGHT)).save(folder / picture)


@pytest.mark.parametrize("kind", ["auto", "named"])
@pytest.mark.parametrize("sample", SAMPLES, ids=NAMES)
def test_each_format(tmp_path, sample, kind):
    write(tmp_path, sample.files)
    folder = open_words(tmp_path, kind=sample.kind if kind == "named" else "auto")
    assert str(folder.layout).startswith(FORMATS[sample.kind].title)
    assert sample.says in str(folder.layout)
    assert unused_files(folder) == []
    assert len(folder) == 1
    words = folder[0].page.words
    assert [(word.text, word.care) for word in words] == [found[1:] for found in sample.words]
    for word, (outline, _, _) in zip(words, sample.words, strict=True):
        np.testing.assert_allclose(word.outline, outline, atol=1e-3)
    assert folder.page(0).words == words


def test_all_formats_have_a_sample():
    assert {*NAMES, "total-text-mat"} == set(FORMATS)


@pytest.mark.parametrize("sample", SAMPLES, ids=NAMES)
def test_pictures_elsewhere_and_one_file(tmp_path, sample):
    write(tmp_path / "mine", sample.files, picture="")
    write(tmp_path / "pictures" / "inside", {})
    path = tmp_path / "mine" / next(iter(sample.files))
    documents = open_documents(path, images=tmp_path / "pictures")
    assert documents.pictures == [tmp_path / "pictures" / "inside" / "photo.png"]
    with pytest.raises(LabelError, match=r"photo.*not found.*name their folder"):
        open_documents(path)


def test_total_text_in_matlab_files(tmp_path):
    # cs-chan/Total-Text-Dataset, Evaluation_Protocol/Examples/Groundtruth/poly_gt_img1.mat and
    # Groundtruth/Text/README.md (# in column 6 is don't care), at 9e8ff0a.
    from scipy.io import savemat

    rows = np.empty((3, 6), object)
    x, y = np.array([[206, 251, 386, 140]], np.int16), np.array([[63, 81, 93, 62]], np.int16)
    rows[0] = ("x:", x, "y:", y, "PETROSAINS", "c")
    rows[1] = ("x:", x.T, "y:", y.T, "#", "#")
    rows[2] = ("x:", x[:, :1], "y:", y[:, :1], "#", "#")
    for name in ("polygt", "gt"):
        path = tmp_path / f"poly_gt_img{name}.mat"
        savemat(path, {name: rows})
        from collections import Counter

        notes: Counter[str] = Counter()
        (picture,) = read_total_text(path, None, notes)
        assert picture.name == f"img{name}" and not picture.bad
        assert [(word.text, word.care) for word in picture.words] == [
            ("PETROSAINS", True),
            (None, False),
        ]
        np.testing.assert_array_equal(picture.words[1].quad, np.stack([x[0], y[0]], axis=1))
        assert sum(notes.values()) == 1


def test_a_bad_word_is_counted_and_costs_its_page(tmp_path):
    words = [{"transcription": "a", "points": QUAD}, {"transcription": "b", "points": [[1, 2]]}]
    write(tmp_path, {"Label.txt": f"photo.png\t{json.dumps(words)}\n"})
    folder = open_words(tmp_path, kind="ppocr")
    bad: list[LabelError] = []
    assert [word.text for word in folder.page(0, bad=bad).words] == ["a"]
    assert "Label.txt:1: 'photo.png, word 2: 1 points': expected three or more points" in str(
        bad[0]
    )
    with pytest.raises(LabelError, match="word 2"):
        folder.page(0)


def test_labels_of_stored_pixels_are_turned(tmp_path):
    # The stored picture is 200x100; EXIF shows it as 100x200. A marked pixel must stay in its box.
    for turn in (5, 6, 7, 8):
        image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        image[12:28, 22:58] = 255
        exif = Image.Exif()
        exif[0x0112] = turn
        Image.fromarray(image).save(tmp_path / f"{turn}.png", exif=exif)
        shape = {"label": "word", "points": [[20, 10], [60, 30]], "shape_type": "rectangle"}
        data = {"shapes": [shape], "imagePath": f"{turn}.png", "imageData": None}
        size = {"imageHeight": HEIGHT, "imageWidth": WIDTH}
        (tmp_path / f"{turn}.json").write_text(json.dumps(data | size))
    folder = open_words(tmp_path, kind="labelme")
    for index in range(4):
        sample = folder[index]
        assert sample.image.shape[:2] == (WIDTH, HEIGHT)
        (left, top), _, (right, bottom), _ = sample.page.words[0].quad.astype(int)
        assert sample.image[top:bottom, left:right].mean() > 150
        assert sample.image.sum() == sample.image[top:bottom, left:right].sum()
    points = np.array([(1, 2)], np.float32)
    assert turned_points(points, 6, (HEIGHT, WIDTH)).tolist() == [[98, 1]]


def test_labels_of_another_size_are_refused(tmp_path):
    sample = next(one for one in SAMPLES if one.kind == "cvat")
    write(tmp_path, sample.files)
    Image.new("RGB", (WIDTH // 2, HEIGHT // 2)).save(tmp_path / "photo.png")
    folder = open_words(tmp_path, kind="cvat")
    with pytest.raises(LabelError, match=r"labeled at 200x100.*has 100x50 pixels"):
        folder.page(0)


def test_several_kinds_of_labels_are_listed(tmp_path):
    for sample in SAMPLES:
        if sample.kind in ("cvat", "via"):
            write(tmp_path, sample.files)
    with pytest.raises(LabelError, match=r"2 kinds of labels.*cvat \(.*\); via \("):
        open_words(tmp_path, kind="auto")
    assert len(open_words(tmp_path, kind="via")) == 1
    (tmp_path / "photo.txt").write_text("1,1,9,1,9,9,1,9,a")
    (tmp_path / "annotations.xml").unlink()
    with pytest.raises(LabelError, match=r"via \(.*\); words \(text files"):
        open_words(tmp_path, kind="auto")
    (tmp_path / "via_project.json").unlink()
    assert str(open_words(tmp_path, kind="auto").layout).startswith("quad")


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(LabelError, match="a label file"):
        open_words(tmp_path / "none", kind="auto")
    with pytest.raises(LabelError, match="labels in CVAT for images"):
        open_words(tmp_path, kind="cvat")
    with pytest.raises(
        ValueError, match="kind is 'xyz', expected one of words, auto, label-studio"
    ):
        open_words(tmp_path, kind="xyz")


def test_pictures_that_are_missing_or_labeled_twice(tmp_path):
    lines = [f"{name}\t[]\n" for name in ("photo.png", "gone.png", "a/photo.png")]
    write(tmp_path, {"Label.txt": "".join(lines)})
    write(tmp_path, {}, picture="extra.png")
    notes = unused_files(open_words(tmp_path, kind="ppocr"))
    assert "1 labeled images were not found and are not used: 'gone.png'" in notes[0]
    assert "1 images next to the labels are not labeled" in notes[1]
    assert "labeled twice" in notes[2]


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("/data/upload/3/1a2b3c4d-photo.jpg", "data/upload/3/photo.jpg"),
        ("/data/local-files/?d=set/photo%201.jpg", "set/photo 1.jpg"),
        ("s3://bucket/a/photo.jpg", "a/photo.jpg"),
        ("https://host:8080/a%20b.jpg?x=1", "a b.jpg"),
        (r"C:\Users\me\photo.jpg", "C:/Users/me/photo.jpg"),
        ("http://[broken/photo.jpg", "http://[broken/photo.jpg"),
    ],
)
def test_name_forms(name, form):
    assert form in list(name_forms(name))
    assert is_picture_name(name)


def test_picture_names(tmp_path):
    for name in ("a/1.jpg", "b/1.jpg", "b/2.png", "3.jpg", "c/3.jpg", "d/x/4.jpg"):
        write(tmp_path, {}, picture=name)
    names = PictureNames([tmp_path])

    def find(name):
        found = names.find(name)
        return found and found.relative_to(tmp_path).as_posix()

    assert find("set/b/1.jpg") == "b/1.jpg"
    assert find("2") == "b/2.png"  # without its suffix
    assert find("3.jpg") == "3.jpg"  # the one that lies least deep
    assert find("/data/upload/1/00ff00ff-4.jpg") == "d/x/4.jpg"
    assert find("nowhere.jpg") is None
    assert find("../../etc/passwd") is None and find("..") is None and find("x" * 9999) is None
    with pytest.raises(LineError, match=r"only one image of this name, found .* and "):
        find("1.jpg")


BOMB = """<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;&b;">]>
<annotations>&c;</annotations>"""
OUTSIDE = """<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotations>&x;</annotations>"""
DOCTYPE = """<!DOCTYPE annotations SYSTEM "http://127.0.0.1:9/none.dtd"><annotations/>"""


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (BOMB, "that declares no entities"),
        (OUTSIDE, "that declares no entities"),
        ("<a>" * (MAX_DEPTH + 1), "at most"),
        ("<a><b></a>", "well-formed XML"),
        ("", "well-formed XML"),
        ("<?xml version='1.0' encoding='klingon'?><a/>", "well-formed XML"),
        ("<a>&undeclared;</a>", "well-formed XML"),
    ],
)
def test_hostile_xml(tmp_path, text, match):
    path = tmp_path / "a.xml"
    path.write_text(text)
    with pytest.raises(LabelError, match=match):
        read_xml(path)


def test_no_network_for_a_doctype(tmp_path):
    path = tmp_path / "a.xml"
    path.write_text(DOCTYPE)
    assert read_xml(path).tag == "annotations"


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("[" * 100_000, "JSON of labels|JSON"),
        ('{"a": 1', "JSON"),
        ('[{"data": {}, "annotations": [{"result": []}]}]', "the image of a task"),
        ('{"shapes": [], "imagePath": 3}', "a text: imagePath"),
    ],
)
def test_hostile_json(tmp_path, text, match):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(LabelError, match=match):
        open_documents(path)


def test_several_pictures_of_one_task(tmp_path):
    def result(**more):
        value = {"x": 10, "y": 10, "width": 20, "height": 20}
        size = {"original_width": WIDTH, "original_height": HEIGHT}
        return {"id": str(more), "type": "rectangle", "value": value, **size, **more}

    listed = {"data": {"pages": ["a.png", "b.png"]}}
    listed["annotations"] = [{"result": [result(item_index=1, to_name="image")]}]
    named = {"data": {"one": "c.png", "two": "d.png"}}
    named["annotations"] = [{"result": [result(to_name="two")]}]
    unclear = {"data": {"one": "c.png", "two": "d.png"}}
    unclear["annotations"] = [{"result": [result(to_name="image")]}]
    tasks = [listed, named, unclear]
    write(tmp_path, {"tasks.json": json.dumps(tasks)}, picture="")
    for name in "abcd":
        write(tmp_path, {}, picture=f"{name}.png")
    folder = open_words(tmp_path, kind="auto")
    assert [len(folder.page(index).words) for index in range(4)] == [0, 1, 0, 1]
    np.testing.assert_allclose(folder.page(1).words[0].quad, BOX)
    assert "the name of one of the images of the task" in unused_files(folder)[-1]


def test_parts_and_order_are_those_of_folders(tmp_path):
    lines = [f"{number}.png\t[]\n" for number in range(10)]
    write(tmp_path, {"Label.txt": "".join(lines)}, picture="")
    for number in range(10):
        write(tmp_path, {}, picture=f"{number}.png")
    train = open_words(tmp_path, kind="ppocr", split="train", holdout=0.2)
    test = open_words(tmp_path, kind="ppocr", split="test", holdout=0.2)
    assert (len(train), len(test)) == (8, 2)
    assert Path(test.name(0)).name == "8.png"
    spread = open_words(tmp_path, kind="ppocr", order="spread")
    assert sorted(map(spread.name, range(10))) == [str(tmp_path / f"{n}.png") for n in range(10)]


def test_reading_is_quick(tmp_path):
    """Of 2,000 pictures with 40,000 words, none of which is decoded."""
    import time

    image = cv2.imencode(".png", np.zeros((9, 9, 3), np.uint8))[1].tobytes()
    words = json.dumps([{"transcription": "word", "points": QUAD}] * 20)
    lines = []
    for number in range(2000):
        (tmp_path / f"{number}.png").write_bytes(image)
        lines.append(f"{number}.png\t{words}\n")
    (tmp_path / "Label.txt").write_text("".join(lines))
    start = time.process_time()
    documents = open_documents(tmp_path)
    assert len(documents.pictures) == 2000
    assert time.process_time() - start < 20
    assert read_image(documents.pictures[0]).shape == (9, 9, 3)
