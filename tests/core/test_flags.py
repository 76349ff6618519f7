import subprocess
import sys

import pytest

from ocrcore.training.flags import explain_keys

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
        ("pseudo.teacher", "config.pseudo is not there: the file may add it"),
        ("steps.more", "config.steps is one value"),
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


def test_help_lists_the_shared_flags():
    command = [sys.executable, "-m", "crnnjax.main", "--help"]
    shown = subprocess.run(command, capture_output=True, text=True).stdout
    assert {"--config:", "--workdir:", "--coordinator:", "--crops:"} <= set(shown.split())
