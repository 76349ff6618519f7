"""Fine-tune PP-OCRv6's small recognizer on your word crops, then read with it.

    python examples/finetune_recognizer.py words/labels.tsv --out exp/words

A line of the file is the path of an image, a tab and its text. Needs the extra `weights`. See
docs/train_recognizer.md for each step, configs/finetune_recognizer.py for more settings.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ml_collections import ConfigDict

import crnnjax
from crnnjax.config import crops_of, recognizer, source
from ocrcore.runtime.tuning import tune_process
from ocrjax import Recognizer


def experiment(labels: Path, steps: int) -> ConfigDict:
    """Describe the training: what differs from the defaults of `crnnjax/config.py`."""
    config = recognizer("words", steps=steps, batch_size=16, init_weights="ppocrv6_small", ema=0.98)
    config.model.update(features="lcnetv4", channels=384, hidden=120, sequence="lightsvtr")
    config.model.batch_norm = False
    config.data.update(charset="en94", height=48, widths=(96, 192, 384), p_reader_pad=1.0)
    config.recognizer.resize = "easyocr"  # as crops are padded in training
    config.optimizer.update(learning_rate=3e-4, schedule="cosine", warmup=10, clip_norm=5.0)
    config.optimizer.freeze = ("FeatureExtraction",)  # the convolutions

    split = {"part": "train", "validation": 0.2, "test": 0.1}  # no photo is in two parts
    mine = source("tsv", path=str(labels), augment="light", split=split)
    config.data.train.update(mine=mine, replay=source("words", augment="light"))
    config.eval.sets.mine, config.test.mine = crops_of(mine, "validation"), crops_of(mine, "test")
    config.eval.every = config.checkpoint.every = max(1, steps // 4)
    config.average.shares = (0.25, 0.5, 0.75, 1.0)  # of the trained weights; the best is kept
    return config


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, then read some of the crops."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("labels", type=Path)
    parser.add_argument("--out", required=True, type=Path, help="the run directory")
    parser.add_argument("--steps", type=int, default=1000)
    options = parser.parse_args(arguments)
    tune_process()  # keeps compiled programs on disk
    if crnnjax.train(experiment(options.labels, options.steps), options.out) is None:
        raise SystemExit(130)  # stopped by Ctrl-C or a signal; the same command resumes
    reader = Recognizer.from_weights(options.out)
    for line in options.labels.read_text("utf-8").splitlines()[:5]:
        name, text = line.split("\t")
        print(f"{text!r} is read as {reader.recognize(options.labels.parent / name).text!r}")


if __name__ == "__main__":
    main()
