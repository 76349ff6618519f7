import runpy
from pathlib import Path

import pytest

from ocrcore.training.flags import explain_keys
from ocrcore.training.optimizers import OptimizerOptions

CONFIGS = Path(__file__).parents[2] / "configs"
CONFIG = """
from ml_collections import ConfigDict


def get_config(kind="box"):
    config = ConfigDict({"name": "small", "steps": 3})
    config.data = ConfigDict({"train": {"photos": {"path": kind}}, "size": 32})
    config.optimizer = ConfigDict({"name": "adam", "learning_rate": 1e-3})
    config.detector = ConfigDict({"canvas_size": 320})
    config.checkpoint = ConfigDict({"every": 3})
    config.eval = ConfigDict({"every": 3})
    return config
"""


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("detector.canvas_szie", "did you mean config.detector.canvas_size? If not, add it there"),
        ("optimzer.learning_rate", "did you mean config.optimizer.learning_rate?"),
        ("data.steps", "did you mean config.steps?"),
        ("every", "did you mean config.checkpoint.every or config.eval.every?"),
        # Options that the file leaves out look like nothing in it.
        ("optimizer.clip_norm", "if it is not mistyped, add it there as a line: config.optim"),
        ("optimizer.freeze", "if it is not mistyped"),
        ("data.train.photos.ratio", "if it is not mistyped"),
        ("loss.count_masked", "if it is not mistyped"),
    ],
)
def test_keys_that_a_config_has_not(tmp_path, key, hint):
    file = tmp_path / "small.py"
    file.write_text(CONFIG)
    for flags in ([f"--config={file}:quad"], ["--config", str(file)]):
        line = ["main", *flags, "--config.steps=5", f"--config.{key}=1"]
        assert explain_keys(line).startswith(f"{file}")
        assert f" has no config.{key}; {hint}" in explain_keys(line)
        assert explain_keys(line[:-1]) is None
    assert explain_keys(["main", f"--config.{key}=1"]) is None


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("*.py")), ids=lambda file: file.stem)
def test_options_of_any_training_have_a_line_in_each_config(file):
    """Without one the locked config refuses the flag."""
    config = runpy.run_path(str(file))["get_config"]()
    if "optimizer" in config:
        assert {"clip_norm", "accumulate", "freeze"} <= set(config.optimizer)
        OptimizerOptions.from_config(config.optimizer)
    if "loss" in config:
        assert config.loss.count_masked is True
