"""The GPU kit's recognizers, rehearsed in small: processes, their tasks, what they leave."""

from __future__ import annotations

import importlib
import json
import sys
import tarfile
import time
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "benchmarks" / "gpu"
sys.path.insert(0, str(SCRIPTS))
recognizers = importlib.import_module("recognizers")
sys.path.remove(str(SCRIPTS))
Task = recognizers.Task
FAKE = """import os, sys, time
from pathlib import Path
name, folder = sys.argv[2], Path(sys.argv[4])
if name == "few":
    (folder / "claims" / "borndigital-3-steps2-0").write_text(name)
    os._exit(7)
(folder / "rows" / "charset-plates.json").write_text('{"case": "plates"}')
time.sleep(60)
"""


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "call"
    for part in ("rows", "errors", "claims"):
        (path / part).mkdir(parents=True)
    return path


def test_each_task_is_done_once_and_a_failed_one_twice(folder):
    listed = [Task("charset", "plates"), Task("charset", "greek")]
    found = [recognizers.claim(folder, listed, process) for process in ("one", "two", "one")]
    assert found == [*listed, None]
    assert (folder / "claims" / "charset-greek").read_text() == "two"
    (folder / "errors" / "charset-greek.json").write_text("{}")
    assert recognizers.claim(folder, listed, "one") == listed[1]
    assert recognizers.claim(folder, listed, "two") is None


def test_all_tasks_have_names_of_their_own():
    names = {task.name for one in recognizers.PROCESSES.values() for task in one}
    tasks = {task for one in recognizers.PROCESSES.values() for task in one}
    assert len(names) == len(tasks) == 12 + 3 + 9 + 4
    assert all(len(name) < 200 and name == Path(name).name for name in names)


def test_a_process_that_dies_and_one_that_does_not_end(tmp_path, monkeypatch):
    """The one is started again, its task is told as failed; the other is ended with the time."""
    fake = tmp_path / "fake.py"
    fake.write_text(FAKE)
    monkeypatch.setattr(recognizers, "__file__", str(fake))
    monkeypatch.setattr(recognizers, "_LEAST_S", 0.5)
    monkeypatch.setattr(recognizers, "_LOOK_S", 0.1)
    monkeypatch.setattr(recognizers, "ENDS_S", 0.0)
    (tmp_path / "call").mkdir()
    until = time.time() + 4
    launch = recognizers.Launch(tmp_path, tmp_path / "call", until, ["few", "charsets"], toy=True)
    launch.run()
    assert time.time() - until < 2
    told = json.loads((tmp_path / "results.json").read_text())
    assert told["errors"] == {"borndigital-3-steps2-0": {"error": "exit code 7"}}
    assert told["left"] == [*told["errors"]]
    assert told["rows"] == {"charset-plates": {"case": "plates"}}
    assert told["starts"]["few"] > 1 and told["ends"][0].startswith("few: exit code 7 after")
    assert told["ends"][-1].startswith("charsets: ended after")
    with tarfile.open(tmp_path / "rows.tar.xz") as tar:
        names = tar.getnames()
    assert {"rows/charset-plates.json", "errors/borndigital-3-steps2-0.json"} < set(names)


@pytest.mark.parametrize("names", [["few"], pytest.param([], marks=pytest.mark.slow)])
def test_rehearsal(tmp_path, names):
    only = ["--only", *names] if names else []
    recognizers.main(["--toy", "--out", str(tmp_path), "--budget", "300", *only])
    told = json.loads((tmp_path / "results.json").read_text())
    assert not told["errors"] and not told["left"], told
    tasks = [one for name in names or recognizers.TOY for one in recognizers.TOY[name]]
    assert told["rows"].keys() == {task.name for task in tasks}
    row = told["rows"]["borndigital-3-steps2-0"]
    assert row["train_crops"] + row["choose_crops"] == 3 and row["forget accuracy"]["words"] == 6
    with tarfile.open(tmp_path / "rows.tar.xz") as tar:
        assert "rows/borndigital-3-steps2-0.jsonl" in tar.getnames()
    if not names:
        for name in ("lcnet_synth", "crnn_synth"):
            assert told[name]["training"]["finished"] and told[name]["accuracy"]["all"]["count"]
            assert (tmp_path / f"{name}.safetensors").is_file()
