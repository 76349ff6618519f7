"""What must stay equal while code moves: configs, boxes, the first steps of training, public names.

    python tests/guards/guards.py [FOLDER [NAMES]]

writes the JSON files, by default beside this one; `test_guards.py` compares with those here.
"""

from __future__ import annotations

import ast
import json
import runpy
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict, FieldReference

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PACKAGES = ("craftjax", "crnnjax", "ocrcore", "ocrjax")
PICTURES = ("docs/example.jpg", "docs/synth_plain.jpg", "docs/synth_scene.jpg")


def config_leaves() -> dict[str, dict[str, Any]]:
    """All values of all configs, by file and dotted name."""
    found = {}
    for path in sorted((ROOT / "configs").glob("*.py")):
        make = runpy.run_path(str(path)).get("get_config")
        if make is not None:
            found[path.stem] = dict(sorted(leaves(make())))
    return found


def leaves(config: ConfigDict, prefix: str = "") -> list[tuple[str, Any]]:
    """Dotted names and plain values; tuples become lists, as in JSON."""
    found = []
    for name in config:
        value = config[name]
        if isinstance(value, FieldReference):
            value = value.get()
        if isinstance(value, ConfigDict):
            found += leaves(value, f"{prefix}{name}.")
        else:
            found.append((prefix + name, json.loads(json.dumps(value))))
    return found


def detections() -> list[dict[str, Any]]:
    """Pages that EasyOCR's detector finds on the pictures of docs/."""
    from craftjax.detector import Detector

    detector = Detector.from_weights("craft_mlt_25k")
    pages = detector.detect([ROOT / name for name in PICTURES], canvas_size=640)
    return [{**page.to_dict(), "path": None} for page in pages]


def first_steps() -> dict[str, list[dict[str, float]]]:
    """The metrics of 20 steps of the quickstart and of a small recognizer, on one device."""
    import craftjax
    import crnnjax

    detector = runpy.run_path(str(ROOT / "configs/quickstart.py"))["get_config"]()
    detector.steps = 20
    detector.log_every = detector.eval.every = 10
    detector.eval.pages.count = 4
    detector.test.count = 2
    detector.overlays = 0
    detector.optimizer.warmup = 5

    recognizer = runpy.run_path(str(ROOT / "configs/crnn_synth.py"))["get_config"]()
    recognizer.steps = 20
    recognizer.batch_size = 8
    recognizer.optimizer.warmup = 5
    recognizer.model.channels = recognizer.model.hidden = 32
    recognizer.log_every = recognizer.eval.every = 10
    recognizer.eval.sets.synthetic.count = recognizer.test.synthetic.count = 20
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, train, config in (
            ("detector", craftjax.train, detector),
            ("recognizer", crnnjax.train, recognizer),
        ):
            workdir = Path(folder) / name
            train(config, workdir)
            lines = (workdir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
            found[name] = [timeless(json.loads(line)) for line in lines]
    return found


def timeless(entry: dict[str, float]) -> dict[str, float]:
    """An entry of metrics.jsonl without what depends on the machine's speed."""
    timed = ("second", "per_s", "wait", "data", "time", "eta", "elapsed", "memory", "rate")
    return {
        name: value
        for name, value in entry.items()
        if name == "learning_rate" or not any(word in name for word in timed)
    }


def public_names() -> list[str]:
    """Public functions and classes, and public methods, without their modules: files may move."""
    found = set()
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if not isinstance(node, ast.FunctionDef | ast.ClassDef) or node.name[0] == "_":
                    continue
                found.add(node.name)
                if isinstance(node, ast.ClassDef):
                    found |= {
                        f"{node.name}.{one.name}"
                        for one in node.body
                        if isinstance(one, ast.FunctionDef) and one.name[0] != "_"
                    }
    return sorted(found)


def assert_close(ours: Any, kept: Any, *, tolerance: float, where: str = "") -> None:
    """Equal structure, and numbers equal to a share of their size (processors differ a little)."""
    if isinstance(kept, dict):
        assert ours.keys() == kept.keys(), where
        for name, value in kept.items():
            assert_close(ours[name], value, tolerance=tolerance, where=f"{where}.{name}")
    elif isinstance(kept, list):
        assert len(ours) == len(kept), where
        for number, (one, two) in enumerate(zip(ours, kept, strict=True)):
            assert_close(one, two, tolerance=tolerance, where=f"{where}[{number}]")
    elif isinstance(kept, float):
        np.testing.assert_allclose(ours, kept, rtol=tolerance, atol=tolerance, err_msg=where)
    else:
        assert ours == kept, where


FILES = {
    "configs.json": config_leaves,
    "detections.json": detections,
    "first_steps.json": first_steps,
    "public_names.json": public_names,
}


def main(folder: Path, names: list[str]) -> None:
    """Writes some of the files, or all, into a folder."""
    for name in names or FILES:
        text = json.dumps(FILES[name](), indent=1, ensure_ascii=False)
        (folder / name).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else HERE, sys.argv[2:])
