"""Files that are written whole or not at all."""

from __future__ import annotations

import json

import pytest

from ocrcore.files import new_folder, replacing, write_json


def test_a_file_is_replaced_at_the_end(tmp_path):
    path = tmp_path / "new" / "a.txt"
    for text in ("one", "two"):
        with replacing(path) as part:
            part.write_text(text)
            assert not path.exists() or path.read_text() == "one"
        assert path.read_text() == text
    assert list(path.parent.iterdir()) == [path]


def test_a_failure_keeps_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), replacing(path) as part:
        part.write_text("half")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == [path] and path.read_text() == "old"


def test_what_a_killed_process_left_is_overwritten(tmp_path):
    (tmp_path / "a.json.part").write_text("half of a longer text")
    write_json(tmp_path / "a.json", {"a": 1})
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
    assert (tmp_path / "a.json").read_text() == '{\n "a": 1\n}\n'


def test_json_is_readable_and_holds_any_name_of_a_file(tmp_path):
    value = {"text": "한 ü", "path": "bad\udcff.png"}
    write_json(tmp_path / "a.json", value)
    assert json.loads((tmp_path / "a.json").read_bytes()) == value
    assert "한 ü".encode() in (tmp_path / "a.json").read_bytes()


def test_the_first_of_two_folders_wins(tmp_path):
    for text in ("first", "second"):
        with new_folder(tmp_path / "cache" / "f", marker="done") as part:
            (part / "done").write_text(text)
    assert (tmp_path / "cache" / "f" / "done").read_text() == "first"
    assert [p.name for p in (tmp_path / "cache").iterdir()] == ["f"]


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "other").touch()
    with pytest.raises(OSError), new_folder(tmp_path / "f", marker="done") as part:
        (part / "done").touch()
    assert [p.name for p in tmp_path.iterdir()] == ["f"]
