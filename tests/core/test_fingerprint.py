"""What has changed of the data since a run was last started."""

from __future__ import annotations

import os

import pytest

from ocrcore.data import fingerprint
from ocrcore.data.fingerprint import note_data


@pytest.fixture
def photos(tmp_path):
    root = tmp_path / "photos"
    for name in ("images/1.jpg", "images/2.jpg", "gt/gt_1.txt", "gt/gt_2.txt", "gt/more/a.txt"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (root / "large.mat").write_bytes(bytes((1 << 20) + 1))
    return root


@pytest.fixture
def note(tmp_path, photos):
    def note(**more):
        said = []
        places = [photos / "images", photos / "gt", photos / "large.mat"]
        note_data(tmp_path / "run" / "data.json", {"photos": places, **more}, said.append)
        return said

    return note


def test_changes_are_named_once(note, photos):
    assert note() == [] == note()
    (photos / "gt" / "gt_1.txt").write_text("gt/gt_9.txt")  # as long as before
    (photos / "images" / "1.jpg").write_text("longer than it was")
    (photos / "images" / "2.jpg").unlink()
    (photos / "images" / "3.jpg").touch()
    (photos / "gt" / "more" / "a.txt").write_text("not read")
    os.utime(photos / "large.mat", (1, 1))
    (line,) = note(others=[photos / "nowhere"])
    assert line.startswith(
        "WARNING: config.data.train.photos changed since this run was last started: "
        "gt/gt_1.txt was changed, images/1.jpg was changed, images/2.jpg is gone and 2 more. "
    )
    assert note(others=[]) == []


def test_a_copy_is_the_same(note, photos):
    note()
    for path in [*photos.glob("*/*.jpg"), *photos.glob("*/*.txt")]:
        os.utime(path, (1, 1))
    assert note() == []


def test_a_file_in_a_folder_is_named_once(tmp_path, photos):
    labels, said = photos / "gt" / "gt_1.txt", []
    for text in ("a", "b"):
        labels.write_text(text)
        note_data(tmp_path / "data.json", {"a": [labels, photos / "gt"]}, said.append)
    (line,) = said
    assert "last started: gt_1.txt was changed. Training" in line


def test_of_a_large_folder_the_files_are_counted(note, photos, monkeypatch):
    monkeypatch.setattr(fingerprint, "_MANY", 1)
    note()
    (photos / "images" / "3.jpg").touch()
    (line,) = note()
    assert "last started: images/ was changed. Training continues" in line


def test_a_damaged_note_is_written_again(note, tmp_path):
    note()
    whole = (tmp_path / "run" / "data.json").read_text()
    for text in ("{", "[]", '{"photos": 3}', ""):
        (tmp_path / "run" / "data.json").write_text(text)
        assert note() == []
        assert (tmp_path / "run" / "data.json").read_text() == whole
