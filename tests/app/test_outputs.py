"""What commands write: never over what they read, over other files only with --force.

Each case is refused before anything is loaded: the weights here are empty files.
"""

from __future__ import annotations

import os
import tempfile

import numpy as np
import pytest
import tiny_recognizer
from PIL import Image

from crnnjax.report import evaluate_run
from ocrcore.data.packing import pack
from ocrcore.outputs import OutputError, check_outputs
from ocrcore.training.run_folder import RunFolder
from ocrjax.cli.main import _parse, _run

INPUTS = [
    ("detect in --overlay in", "lies in the input in"),
    ("detect in --overlay in/drawn", "lies in the input in"),
    ("detect in --overlay link", "lies in the input in"),
    ("detect in/a.png --overlay in", "in/a.png: would be replaced, but it is an input:"),
    (
        "detect in/a.png --overlay link",
        "link/a.png: would be replaced, but it is an input as in/a.png",
    ),
    ("detect in/a.png in/a_scores.png --heatmaps --overlay in", "would be replaced"),
    ("detect same/a.jpg in/a.png --overlay in", "in/a.png: would be replaced, but it is an input"),
    ("detect other.json --json other.json", "it is an input"),
    ("detect other.json --json other_link.json", "it is an input as other.json"),
    ("detect in --weights w.pth --operating-point p.json --json p.json", "it is an input"),
    ("detect in --weights run --json run/config.json", "it belongs to the input run"),
    ("convert w.pth w.pth", "w.pth: would be replaced, but it is an input:"),
    ("convert w.pth w_link.pth", "it is an input as w.pth"),
    ("convert w.pth w_hard.pth", "it is an input as w.pth"),
    ("convert w.pth ./in/../w.pth", "it is an input"),
    ("convert run run/weights.pth", "it belongs to the input run"),
    ("convert run run", "would be replaced, but it is an input"),
    ("average v.pth w.pth --out w.pth", "w.pth: would be replaced, but it is an input"),
    ("average v.pth w.pth --out w_hard.pth", "it is an input as w.pth"),
    ("average v.pth run --out run/weights.pth", "it belongs to the input run"),
    ("synth --backgrounds in --sheet in/a.png", "it belongs to the input in"),
    ("synth --backgrounds in/a.png --sheet in/a.png", "it is an input"),
    ("synth --words words.png --sheet words.png", "it is an input"),
    ("synth --backgrounds in --count 1 --format crops-csv --out in", "lies in the input in"),
    ("synth --backgrounds in --count 1 --format crops-csv --out in/new", "lies in the input in"),
    ("export easyocr w.pth --out . --name w", "w.pth: would be replaced, but it is an input"),
    ("export easyocr run --out run --name weights", "it belongs to the input run"),
    ("export easyocr w.pth --crops same --out same --name n", "it belongs to the input same"),
]
TAKEN = [
    ("detect in --weights w.pth --json old.json", "--force replaces"),
    (
        "detect in --weights w.pth --overlay drawn",
        "--force replaces them, --overlay DIR names another folder",
    ),
    ("convert w.pth v.pth", "--force replaces"),
    ("average w.pth run --out v.pth", "--force replaces"),
    ("synth --preset words --count 1 --sheet words.png", "--force replaces"),
    ("export easyocr w.pth --out . --name v", "--force replaces them, --out DIR names another"),
]
NEVER = [
    ("convert w.pth in", "in: exists and is a folder"),
    ("convert w.pth folder.pth", "exists and is a folder"),
    ("average w.pth v.pth --out pipe.pth", "exists and is not a regular file"),
    ("detect in --weights w.pth --json in/a.png", "--json in/a.png: expected a name that ends in"),
    ("detect in --weights w.pth --json new.txt", "ends in .json, .jsonl"),
    ("convert w.pth new.onnx", "new.onnx: expected a name that ends in .pth"),
    ("average w.pth v.pth --out new", "new: expected a name that ends in .pth"),
    ("average w.pth v.pth --out new.png", "new.png: expected a name that ends in .pth"),
    (f"detect in --weights w.pth --json {'n' * 247}.json", "File name too long"),
    (f"convert w.pth {'n' * 300}.pth", "File name too long"),
    ("synth --sheet new.json", "--sheet new.json: expected a name that ends in .png"),
    ("detect in --weights w.pth --json w.pth/new.json", "w.pth is a file, expected a folder"),
    ("detect in --weights w.pth --overlay w.pth/new", "w.pth is a file, expected a folder"),
    ("detect in --weights w.pth --overlay w.pth", "w.pth is a file, expected a folder"),
    ("convert w.pth v.pth/new.pth", "v.pth is a file, expected a folder"),
    ("convert w.pth v.pth/new", "v.pth is a file, expected a folder"),
    ("average w.pth run --out v.pth/deep/new.pth", "v.pth is a file, expected a folder"),
    ("synth --sheet w.pth/new.png", "w.pth is a file, expected a folder"),
    ("synth --count 1 --format crops-csv --out w.pth/new", "w.pth is a file, expected a folder"),
    ("export easyocr w.pth --out v.pth/new --name n", "v.pth is a file, expected a folder"),
]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder of a user's files; returns what says whether one of them has changed."""
    monkeypatch.chdir(tmp_path)
    for folder in ("in", "same", "drawn", "folder.pth", "run/checkpoints"):
        (tmp_path / folder).mkdir(parents=True)
    picture = Image.fromarray(np.zeros((8, 12), np.uint8))
    for name in ("in/a.png", "in/a_scores.png", "same/a.jpg", "drawn/a.png"):
        picture.save(tmp_path / name)
    picture.save(tmp_path / "other.json", format="PNG")
    names = ("w.pth", "v.pth", "old.json", "p.json", "run/weights.pth", "run/config.json")
    for name in (*names, "same/README.txt"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "words.png").write_text("words\n")
    (tmp_path / "link").symlink_to("in")
    (tmp_path / "other_link.json").symlink_to("other.json")
    (tmp_path / "w_link.pth").symlink_to("w.pth")
    (tmp_path / "w_hard.pth").hardlink_to("w.pth")
    os.mkfifo(tmp_path / "pipe.pth")

    def state():
        files = [path for path in sorted(tmp_path.rglob("*")) if path.is_file()]
        return [(path, path.is_symlink(), path.read_bytes()) for path in files]

    return state


