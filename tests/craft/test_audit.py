"""Word labels with every fault that makes training fail, and what is said of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from craftjax.audit import audit_sources, audit_truth, audit_words
from craftjax.evaluate import truth_notes
from craftjax.sources import Mix, SourceOptions, open_source
from ocrcore.data.mixing import SourceError
from ocrcore.data.readers.characters import PhotoFolder
from ocrcore.data.readers.skipped_files import unused_files
from ocrcore.data.readers.words import find_folders, open_section, open_words
from ocrcore.images import encode_image, write_image
from ocrcore.pages import LabelError

CONFIGS = Path(__file__).parents[2] / "configs"
GOOD = "10,10,60,10,60,30,10,30,word"


def write(folder, *pages, size=(80, 120)):
    """A picture for each text of a label file; None for none."""
    for index, text in enumerate(pages):
        write_image(folder / "images" / f"p{index}.png", np.zeros((*size, 3), np.uint8))
        (folder / "gt").mkdir(exist_ok=True)
        if text is not None:
            (folder / "gt" / f"gt_p{index}.txt").write_text(text)
    return folder


def audit(folder, *pages, **more):
    write(folder, *pages)
    return audit_words(PhotoFolder(folder / "images", folder / "gt", None, **more))


def test_sound_labels(tmp_path):
    found = audit(
        tmp_path,
        f"{GOOD}\n10,40,100,40,100,60,10,60,two words\n5,5,9,5,9,9,5,9,###\n",
        "20,10,40,10,40,70,20,70,down\n10,10,60,10,60,16,10,16,low\n",
        *[GOOD] * 4,
        "",
    )
    assert (found.pages, found.empty, found.words, found.dont_care) == (7, 1, 9, 1)
    assert (found.usable, found.characters, found.dropped) == (8, 4 * 6 + 8 + 3, 0)
    assert (found.vertical, found.spaces, found.small) == (1, 1, 1)
    assert found.longest == "two words"
    assert found.height == 20
    assert found.warnings == [] and found.bad == []
    assert "8 usable with 35 characters, 1 don't care" in str(found)


def test_broken_pictures_are_found_before_training(tmp_path):
    write(tmp_path, *[GOOD] * 6)
    for number, suffix in enumerate((".png", ".jpg", ".jpg")):
        path = tmp_path / "images" / f"p{number}.png"
        picture = np.random.default_rng(0).integers(0, 256, (80, 120, 3), np.uint8)
        data = encode_image(picture, suffix=suffix)
        path.write_bytes(data[: len(data) * 2 // 3] if number < 2 else data)
    found = audit_words(PhotoFolder(tmp_path / "images", tmp_path / "gt", None))
    assert (found.pages, found.usable) == (4, 4)
    assert [Path(str(error).partition(":")[0]).name for error in found.bad] == ["p0.png", "p1.png"]
    assert found.warnings == ["2 lines or files cannot be read; see above"]
    section = {"kind": "words", "root": str(tmp_path), "split": "all", "holdout": 0.1}
    said = []
    bad = audit_truth({"test": section | {"layout": "auto", "dont_care": ["###"]}}, log=said.append)
    assert len(bad) == 2 and "p1.png: not an image that OpenCV" in said[0]


@pytest.mark.parametrize("right", [True, False])
def test_pictures_turned_by_exif_are_said(tmp_path, right, monkeypatch):
    exif = Image.Exif()
    exif[0x0112] = 6
    for number in range(3):
        write_image(tmp_path / "images" / f"p{number}.jpg", np.zeros((1, 1, 3), np.uint8))
        Image.new("RGB", (120, 80)).save(tmp_path / "images" / f"p{number}.jpg", exif=exif)
        (tmp_path / "gt").mkdir(exist_ok=True)
        level, tall = "5,10,65,10,65,30,5,30,word", "10,5,30,5,30,65,10,65,word"
        (tmp_path / "gt" / f"gt_p{number}.txt").write_text(level if right else tall)
    folder = PhotoFolder(tmp_path / "images", tmp_path / "gt", None)
    found = audit_words(folder)
    assert "3 of 3 images are rotated by EXIF" in str(found) and "p0.jpg" in str(found)
    assert ("seem to ignore the rotation" in str(found)) != right
    assert folder[0].page.height == 120
    monkeypatch.setenv("OCRJAX_EXIF", "ignore")
    assert folder[0].page.height == 80 == folder.page(0).height
    assert "EXIF" not in str(audit_words(folder))


def test_what_is_not_used_is_said(tmp_path):
    write(tmp_path, GOOD, GOOD)
    folder = PhotoFolder(tmp_path / "images", tmp_path / "gt", None)
    assert audit_words(folder).notes == [] == unused_files(folder)
    write_image(tmp_path / "images" / "more" / "p5.png", np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "images" / "p6.heic").write_bytes(b"0")
    (tmp_path / "gt" / "gt_p9.txt").write_text(GOOD)
    pages = [Image.new("L", (120, 80))] * 3
    pages[0].save(tmp_path / "images" / "p7.tif", save_all=True, append_images=pages[1:])
    (tmp_path / "gt" / "gt_p7.txt").write_text(GOOD)
    found = audit_words(PhotoFolder(tmp_path / "images", tmp_path / "gt", None))
    first, second, third = found.notes
    assert first.startswith("2 images of") and "p5.png" in first and "p6.heic" in first
    assert second.startswith("1 files have more than one page") and "p7.tif" in second
    assert third.startswith("1 label files of") and "gt_p9.txt" in third
    assert all(note in str(found) for note in found.notes)
    section = {"kind": "icdar", "root": str(tmp_path), "images": "images", "gt": "gt"}
    read, *notes = truth_notes(section | {"layout": "auto", "dont_care": ["###"]})
    assert read.startswith("labels read as quad: x1,y1,") and notes == found.notes


def test_two_pictures_or_two_label_files_of_one_name(tmp_path):
    write(tmp_path, GOOD, GOOD)
    (tmp_path / "gt" / "p1.txt").write_text(GOOD)
    folder = PhotoFolder(tmp_path / "images", tmp_path / "gt", None)
    with pytest.raises(LabelError, match=r"p1\.txt.*one label file.*found also .*gt_p1\.txt"):
        folder[1]
    (tmp_path / "images" / "p0.jpg").write_bytes((tmp_path / "images" / "p0.png").read_bytes())
    with pytest.raises(LabelError, match=r"one image of this name, found also p0\.jpg"):
        PhotoFolder(tmp_path / "images", tmp_path / "gt", None)


def test_do_not_care_and_texts(tmp_path):
    found = audit(tmp_path / "a", "10,10,60,10,60,30,10,30,###\n10,40,60,40,60,60,10,60,###")
    assert not found.usable
    (warning,) = found.warnings
    assert warning.startswith("all words are don't care")
    found = audit(tmp_path / "b", GOOD, dont_care=("word",))
    assert found.warnings[0].startswith("all words are don't care")
    found = audit(tmp_path / "c", "10,10,60,10,60,30,10,30\n10,40,60,40,60,60,10,60,")
    assert (found.no_text, found.blank) == (1, 1)
    (warning,) = found.warnings
    assert warning.startswith("0 words have text")
    found = audit(tmp_path / "d", f"{GOOD}\n10,40,60,40,60,60,10,60,")
    (warning,) = found.warnings
    assert warning.startswith("1 words have no text and are masked")
    (warning,) = audit(tmp_path / "e", "", "").warnings
    assert warning.endswith("has no words at all")
    many = "\n".join(["10,10,60,10,60,30,10,30,###"] * 19)
    (warning,) = audit(tmp_path / "f", f"{GOOD}\n{many}").warnings
    assert warning.startswith("95% of the words are don't care")


def test_boxes_and_corners(tmp_path):
    found = audit(tmp_path / "a", "70,50,40,20,text\n10,20,50,30,text\n", layout="box")
    assert "1 boxes end before they begin: they look like x, y, width" in found.warnings[0]
    found = audit(tmp_path / "b", "10,10,10,30,60,30,60,10,word")
    assert found.faults == {"anticlockwise": 1}
    assert "corners of 1 words are not clockwise" in found.warnings[0]
    assert found.examples == [f"{tmp_path}/b/images/p0.png: word 1, 'word': anticlockwise"]
    found = audit(tmp_path / "c", "60,10,60,30,10,30,10,10,word")
    assert found.warnings[0].startswith("1 words lie on their side")
    found = audit(tmp_path / "d", "60,30,10,30,10,10,60,10,word")
    assert found.warnings[0].startswith("1 words are upside down")
    found = audit(tmp_path / "e", f"{GOOD}\n200,10,260,10,260,30,200,30,far")
    assert (found.usable, found.dropped) == (1, 1)
    assert "1 words are outside their image" in found.warnings[0]
    found = audit(tmp_path / "f", f"{GOOD}\n10,10,60,30,60,10,10,30,cross\n9,9,9,9,9,9,9,9,dot")
    assert (found.usable, found.dropped) == (1, 2)
    assert found.faults == {"self-crossing": 1, "zero area": 1}
    order, dropped = found.warnings
    assert order.startswith("the corners of 1 words are not clockwise")
    assert dropped.startswith("2 of 3 words that count are dropped")
    found = audit(tmp_path / "g", f"{GOOD}\n10,10,60,10,30,20,10,60,dented")
    assert (found.usable, found.dropped) == (1, 1)  # as crops are made
    assert found.faults == {"concave or too thin": 1}
    assert "; 1 are left for training" in found.warnings[0]


@pytest.mark.parametrize(
    ("line", "start"),
    [
        ("10,10,60,10,10,30,60,30,word", "the corners of 1 words are not clockwise"),
        ("9,9,9,9,9,9,9,9,word", "1 of 1 words that count are dropped"),
        ("0.1,0.1,0.6,0.1,0.6,0.3,0.1,0.3,word", "1 words lie within the first pixel"),
        ("0.1,0.1,0.6,0.3,word", "1 words lie within the first pixel"),
    ],
)
def test_nothing_is_left_to_train_on(tmp_path, line, start):
    """Corners in the order of a Z, no area, fractions of the picture size."""
    found = audit(tmp_path, line)
    assert (found.usable, found.dropped) == (0, 1)
    assert found.warnings[0].startswith(start)
    assert found.warnings[-1].endswith("; 0 are left for training")


def test_files_that_cannot_be_read(tmp_path):
    found = audit(tmp_path, f"{GOOD}\n1,2,3\n", None, GOOD)
    assert (found.pages, found.usable, len(found.bad)) == (2, 2, 2)
    assert "2 lines or files cannot be read" in found.warnings[0]
    assert "gt_p0.txt:2" in str(found) and "p1.png" in str(found)


def test_lines_and_small_words(tmp_path):
    found = audit(tmp_path, "10,10,90,10,90,14,10,14,a whole line\n10,40,90,40,90,44,10,44,two of")
    assert [warning.split(":")[0] for warning in found.warnings] == [
        "2 words are lower than 8 pixels; magnify the images, or mark such words as don't care",
        "2 words have a space inside and seem to be lines",
    ]


def test_only_what_is_trained_on_is_looked_at(tmp_path, capsys):
    write(tmp_path, *[GOOD] * 9, "1,2,3")
    sources = {
        "mine": SourceOptions("words", str(tmp_path), holdout=0.2),
        "synth": SourceOptions("pages"),
    }
    found = audit_sources(sources)
    assert list(found) == ["mine"]
    assert (found["mine"].pages, found["mine"].bad) == (8, [])
    first, second = capsys.readouterr().out.splitlines()[:2]
    assert first.startswith("mine: labels read as quad: x1,y1,x2,y2,x3,y3,x4,y4,text")
    assert second.startswith("8 pages")
    sources = {"mine": SourceOptions("words", str(tmp_path), split="all", start=8)}
    assert len(audit_sources(sources)["mine"].bad) == 1


def run_audit(config, *arguments):
    command = [sys.executable, "-m", "craftjax.main", f"--config={CONFIGS / config}"]
    command += ["--mode=audit", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=CONFIGS.parent)


def test_from_the_command_line(tmp_path):
    good, bad = write(tmp_path / "good", *[GOOD] * 3), write(tmp_path / "bad", *["1,2,3"] * 3)
    done = run_audit("custom.py", f"--config.data.root={good}")
    assert (done.returncode, "2 usable" in done.stdout) == (0, True), done.stderr
    judged = f"\n1 images of {good / 'images'}, 1 of 1 words count\n"
    assert (
        f"{judged}1 words on 1 images are too few to choose thresholds by (fewer than 50"
        in done.stdout
    )
    assert done.stdout.endswith("config.test: the same images as config.eval.pages\n")
    write(good / "test", GOOD, "1,2,3")  # training would refuse to begin
    done = run_audit("custom.py", f"--config.data.root={good}")
    assert (done.returncode, done.stderr) == (1, "")
    assert f"\n2 images of {good / 'test' / 'images'}, 1 of 1 words" in done.stdout
    assert "1 lines or files that cannot be read:\n  " in done.stdout
    done = run_audit("custom.py", f"--config.data.root={bad}")
    assert (done.returncode, done.stderr) == (1, "")
    for path in (bad / "gt").iterdir():
        path.write_text("9,9,9,9,9,9,9,9,dot")
    done = run_audit("custom.py", f"--config.data.root={bad}")
    assert (done.returncode, "WARNING: 2 of 2 words" in done.stdout) == (1, True)
    done = run_audit("quickstart.py")
    assert done.returncode == 1
    assert "no data set of kind 'words'" in done.stderr


def names(folder):
    return [Path(folder.name(index)).name for index in range(len(folder))]


def test_parts_of_a_folder(tmp_path):
    write(tmp_path, *[GOOD] * 10)
    assert names(open_words(tmp_path)) == [f"p{index}.png" for index in range(10)]
    train = open_words(tmp_path, split="train", holdout=0.2)
    assert names(train) == [f"p{index}.png" for index in range(8)]
    for split in ("validation", "test"):
        assert names(open_words(tmp_path, split=split, holdout=0.2)) == ["p8.png", "p9.png"]
    assert names(open_words(tmp_path, split="validation", holdout=0.01)) == ["p9.png"]
    assert len(open_words(tmp_path, split="train", holdout=0)) == 10
    with pytest.raises(LabelError, match=r"some for validation.*holdout above 0"):
        open_words(tmp_path, split="validation", holdout=0)
    with pytest.raises(ValueError, match="split is 'val'"):
        open_words(tmp_path, split="val")
    with pytest.raises(ValueError, match="give both or neither"):
        open_words(tmp_path, images="images")
    page = train.part(3, None).page(0)
    assert (Path(page.path).name, page.words[0].text) == ("p3.png", "word")


@given(size=st.integers(1, 900), part=st.tuples(st.floats(0, 0.8), st.floats(0.2, 1)))
def test_an_order_whose_parts_are_samples_of_all(size, part):
    folder = object.__new__(PhotoFolder)
    folder._names = [f"{number:03}" for number in range(size)]
    spread = folder.spread()._names
    assert sorted(spread) == folder._names
    count = int(size * part[1])
    found = sorted(map(int, spread[int(size * part[0]) :][:count]))
    # From no stretch of names come more than the share of the part and two runs or so.
    runs = min(max(size // 40, 1), 10)
    window = max(50, size // 4)
    for start in range(0, size, window):
        inside = sum(start <= number < start + window for number in found)
        expected = len(found) * min(window, size - start) / size
        assert abs(inside - expected) <= 3 * runs + 1


def test_the_order_holds_for_all_splits(tmp_path):
    write(tmp_path, *[GOOD] * 10)
    parts = [
        names(open_words(tmp_path, split=split, holdout=0.3, order="spread"))
        for split in ("train", "validation")
    ]
    assert parts[0] + parts[1] == names(open_words(tmp_path, order="spread"))
    assert parts[1] != ["p7.png", "p8.png", "p9.png"]
    section = {"root": tmp_path, "split": "all", "holdout": 0.0, "layout": "auto"}
    section |= {"dont_care": (), "order": "spread", "start": 7}
    assert names(open_section(section)) == parts[1]
    options = SourceOptions("words", str(tmp_path), split="all", order="spread", start=7)
    assert names(open_source(options, seed=0).part(7, None)) == parts[1]
    with pytest.raises(ValueError, match="order is 'random', expected one of name, spread"):
        open_words(tmp_path, order="random")


def test_layouts_of_folders(tmp_path):
    root = tmp_path / "icdar2015"
    for images, labels, count in (
        ("ch4_training_images", "ch4_training_localization_transcription_gt", 4),
        ("ch4_test_images", "Challenge4_Test_Task1_GT", 3),
    ):
        write(tmp_path / images, *[GOOD] * count)
        root.mkdir(exist_ok=True)
        (tmp_path / images / "images").rename(root / images)
        (tmp_path / images / "gt").rename(root / labels)
    assert find_folders(root)[0].name == "ch4_training_images"
    assert len(open_words(root, split="train", holdout=0.25)) == 3
    assert len(open_words(root, split="validation", holdout=0.25)) == 1
    assert len(open_words(root, split="test", holdout=0.25)) == 3
    named = {"images": "ch4_test_images", "labels": "Challenge4_Test_Task1_GT"}
    assert len(open_words(root, **named, split="test", holdout=0.4)) == 1

    mine = tmp_path / "mine"
    write(mine, *[GOOD] * 3)
    for place, count in (("", 3), ("test", 2)):
        write(mine / place, *[GOOD] * count)
        (mine / place / "gt").rename(mine / place / "labels")
    assert len(open_words(mine, split="test")) == 2
    assert len(open_words(mine, images="images", labels="labels", split="test")) == 2
    assert len(open_words(mine, images="images", labels="labels", split="validation")) == 1

    together = tmp_path / "together"
    write(together, GOOD)
    for name in ("images", "gt"):
        for path in (together / name).iterdir():
            path.rename(together / path.name)
        (together / name).rmdir()
    assert len(open_words(together)) == 1
    (tmp_path / "empty").mkdir()
    with pytest.raises(LabelError, match=r"images \+ gt"):
        open_words(tmp_path / "empty")


TRAINING = "ch4_training_images", "ch4_training_localization_transcription_gt"


def place(root, images, labels, *stems):
    """Pictures and labels of these names in folders of these names."""
    for stem in stems:
        write_image(root / images / f"{stem}.png", np.zeros((80, 120, 3), np.uint8))
        (root / labels).mkdir(parents=True, exist_ok=True)
        (root / labels / f"gt_{stem}.txt").write_text(GOOD)


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("ch4_test_images", "Challenge4_Test_Task1_GT"),
        ("ch4_test_images", "ch4_test_localization_transcription_gt"),  # EasyOCR's trainer
        ("CH4_TEST_IMAGES", "challenge4_test_task1_gt"),
        ("test/images", "test/gt"),
        ("test/images", "test"),
    ],
)
def test_test_sets_are_found_by_their_names(tmp_path, images, labels):
    place(tmp_path, *TRAINING, "img_1", "img_2")
    place(tmp_path, images, labels, "img_1", "img_2", "img_3")
    folder = open_words(tmp_path, split="test")
    assert (folder.images.name, len(folder)) == (Path(images).name, 3)
    assert unused_files(folder) == [] == unused_files(open_words(tmp_path, split="train"))


def test_the_slip_in_the_guide_of_easyocr(tmp_path):
    """It names the folder of the training labels for the test as well."""
    place(tmp_path, *TRAINING, "a", "b")
    place(tmp_path, "ch4_test_images", TRAINING[1], "c", "d", "e")
    assert names(open_words(tmp_path, split="test")) == ["c.png", "d.png", "e.png"]
    assert unused_files(open_words(tmp_path, split="train")) == []
    # Pictures that would get the labels of others are none to judge by, and are named.
    place(tmp_path, "ch4_test_images", TRAINING[1], "b")
    assert names(open_words(tmp_path, split="test", holdout=0.5)) == ["b.png"]
    lonely, note = audit_words(open_words(tmp_path, split="train", holdout=0.5)).notes
    assert (
        lonely.startswith("3 label files of")
        and note.startswith("1 folders of")
        and note.endswith("ch4_test_images")
    )


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("Challenge2_Training_Task12_Images", "Challenge2_Training_Task1_GT"),
        ("challenge4_training_task1_images", "CHALLENGE4_TRAINING_TASK1_GT"),
        ("ch8_training_images", "ch8_training_localization_transcription_gt_v2"),
        ("images", "."),  # CVAT: SUBSET/images/NAME.jpg and SUBSET/gt_NAME.txt
        ("train/images", "train"),
        (".", "."),
    ],
)
def test_sets_to_train_on_are_found_by_their_names(tmp_path, images, labels):
    place(tmp_path, images, labels, "img_1", "img_2")
    folder = open_words(tmp_path)
    assert names(folder) == ["img_1.png", "img_2.png"] and folder.page(1).words
    assert unused_files(folder) == []


def test_labeled_folders_that_are_not_used_are_named(tmp_path, capsys):
    place(tmp_path, "images", "gt", "a", "b")
    place(tmp_path, "test/images", "test/gt", "c")
    place(tmp_path, "more/photos", "more/gt", "d")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "readme.txt").write_text("no labels")
    sources = {"mine": SourceOptions("words", str(tmp_path), holdout=0)}
    audit_sources(sources)
    said = capsys.readouterr().out
    assert "2 folders of" in said and f"{tmp_path}/more/gt, {tmp_path}/more/photos" in said
    mix = Mix(sources, seed=0)
    assert "more/photos" in mix.problems()[str(tmp_path / "images")]


def test_the_layout_is_named_first_or_refused(tmp_path, capsys):
    corners = GOOD.removesuffix(",word")
    write(tmp_path / "mlt", *[f"{corners},Latin,Chicken\n{corners},None,###"] * 3)
    sources = {"mine": SourceOptions("words", str(tmp_path / "mlt"), holdout=0)}
    found = audit_sources(sources)["mine"]
    assert (found.longest, found.dont_care) == ("Chicken", 3)
    assert capsys.readouterr().out.startswith(
        "mine: labels read as mlt: x1,y1,...,x4,y4,script,text (ICDAR MLT); detected from all lines"
    )
    write(tmp_path / "flags", *[f"{corners},0"] * 3)
    options = SourceOptions("words", str(tmp_path / "flags"), holdout=0)
    found = audit_sources({"mine": options})["mine"]
    assert "layout=td500 reads them as difficulty flags" in str(found) and found.warnings
    with pytest.raises(LabelError, match="3 of 3 texts are 0 or 1"):
        Mix({"mine": options}, seed=0)
    section = {"kind": "words", "root": options.path, "split": "all", "holdout": 0.0}
    section |= {"dont_care": ["###"], "layout": "auto"}
    assert len(audit_truth({"test": section}, log=lambda text: None)) == 1
    assert audit_truth({"test": section | {"layout": "td500"}}, log=lambda text: None) == []
    with pytest.raises(SourceError, match="layout is 'yolo', expected one of auto, quad, box"):
        SourceOptions("words", options.path, layout="yolo")


def test_names_that_are_not_utf8_are_printed(tmp_path):
    write(tmp_path, *[GOOD] * 3)
    for folder, start, suffix in (("images", "", ".png"), ("gt", "gt_", ".txt")):
        (tmp_path / folder / f"{start}p1{suffix}").rename(
            tmp_path / folder / os.fsdecode(start.encode() + b"\xb7\xa2" + suffix.encode())
        )
    label = tmp_path / "gt" / os.fsdecode(b"gt_\xb7\xa2.txt")
    label.write_text("no coordinates")
    config = f"--config={CONFIGS / 'custom.py'}"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "craftjax.main", config, "--mode=audit"),
            f"--config.data.root={tmp_path}",
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii:strict"},
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert "gt_\\udcb7\\udca2.txt:1" in done.stdout
