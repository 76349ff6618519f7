"""Files that are written whole or not at all."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from ocrcore import files
from ocrcore.files import new_folder, replacing, write_json, write_text


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


def start_writing(path):
    """A process that has written half of a file, and its part."""
    program = (
        "import os, signal, sys; from ocrcore.files import replacing\n"
        "with replacing(sys.argv[1]) as part:\n"
        "    part.write_text('half'); print(part.name, flush=True); signal.pause()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True
    )
    part = path.with_name(process.stdout.readline().strip())
    assert part.read_text() == "half"
    return process, part


def test_what_a_killed_process_left_is_removed_and_what_another_writes_stays(tmp_path):
    path = tmp_path / "a.json"
    process, part = start_writing(path)
    try:
        write_json(path, {"a": 1})  # a folder is looked into once: not again below
        assert part.exists() and part != path
    finally:
        process.kill()
        process.communicate()
    (tmp_path / "mine.part").touch()
    (tmp_path / "mine.12.part").touch()
    files._remove_parts_of_killed.cache_clear()
    write_json(tmp_path / "b.json", {"b": 1})
    names = {p.name for p in tmp_path.iterdir()}
    assert names == {"a.json", "b.json", "mine.part", "mine.12.part"}
    assert path.read_text() == '{\n "a": 1\n}\n'


def test_the_longest_name_can_be_written(tmp_path):
    for name in ("a" * 255, "안" * 85):
        write_text(tmp_path / name, name)
        assert (tmp_path / name).read_text() == name
    assert len(list(tmp_path.iterdir())) == 2


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
