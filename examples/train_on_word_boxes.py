"""Fine-tune the detector on your photos with word boxes, then find words with it.

    python examples/train_on_word_boxes.py DIR --out exp/street

DIR has images/NAME.jpg and gt/gt_NAME.txt, one word a line: x1,y1,x2,y2,x3,y3,x4,y4,text. Needs the
extra `weights`. docs/word_boxes.md explains each step; configs/custom.py has more settings.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ml_collections import ConfigDict

import craftjax
from craftjax.config import detector, pages_of, pseudo, source
from ocrcore.runtime.tuning import tune_process
from ocrjax import Detector


def experiment(folder: Path, steps: int) -> ConfigDict:
    """Describe the training: what differs from the defaults of `craftjax/config.py`."""
    config = detector("street", steps=steps, batch_size=2, init_weights="craft_mlt_25k", ema=0.998)
    config.optimizer.update(learning_rate=5e-5, schedule="cosine", warmup=min(100, steps // 5))
    config.loss.update(version=2, neg_rto=0.3, n_min_neg=5000)
    config.pseudo = pseudo(height=64)  # the network itself finds the characters of each word
    config.data.size = 384

    photos = source("words", path=str(folder), holdout=0.1, augment={"crop": "words"})
    config.data.train.photos = photos
    config.eval.pages = pages_of(photos, split="validation")  # the tenth that is held out
    config.test = pages_of(photos, split="test")  # DIR/test if there is one
    config.eval.every = config.checkpoint.every = max(1, steps // 4)
    return config


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, then find the words of the photos again."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", required=True, type=Path, help="the run directory")
    parser.add_argument("--steps", type=int, default=500, help="about 2 s each on two CPU cores")
    options = parser.parse_args(arguments)

    tune_process()  # keeps compiled programs on disk
    if craftjax.train(experiment(options.folder, options.steps), options.out) is None:
        raise SystemExit(130)  # stopped by Ctrl-C or a signal; the same command resumes
    found = Detector.from_weights(options.out / "weights.pth")
    photos = sorted((options.folder / "images").iterdir())[:3]
    for photo, page in zip(photos, found.detect(photos), strict=True):
        print(f"{photo.name}: {len(page.words)} words")


if __name__ == "__main__":
    main()
