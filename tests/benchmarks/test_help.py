from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHARED = {"contest", "detector_runs", "peers", "reader_peers", "torch_craft", "torch_crnn"}
SCRIPTS = [
    path
    for folder in ("benchmarks", "benchmarks/lab")
    for path in sorted((ROOT / folder).glob("*.py"))
    if path.stem not in SHARED
]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_every_script_answers(path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(path), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout  # its options, or the table of one that has none


def test_the_readme_names_every_script():
    text = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    names = [path.relative_to(ROOT / "benchmarks").as_posix() for path in SCRIPTS]
    assert [
        name for name in names if f"`{name}`" not in text and "peer_detectors" not in name
    ] == []
