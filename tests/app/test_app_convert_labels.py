"""`ocrjax convert-labels`: pictures and crops from one format to another, and what it says."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from label_samples import HEIGHT, SAMPLES, WIDTH
from PIL import Image

from crnnjax.crop_index import kind_of, open_crops
from ocrcore.data.readers.words import open_words
from ocrcore.images import read_image, write_image
from ocrcore.outputs import OutputError
from ocrcore.pages import LabelError, Page, Word
from ocrjax.cli.main import _parse
from ocrjax.labels.convert import picture_names
from ocrjax.labels.crops import CROP_TARGETS
from ocrjax.page_files import to_alto, to_hocr


def run(*arguments: object) -> int:
    parsed = _parse(["ocrjax", "convert-labels", *map(str, arguments)])
    return parsed.run(parsed)


@pytest.fixture
def source(tmp_path) -> Path:
    """Label Studio's sample, with its picture."""
    folder = tmp_path / "in"
    folder.mkdir()
    sample = next(one for one in SAMPLES if one.kind == "label-studio")
    for name, content in sample.files.items():
        (folder / name).write_text(content)
    rng = np.random.default_rng(0)
    write_image(folder / "photo.png", rng.integers(0, 255, (HEIGHT, WIDTH, 3)).astype(np.uint8))
    return folder


def test_pictures(tmp_path, source, capsys):
    out = tmp_path / "out"
    assert run(source, out, "--to", "icdar2013") == 0
    said = capsys.readouterr().out
    assert "read " in said and "Label Studio export (JSON), 1 tasks, 3 words" in said
    assert "wrote" in said and "ICDAR 2013, 3 words on 1 images" in said
    assert (
        "1 polygons made axis-aligned boxes" in said and "1 quads made axis-aligned boxes" in said
    )
    assert f"kind='words', path='{out}', layout='box'" in said
    lines = (out / "gt/gt_photo.txt").read_text().splitlines()
    assert lines[0] == '20 10 60 30 "one"'
    assert lines[2].endswith('"###"')
    assert (out / "images/photo.png").read_bytes() == (source / "photo.png").read_bytes()
    # It reads back as what a config would say.
    assert len(open_words(out, kind="auto")[0].page.words) == 3


@pytest.mark.parametrize("how", ["link", "none"])
def test_pictures_that_are_not_copied(tmp_path, source, how):
    assert run(source, tmp_path / "out", "--to", "cvat", "--pictures", how) == 0
    picture = tmp_path / "out/images/photo.png"
    assert picture.is_symlink() == (how == "link") and picture.exists() == (how == "link")


def test_pictures_elsewhere(tmp_path, source):
    (tmp_path / "photos").mkdir()
    (source / "photo.png").rename(tmp_path / "photos/photo.png")
    with pytest.raises(LabelError, match="name their folder"):
        run(source, tmp_path / "out", "--to", "cvat")
    assert not (tmp_path / "out").exists()
    labels, photos = next(source.glob("*.json")), tmp_path / "photos"
    assert run(labels, tmp_path / "out", "--to", "icdar2015", "--images", photos) == 0
    # Text files of words, and their pictures in another folder.
    texts, images = tmp_path / "out/gt", tmp_path / "out/images"
    assert run(texts, tmp_path / "again", "--to", "labelme", "--images", images) == 0
    data = json.loads((tmp_path / "again/photo.json").read_text())
    assert [shape["description"] for shape in data["shapes"]] == ["one", "two", ""]