def refused(command, message, state, capsys):
    before = state()
    assert _run(_parse(["ocrjax", *command.split()])) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.splitlines()) == 1
    assert state() == before


@pytest.mark.parametrize(("command", "message"), INPUTS)
def test_an_output_that_is_an_input(command, message, place, capsys):
    if command.startswith("detect") and "--weights" not in command:
        command += " --weights v.pth"
    refused(command, message, place, capsys)
    refused(f"{command} --force", message, place, capsys)


@pytest.mark.parametrize(("command", "message"), TAKEN)
def test_a_file_that_is_there(command, message, place, capsys):
    refused(
        command, f"already exists; {message}" if "DIR" not in message else message, place, capsys
    )
    assert _run(_parse(["ocrjax", *command.split(), "--force"])) in (0, 2)
    assert "already" not in capsys.readouterr().err


@pytest.mark.parametrize(("command", "message"), NEVER)
def test_a_place_where_nothing_can_be_written(command, message, place, capsys):
    refused(command, message, place, capsys)
    refused(f"{command} --force", message, place, capsys)


@pytest.mark.parametrize(
    "reason", [OSError(28, "No space left on device"), OSError(30, "Read-only")]
)
def test_a_disk_that_takes_nothing(reason, place, monkeypatch, capsys):
    def full(**_):
        raise reason

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    refused("convert w.pth new.pth", reason.strerror, place, capsys)
    refused("detect in --weights w.pth --json new/a.json", reason.strerror, place, capsys)


def test_checking_leaves_nothing_behind(tmp_path):
    check_outputs([tmp_path / "new" / "deep" / "a.json", tmp_path / "b.json"], inputs=[tmp_path])
    assert list(tmp_path.iterdir()) == []


def test_many_files_are_not_all_named(tmp_path):
    files = [tmp_path / f"{number}.png" for number in range(1005)]
    for file in files:
        file.touch()
    with pytest.raises(OutputError, match=r"2\.png and 1,002 more: already exists; --force"):
        check_outputs(files)


def test_the_folder_of_a_new_run(tmp_path):
    run = RunFolder(tmp_path / "run")
    run.check_place(trains=True)
    run.path.mkdir()
    run.config.write_text('{"data": {}}')  # of a run that was killed before its first checkpoint
    run.check_place(trains=True)
    run.config.write_text('{"model_type": "bert"}')
    with pytest.raises(OutputError, match=r"config\.json: exists, written by another program"):
        run.check_place(trains=True)
    run.weights.touch()
    with pytest.raises(OutputError, match=r"weights\.pth: exists, but the checkpoints"):
        run.check_place(trains=True)
    run.check_place()  # an evaluation replaces neither
    (run.checkpoints / "3").mkdir(parents=True)
    run.check_place(trains=True)
    with pytest.raises(OutputError, match=r"weights\.pth is a file, expected a folder"):
        RunFolder(run.weights / "run").check_place()


def test_crops_are_not_evaluated_into_their_folder(tmp_path):
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "labels.csv").write_text("filename,words\n")
    with pytest.raises(OutputError, match=r"lies in the input .*words"):
        evaluate_run(tiny_recognizer.get_config(), tmp_path, crops=str(tmp_path / "words"))
    assert len(list(tmp_path.rglob("*"))) == 2


@pytest.mark.parametrize("name", ["features.json", "faults-train.jsonl"])
def test_packing_into_a_folder_of_another_set(name, tmp_path):
    (tmp_path / name).write_text("theirs")
    with pytest.raises(OutputError, match=f"{name}: already exists; nothing was packed"):
        pack(lambda: range(3), tmp_path, name="mine")
    assert (tmp_path / name).read_text() == "theirs"
