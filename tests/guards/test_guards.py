"""Code may move; what configs say, what is found and how training begins stays."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from guards import HERE, assert_close, config_leaves


def kept(name):
    return json.loads((HERE / name).read_text(encoding="utf-8"))


def remade(name, folder):
    """In a process of its own: one device, as when the files were written."""
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    command = [sys.executable, str(HERE / "guards.py"), str(folder), name]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads((Path(folder) / name).read_text(encoding="utf-8"))


def test_configs_say_the_same():
    now = config_leaves()
    for config, leaves in kept("configs.json").items():
        changed = {k: (v, now[config].get(k)) for k, v in leaves.items() if now[config].get(k) != v}
        assert changed == {}, config


def test_the_same_words_are_found(craft_weights, tmp_path):
    found = remade("detections.json", tmp_path)
    assert sum(len(page["words"]) for page in found) > 10
    assert_close(found, kept("detections.json"), tolerance=1e-3)


def test_training_begins_the_same(tmp_path):
    found = remade("first_steps.json", tmp_path)
    assert found["detector"] and found["recognizer"]
    assert_close(found, kept("first_steps.json"), tolerance=2e-3)