def test_what_cannot_be_read_is_left_out_and_said(tmp_path, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    words = [{"transcription": "a", "points": [[1, 2]]}]
    (folder / "Label.txt").write_text(f"photo.png\t{json.dumps(words)}\ngone.png\t[]\n")
    Image.new("RGB", (WIDTH, HEIGHT)).save(folder / "photo.png")
    assert run(folder, tmp_path / "out", "--to", "via") == 1
    said = capsys.readouterr().out
    assert "1 labeled images were not found and are not used: 'gone.png'" in said
    assert "1 unreadable labels or images" in said and "Label.txt:1" in said


def test_a_format_that_can_carry_nothing(tmp_path, source):
    with pytest.raises(ValueError, match=r"as SynthText \(gt\.mat\): 3 words without"):
        run(source, tmp_path / "out", "--to", "synthtext")
    assert not (tmp_path / "out").exists()


def test_nothing_is_overwritten(tmp_path, source):
    (tmp_path / "out").mkdir()
    assert run(source, tmp_path / "out", "--to", "cvat") == 0  # an empty folder is fine
    with pytest.raises(OutputError, match="already exists"):
        run(source, tmp_path / "out", "--to", "cvat")
    with pytest.raises(OutputError, match="input"):
        run(source, source / "out", "--to", "cvat")


@pytest.mark.parametrize("name", CROP_TARGETS)
def test_crops(tmp_path, source, name, capsys):
    out = tmp_path / name
    assert run(source, out, "--to", name) == 0
    assert "1 words without text or don't care" in capsys.readouterr().out
    target = CROP_TARGETS[name]
    path = out / target.path if target.path else out
    assert kind_of(path) == target.kind
    for kind, place in (("auto", path), (target.kind, path), ("auto", out)):
        crops = open_crops(kind, place)
        assert [crops[index].text for index in range(len(crops))] == ["one", "two"]
    # A box upright in the picture is cut as it is.
    image = read_image(source / "photo.png")
    np.testing.assert_array_equal(crops[0].image(), image[10:30, 20:60])
    # And on to every other format, without a loss.
    for other in CROP_TARGETS:
        assert run(path, tmp_path / "next" / other, "--to", other) == 0
        again = CROP_TARGETS[other]
        found = open_crops("auto", tmp_path / "next" / other / again.path)
        for index in range(2):
            assert found[index].text == crops[index].text
            np.testing.assert_array_equal(found[index].image(), crops[index].image())


def test_texts_in_the_names_of_crops(tmp_path):
    # Belval/TextRecognitionDataGenerator, trdg/data_generator.py (name_format 0 and 1), at dd9d7d3.
    for folder, names in (("a", ["one two_0", "c_d_1"]), ("b", ["0_one two", "1_c_d"])):
        (tmp_path / folder).mkdir()
        for name in [*names, names[0] + "_mask"]:
            Image.new("L", (9, 9)).save(tmp_path / folder / f"{name}.png")
        assert sorted(crop.text for crop in open_crops("trdg", tmp_path / folder)) == [
            "c_d",
            "one two",
        ]
        with pytest.raises(LabelError, match=r"labels\.csv"):  # never guessed by names alone
            open_crops("auto", tmp_path / folder)
    (tmp_path / "c").mkdir()
    Image.new("L", (9, 9)).save(tmp_path / "c" / "0_a_1.png")
    with pytest.raises(LabelError, match="numbers at both ends"):
        open_crops("trdg", tmp_path / "c")


def test_pictures_of_one_name():
    pages = [Page(9, 9, (), path) for path in ("a/1.jpg", "b/1.png", "c/2.jpg", "a_1.jpg")]
    assert picture_names(pages) == ["a_1.jpg", "b_1.png", "2.jpg", "a_1-2.jpg"]


def test_a_word_outside_of_its_picture_is_not_cut(tmp_path, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    Image.new("RGB", (WIDTH, HEIGHT)).save(folder / "photo.png")
    (folder / "photo.txt").write_text("900,900,950,900,950,920,900,920,a\n1,1,9,1,9,9,1,9,b\n")
    assert run(folder, tmp_path / "out", "--to", "easyocr-csv") == 0
    assert "1 words outside the image" in capsys.readouterr().out


def test_from_the_command_line(tmp_path, source):
    arguments = ["convert-labels", str(source), str(tmp_path / "out"), "--to"]
    done = subprocess.run(
        [sys.executable, "-m", "ocrjax", *arguments, "nothing"], capture_output=True, text=True
    )
    assert done.returncode == 2 and "label-studio" in done.stderr


@pytest.mark.parametrize(
    ("kind", "write"),
    [("hocr", to_hocr), ("alto", partial(to_alto, name="photo.png", software=("a", "0")))],
)
def test_what_the_reader_writes_is_read(tmp_path, kind, write):
    quad = np.array([(10, 40), (50, 44), (49, 60), (9, 56)], np.float32)
    box = np.array([(20, 10), (60, 10), (60, 30), (20, 30)], np.float32)
    words = (Word(box, "one", line=0, paragraph=0), Word(quad, "<two>", line=1, paragraph=0))
    path = tmp_path / "photo.png"
    Image.new("RGB", (WIDTH, HEIGHT)).save(path)
    (tmp_path / "photo.xml").write_text(write([Page(HEIGHT, WIDTH, words, str(path))]))
    folder = open_words(tmp_path, kind="auto")
    assert kind.upper() in str(folder.layout).upper()
    found = folder[0].page.words
    assert [word.text for word in found] == ["one", "<two>"]
    assert [word.line for word in found] == [0, 1]
    for word, true in zip(found, words, strict=True):
        np.testing.assert_allclose(word.outline, true.quad, atol=1)
