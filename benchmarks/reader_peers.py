"""A reader that answers line by line, in its own interpreter; started by `read.py`.

    /path/of/its/python benchmarks/reader_peers.py easyocr

For each path on standard input it writes a line of JSON to standard output: the words with their
corners and confidence, the seconds from path to words, the CPU seconds and the peak memory. The
first line says what runs, with which parameters. For a peer, nothing of ocrjax is imported. Each
runs with its default settings, except as noted:

* `easyocr`: `Reader(["en"]).readtext`, which joins words to lines; `easyocr-words`: the same with
  `width_ths=0`, which joins fewer.
* `rapidocr`: with `return_word_box=True`, its own way to split lines into words.
* `tesseract`: the program, with `--psm 11` (sparse text) and `tsv`.
* `english_g2`, `ppocrv6_small`: `ocrjax.Reader` with these recognizer weights; `fitted` with the
  output of `ocrjax fit` in the folder given after the name. They run in JAX; `onnx` is what
  `ocrjax read` runs by default where ONNX Runtime is installed, `fast` the same with `--fast`,
  `bundled` with `--fast` where no other weights are installed.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Words = list[tuple[Any, str, float]]
Run = Callable[[str], Words]


def open_easyocr(**options: Any) -> tuple[Run, dict[str, Any]]:
    """Return `readtext` of EasyOCR."""
    from peers import import_easyocr

    easyocr = import_easyocr()
    settings: dict[str, Any] = {"gpu": False, "verbose": False}
    weights = importlib.util.find_spec("easyocr_en_models")
    if weights is not None and weights.submodule_search_locations:
        folder = Path(weights.submodule_search_locations[0]) / "models"
        settings.update(model_storage_directory=str(folder), download_enabled=False)
    reader = easyocr.Reader(["en"], **settings)

    def run(path: str) -> Words:
        return list(reader.readtext(path, **options))

    return run, {"version": importlib.metadata.version("easyocr"), **options}


def open_rapidocr() -> tuple[Run, dict[str, Any]]:
    """Return `rapidocr` with word boxes."""
    import rapidocr

    engine = rapidocr.RapidOCR(params={"Global.log_level": "critical"})

    def run(path: str) -> Words:
        found = engine(path, return_word_box=True)
        if found.boxes is None:
            return []
        words = [word for line in found.word_results for word in line]
        if not all(len(word) == 3 and word[2] is not None for word in words):
            return list(zip(found.boxes, found.txts, found.scores, strict=True))
        return [(box, text, score) for text, score, box in words]

    return run, {"version": importlib.metadata.version("rapidocr"), "return_word_box": True}


def open_tesseract() -> tuple[Run, dict[str, Any]]:
    """Return the program `tesseract`."""
    version = subprocess.run(["tesseract", "--version"], capture_output=True, text=True, check=True)

    def run(path: str) -> Words:
        command = ["tesseract", path, "stdout", "--psm", "11", "-l", "eng", "tsv"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        words: Words = []
        for line in done.stdout.splitlines()[1:]:
            cells = line.split("\t", 11)
            if len(cells) == 12 and cells[0] == "5" and cells[11].strip():
                left, top, width, height = map(float, cells[6:10])
                right, bottom = left + width, top + height
                box = [(left, top), (right, top), (right, bottom), (left, bottom)]
                words.append((box, cells[11], float(cells[10]) / 100))
        return words

    return run, {"version": version.stdout.split("\n")[0].split()[-1], "psm": 11}


def open_ours(
    recognizer: str, detector: str = "", *, backend: str = "jax"
) -> tuple[Run, dict[str, Any]]:
    """Return `ocrjax.Reader.read`; with the default detector if none is given."""
    from ocrcore.runtime.tuning import tune_process
    from ocrjax import Reader, __version__

    tune_process()
    said: list[str] = []
    reader = Reader(detector or None, recognizer, backend=backend, log=said.append)

    def run(path: str) -> Words:
        words = reader.read(path).words
        return [(word.quad, word.text or "", word.confidence or 0.0) for word in words]

    return run, {"version": __version__, "said": [line.partition(";")[2] for line in said]}


def open_fitted(folder: Path) -> tuple[Run, dict[str, Any]]:
    """Return the same with the weights of `ocrjax fit`."""
    weights = folder / "weights"
    return open_ours(str(weights / "recognizer" / "weights.pth"), str(weights / "detector.pth"))


OURS = ("english_g2", "ppocrv6_small", "fitted", "onnx", "fast", "bundled")
READERS: dict[str, Callable[[], tuple[Run, dict[str, Any]]]] = {
    "english_g2": lambda: open_ours("english_g2"),
    "ppocrv6_small": lambda: open_ours("ppocrv6_small"),
    "fitted": lambda: open_fitted(Path(sys.argv[2])),
    "onnx": lambda: open_ours("ppocrv6_small", backend="onnx"),
    "fast": lambda: open_ours("ppocrv6_small", "craft_compact", backend="onnx"),
    "bundled": lambda: open_ours("crnn_synth", "craft_compact", backend="onnx"),
    "easyocr": open_easyocr,
    "easyocr-words": lambda: open_easyocr(width_ths=0),
    "rapidocr": open_rapidocr,
    "tesseract": open_tesseract,
}
"""By name: a function that opens a reader."""


def cpu_seconds() -> float:
    """Return the CPU time of this process and its child processes."""
    return time.process_time() + sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])


def peak_mib() -> float:
    """Return the peak memory of this process or, if larger, of a child process."""
    kinds = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN
    return max(resource.getrusage(kind).ru_maxrss for kind in kinds) / 1024


def main() -> None:
    """Read the pictures given on standard input."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("reader", choices=sorted(READERS))
    parser.add_argument("folder", nargs="?", help="output folder of `ocrjax fit`")
    name = parser.parse_args().reader
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # other output of a reader must not mix with the answers

    def answer(value: dict[str, Any]) -> None:
        answers.write(json.dumps(value) + "\n")
        answers.flush()

    run, about = READERS[name]()
    answer({"reader": name, **about})
    for line in sys.stdin:
        start, before = time.perf_counter(), cpu_seconds()
        words = run(line.rstrip("\n"))
        seconds, cpu = time.perf_counter() - start, cpu_seconds() - before
        plain = [
            ([[round(float(v), 2) for v in point] for point in box], text, round(float(sure), 5))
            for box, text, sure in words
        ]
        answer({"words": plain, "seconds": seconds, "cpu": cpu, "peak_mib": peak_mib()})


if __name__ == "__main__":
    main()
