"""Provokes the collapse known from EasyOCR's trainer, and shows what ours does on the same input.

EasyOCR's issues 1005 and 1250: a detector is fine-tuned, the loss falls, and it no longer finds
anything. Here the labels of all, some or none of the training pictures are for pictures of another
size (all corners times `--scale`); the pictures for evaluation keep their true labels. Contestants,
from the same weights with the same crops, schedule and number of steps:

* original: like EasyOCR's trainer: the network itself labels its next epoch, watershed with its
  faults, no moving average, no guards;
* ours: moving average, split, guards.

Both are this project's code with different settings: EasyOCR's own trainer needs GPUs.

Command: python benchmarks/lab/collapse.py --root DIR [--shares 0 0.3 1] [--steps 120]
    (a folder with images/ and gt/, as for configs/borndigital.py)
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # modules shared with benchmarks/

import numpy as np
from detector_runs import CONFIGS, load_config
from ml_collections import ConfigDict

import craftjax
from craftjax.weak.supervision import CollapseError
from ocrcore.data.readers.icdar import read_icdar_folder, write_icdar
from ocrcore.pages import Page
from ocrcore.runtime.tuning import tune_process

ORIGINAL = {
    "ema": 0.0,
    "pseudo.teacher": "copy",
    "pseudo.method": "watershed",
    "pseudo.original": True,
    "pseudo.guard.confidence": 0.0,
    "pseudo.guard.mass": 0.0,
    "pseudo.guard.equal": 1.0,
    "pseudo.guard.hmean": 0.0,
}
OURS = {
    "ema": 0.99,
    "pseudo.teacher": "ema",
    "pseudo.method": "split",
    "pseudo.guard.confidence": 0.8,
    "pseudo.guard.mass": 0.5,
    "pseudo.guard.equal": 0.5,
    "pseudo.guard.hmean": 0.5,
}
CONTESTANTS: dict[str, dict[str, Any]] = {"original": ORIGINAL, "ours": OURS}
SHOWN = (
    "loss",
    "labels/confidence",
    "labels/equal",
    "labels/mass",
    "eval/precision",
    "eval/recall",
    "eval/hmean",
)


def break_labels(root: Path, target: Path, *, train: int, share: float, scale: float) -> int:
    """Copy the data set, with corners times `scale` in some of its first pictures.

    Args:
        root: folder with images/ and gt/.
        target: folder to create; pictures are linked.
        train: number of training pictures, the first ones by name.
        share: fraction of those that get wrong labels.
        scale: factor of the corners.

    Returns:
        The number of pictures with wrong labels.
    """
    pages = read_icdar_folder(root / "images", root / "gt")
    wrong = set(np.random.default_rng(0).permutation(train)[: round(train * share)].tolist())
    (target / "images").mkdir(parents=True)
    for index, page in enumerate(pages):
        picture = Path(str(page.path)).resolve()
        (target / "images" / picture.name).symlink_to(picture)
        labels = scaled(page, scale) if index in wrong else page
        write_icdar(target / "gt" / f"gt_{picture.stem}.txt", labels)
    return len(wrong)


def scaled(page: Page, scale: float) -> Page:
    """Return the page as if its picture had another size."""
    return replace(
        page, words=tuple(replace(word, quad=word.quad * np.float32(scale)) for word in page.words)
    )


def train(data: Path, workdir: Path, settings: dict[str, Any]) -> str:
    """Train; return the run's messages about a collapse."""
    config = load_config(CONFIGS / "borndigital.py")
    words, synth = config.data.train.words, config.data.train.synth
    config.data.train = ConfigDict({"words": words, "synth": synth})
    words.augment = ConfigDict({"crop": "words", "text_height": (6.0, 40.0)})
    synth.augment = ConfigDict({"crop": "words"})
    config.update_from_flattened_dict({**settings, "data.root": str(data)})
    workdir.mkdir(parents=True)
    with (workdir / "output.txt").open("w", encoding="utf-8") as out, redirect_stdout(out):
        try:
            craftjax.train(config, workdir)
        except CollapseError as error:
            return f"stopped before the first step: {error}"
    lines = (workdir / "output.txt").read_text(encoding="utf-8").splitlines()
    return "\n".join(line for line in lines if "COLLAPSE" in line)


def main() -> None:
    """Train, print tables and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--root", type=Path, required=True, help="folder with images/ and gt/")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.0, 0.3, 1.0])
    parser.add_argument("--scale", type=float, default=0.8)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--every", type=int, default=30, help="steps between labelings and tests")
    parser.add_argument("--pictures", type=int, default=80, help="training pictures")
    parser.add_argument("--judged", type=int, default=40, help="test pictures, after those")
    parser.add_argument("--size", type=int, default=256, help="size of the crops")
    parser.add_argument("--workdir", type=Path, default=Path("exp/benchmarks/collapse"))
    parser.add_argument("--out", type=Path, default=Path("exp/benchmarks/collapse.json"))
    args = parser.parse_args()
    tune_process()

    common = {
        "steps": args.steps,
        "batch_size": 6,
        "data.size": args.size,
        "data.train.words.order": "name",  # the order in which labels are broken
        "data.train.words.stop": args.pictures,
        "optimizer.learning_rate": 1e-4,  # the original's
        "optimizer.warmup": args.steps // 10,
        "optimizer.freeze": ("basenet/slice1", "basenet/slice2"),
        "detector.mag_ratio": 1.0,
        "pseudo.every": args.every,
        "eval.every": args.every,
        "eval.sweep": False,
        "eval.pages.order": "name",
        "eval.pages.start": args.pictures,
        "eval.pages.stop": args.pictures + args.judged,
        "test.start": 400,
        "overlays": 4,
        "checkpoint.every": args.steps,
    }
    shutil.rmtree(args.workdir, ignore_errors=True)
    found: list[dict[str, Any]] = []
    for share in args.shares:
        data = args.workdir / f"data_{share:g}"
        wrong = break_labels(
            args.root,
            data,
            train=args.pictures,
            share=share,
            scale=args.scale,
        )
        for name, settings in CONTESTANTS.items():
            workdir = args.workdir / f"{name}_{share:g}"
            said = train(data.resolve(), workdir, {**common, **settings})
            path = workdir / "metrics.jsonl"
            rows = []
            if path.is_file():
                rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
            found.append({"contestant": name, "wrong": wrong, "said": said, "metrics": rows})
            print(f"\n{name}, {wrong} of {args.pictures} pictures with wrong labels")
            print(table(rows))
            print(said or "ran to the end without a message")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def table(rows: list[dict[str, Any]]) -> str:
    """Format logged values by step."""
    steps: dict[int, dict[str, float]] = {}
    for row in rows:
        steps.setdefault(row["step"], {}).update(row)
    lines = ["step " + " ".join(f"{name.rpartition('/')[2]:>10}" for name in SHOWN)]
    for step, values in sorted(steps.items()):
        if "eval/hmean" in values or "labels/equal" in values:
            cells = (f"{values[name]:10.3f}" if name in values else " " * 10 for name in SHOWN)
            lines.append(f"{step:4} " + " ".join(cells))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
