"""Run a real EasyOCR in a separate process, in the interpreter that has it.

EasyOCR needs PyTorch, which ocrjax does not; so it may be installed in another environment.
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
    """EasyOCR cannot be run, or failed; the message quotes its output."""


def run_easyocr(
    job: Mapping[str, Any], images: Sequence[ByteArray], *, python: str | Path | None = None
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Run a job of `ocrjax.easyocr.run_in_easyocr` in a new process.

    Args:
        job: `task` and its arguments, as JSON values.
        images: the images to process, uint8.
        python: a Python interpreter with EasyOCR; None: this one.

    Returns:
        The result, with the versions of `easyocr` and `torch`, and its arrays.

    Raises:
        EasyOcrError: there is no such interpreter, it lacks EasyOCR, or EasyOCR failed.
    """
    python = _interpreter(python)
    with tempfile.TemporaryDirectory(prefix="ocrjax-easyocr-") as name:
        folder = Path(name)
        job = {**job, "images": len(images)}
        (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
        arrays: dict[str, Any] = {f"image{i}": image for i, image in enumerate(images)}
        np.savez(folder / "job.npz", **arrays)
        with Progress(f"running EasyOCR on {len(images)} images"):
            _execute(python, _SCRIPT.read_bytes(), folder)
        if not (folder / "result.json").is_file():
            raise EasyOcrError(
                f"--easyocr-python {python}: ran but wrote no result; expected a Python interpreter"
            )
        result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        with np.load(folder / "result.npz") as file:
            return result, dict(file)


def check_import(python: str | Path | None = None) -> None:
    """Check that EasyOCR can be imported, in a new process.

    Args:
        python: as for `run_easyocr`.

    Raises:
        EasyOcrError: it cannot be imported; the message says what to do.
    """
    functions = _SCRIPT.read_text("utf-8").partition('if __name__ == "__main__"')[0]
    with tempfile.TemporaryDirectory(prefix="ocrjax-easyocr-") as name:
        script = f"{functions}\nimport_easyocr()\n"
        _execute(_interpreter(python), script.encode(), Path(name))


def _execute(python: str, script: bytes, folder: Path) -> None:
    """Run a script with the folder as its argument and as EasyOCR's module path."""
    # An empty working directory, so that no file there hides a module that EasyOCR imports.
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
    """The interpreter's absolute path, for a process with another working directory.

    A bare name is left to PATH.
    """
    name = str(python or sys.executable)
    # Links are not resolved: Python finds its virtual environment by the path of the link.
    return name if Path(name).name == name else str(expanded(name).absolute())


def _explain(python: str, said: str) -> str:
    lines = said.strip().splitlines() or ["nothing"]
    last = lines[-1]
    if last.startswith(("ModuleNotFoundError", "ImportError")):
        return (
            f"{python} cannot import EasyOCR ({last}). Name an interpreter that can with "
            f"--easyocr-python PATH or $EASYOCR_PYTHON; `{INSTALL}` in this project's repository "
            "sets one up and prints its path"
        )
    return "EasyOCR failed:\n  " + "\n  ".join(lines[-12:])
