"""Runs a real EasyOCR in a process of its own, in the interpreter that has it.

EasyOCR brings PyTorch, which this package does not need; so it may live in another environment.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ocrcore.files import expanded
from ocrcore.pages import ByteArray
from ocrcore.progress import Progress

_SCRIPT = Path(__file__).with_name("run_in_easyocr.py")
INSTALL = "tests/in_easyocr/setup.sh FOLDER"


class EasyOcrError(ValueError):
    """EasyOCR cannot be run, or failed; the message has what it said."""


def run_easyocr(
    job: Mapping[str, Any], images: Sequence[ByteArray], *, python: str | Path | None = None
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Does a job of `ocrjax.easyocr.run_in_easyocr` in a new process.

    Args:
        job: `task` and what that needs, as JSON.
        images: what to read, uint8.
        python: an interpreter that has EasyOCR; default this one.

    Returns:
        The result, with the versions of `easyocr` and `torch`, and its arrays.

    Raises:
        EasyOcrError: no such interpreter, EasyOCR is not in it, or it failed.
    """
    python = _interpreter(python)
    with tempfile.TemporaryDirectory(prefix="ocrjax-easyocr-") as name:
        folder = Path(name)
        job = {**job, "images": len(images)}
        (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
        arrays: dict[str, Any] = {f"image{i}": image for i, image in enumerate(images)}
        np.savez(folder / "job.npz", **arrays)
        with Progress(f"EasyOCR works on {len(images)} pictures"):
            _execute(python, _SCRIPT.read_bytes(), folder)
        if not (folder / "result.json").is_file():
            raise EasyOcrError(
                f"--easyocr-python {python}: it ran and left nothing; is it a Python?"
            )
        result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        with np.load(folder / "result.npz") as file:
            return result, dict(file)


def check_import(python: str | Path | None = None) -> None:
    """Imports EasyOCR in a new process, to see whether that works.

    Args:
        python: as of `run_easyocr`.

    Raises:
        EasyOcrError: it does not; the message says what to do.
    """
    functions = _SCRIPT.read_text("utf-8").partition('if __name__ == "__main__"')[0]
    with tempfile.TemporaryDirectory(prefix="ocrjax-easyocr-") as name:
        script = f"{functions}\nimport_easyocr()\n"
        _execute(_interpreter(python), script.encode(), Path(name))


def _execute(python: str, script: bytes, folder: Path) -> None:
    """Runs a script, with the folder as its argument and in the place of EasyOCR's own."""
    # An empty folder to work in, or its modules would hide those that EasyOCR imports.
    empty = folder / "empty"
    empty.mkdir()
    environment = {**os.environ, "EASYOCR_MODULE_PATH": str(folder), "PYTHONUTF8": "1"}
    try:
        done = subprocess.run(
            [python, "-", str(folder)],
            input=script,
            capture_output=True,
            cwd=empty,
            env=environment,
        )
    except OSError as error:
        raise EasyOcrError(f"--easyocr-python {python}: {error.strerror or error}") from error
    if done.returncode:
        raise EasyOcrError(_explain(python, done.stderr.decode("utf-8", "replace")))


def _interpreter(python: str | Path | None) -> str:
    """A path from here, since the process works in another folder; a bare name is for PATH."""
    name = str(python or sys.executable)
    # Not resolved: the interpreter of an environment is a link, and its place says which.
    return name if Path(name).name == name else str(expanded(name).absolute())


def _explain(python: str, said: str) -> str:
    lines = said.strip().splitlines() or ["nothing"]
    last = lines[-1]
    if last.startswith(("ModuleNotFoundError", "ImportError")):
        return (
            f"{python} cannot import EasyOCR ({last}). Name an interpreter that has it with "
            f"--easyocr-python PATH; `{INSTALL}`, in this project's repository, makes one and says "
            "its path"
        )
    return "EasyOCR failed:\n  " + "\n  ".join(lines[-12:])
