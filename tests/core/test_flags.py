import re
import subprocess
import sys

import pytest

from ocrcore.training.flags import explain_config, explain_keys

CONFIG = """
from ml_collections import ConfigDict, FieldReference


def get_config(kind="box"):
    config = ConfigDict({"name": "small", "steps": 3})
    config.data = ConfigDict({"train": {"photos": {"path": kind}}, "size": 32})
    config.optimizer = ConfigDict({"name": "adam", "learning_rate": 1e-3})
    config.detector = ConfigDict({"canvas_size": 320})
    config.checkpoint = ConfigDict({"every": 3})
    config.eval = ConfigDict({"every": 3, "sweep": True})
    config.pseudo = FieldReference(None, field_type=ConfigDict)
    return config
"""


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("detector.canvas_szie", "did you mean config.detector.canvas_size?"),
        ("data.steps", "did you mean config.steps?"),
        ("every", "did you mean config.eval.every or config.checkpoint.every?"),
        ("optimiser.learning_rate", "did you mean config.optimizer.learning_rate?"),
        ("data.train.photo.path", "did you mean config.data.train.photos.path?"),
        ("data.learning_rate", "did you mean config.optimizer.learning_rate?"),
        ("optimizer.lr", "config.optimizer has learning_rate, name"),
        ("pseudo.teacher", "config.pseudo is not set: the file may set it"),
        ("steps.more", "config.steps is a single value"),
    ],
)
def test_keys_that_a_config_does_not_have(tmp_path, key, hint):
    file = tmp_path / "small.py"
    file.write_text(CONFIG)
    for flags in ([f"--config={file}:quad"], ["--config", str(file)]):
        line = ["main", *flags, "--config.steps=5", "--config.eval.every=1", f"--config.{key}=1"]
        assert explain_keys(line) == f"{file} has no config.{key}; {hint}"
        assert explain_keys(line[:-1]) is None
    assert explain_keys(["main", f"--config.{key}=1"]) is None


def test_keys_without_a_value(tmp_path):
    file = tmp_path / "small.py"
    file.write_text(CONFIG)
    line = ["main", f"--config={file}", "--noconfig.eval.sweep"]
    assert explain_keys(line) is None
    line[-1] += "s"
    assert explain_keys(line).endswith("did you mean config.eval.sweep?")


@pytest.mark.parametrize(
    ("program", "flag", "message"),
    [
        ("craftjax", "--images=x", "--images has no effect in --mode=train, only in evaluate and"),
        ("craftjax", "--workers=2", "--workers has no effect in --mode=train, only in pack"),
        ("crnnjax", "--crops=x", "--crops has no effect in --mode=train, only in evaluate"),
    ],
)
def test_flags_without_an_effect_are_refused(tmp_path, program, flag, message):
    (tmp_path / "small.py").write_text(CONFIG)
    options = [f"--config={tmp_path / 'small.py'}", "--mode=train", flag]
    command = [sys.executable, "-m", f"{program}.main", *options, f"--workdir={tmp_path}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and f"{program}.main: {message}" in done.stderr


def test_a_config_that_is_none(tmp_path):
    (tmp_path / "quick.py").write_text(CONFIG)
    (tmp_path / "other.py").write_text("def make_config():\n    pass\n")
    (tmp_path / "torn.py").write_text("steps = 3\ndef get_config(:\n")
    (tmp_path / "binary.py").write_bytes(b"\xff\xfe\0\0")
    (tmp_path / "custom_data_train.yaml").write_text("iterations: 3\n")
    cases = [
        ("quick.py", None),
        ("quik.py", "no such file; did you mean .*quick.py"),
        ("nothing_like_it.py", "no such file$"),
        ("", "a folder, expected a file"),
        ("other.py", "has no function get_config"),
        ("torn.py", "torn.py:2: not Python"),
        ("binary.py", "not Python"),
        ("custom_data_train.yaml", "configs are Python files.*docs/coming_from_easyocr.md"),
    ]
    for name, message in cases:
        file = tmp_path / name
        for line in ([f"--config={file}"], ["--config", str(file)], [f"--config={file}:quad"]):
            found = explain_config(["main", *line])
            if message is None:
                assert found is None
            else:
                assert found.startswith(f"--config={file}") and re.search(message, found), found
    assert explain_config(["main"]) is None


def test_configs_that_take_get_config_from_elsewhere(tmp_path):
    for number, text in enumerate(
        ["from quick import get_config", "from quick import *", "get_config = dict"]
    ):
        (tmp_path / f"{number}.py").write_text(text)
        assert explain_config(["main", f"--config={tmp_path}/{number}.py"]) is None


def test_a_missing_config_ends_a_program_in_one_line(tmp_path):
    command = [sys.executable, "-m", "craftjax.main", f"--config={tmp_path}/none.py"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"craftjax.main: --config={tmp_path}/none.py: no such file\n"


def test_help_lists_the_shared_flags():
    command = [sys.executable, "-m", "crnnjax.main", "--help"]
    shown = subprocess.run(command, capture_output=True, text=True).stdout
    assert {"--config:", "--workdir:", "--coordinator:", "--crops:"} <= set(shown.split())
