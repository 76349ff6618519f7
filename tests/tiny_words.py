"""Weak supervision in small: pages whose words alone are labelled, and an experiment on them."""

from __future__ import annotations

import os
from pathlib import Path

import tiny_detector
from ml_collections import ConfigDict

from ocrjax.images import write_image
from ocrjax.readers.icdar import write_icdar
from ocrjax.synth.config import preset
from ocrjax.synth.pages import PageSource


def write_words(folder: Path, count: int = 6) -> Path:
    """Writes pages as a user has them: `images/` and `gt/`."""
    settings = preset("plain", height=64, width=96, font_size=(12, 24), words=(1, 3))
    pages = PageSource(settings, 0, length=count)
    for index in range(count):
        sample = pages[index]
        write_image(folder / "images" / f"p{index}.png", sample.image)
        write_icdar(folder / "gt" / f"gt_p{index}.txt", sample.page)
    return folder


def get_config() -> ConfigDict:
    """The experiment; the pages lie in the folder that the environment names."""
    root = os.environ["TINY_WORDS"]
    config = tiny_detector.get_config()
    config.name = "tiny_words"
    config.steps = 9
    config.data.train = ConfigDict()
    config.data.train.words = ConfigDict(
        {"kind": "words", "path": root, "holdout": 0.0, "augment": {"crop": "words"}}
    )
    section = {"kind": "words", "root": root, "split": "all", "holdout": 0.0, "stop": 2}
    section |= {"layout": "auto", "dont_care": ("###",)}
    config.eval.pages = ConfigDict(section)
    config.test = ConfigDict(section)
    config.loss.version = 2
    config.loss.neg_rto = 0.3
    config.pseudo = ConfigDict({"every": 3, "height": 32, "method": "split"})
    # The teacher begins with random weights, which nobody would trust.
    config.pseudo.guard = ConfigDict({"confidence": 0.0, "mass": 0.0, "equal": 1.0, "hmean": 0.0})
    return config
