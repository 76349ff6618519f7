"""Weak supervision in small: pages whose words alone are labeled, and an experiment on them."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import cv2
import jax.numpy as jnp
import numpy as np
import tiny_detector
from ml_collections import ConfigDict

from ocrcore.data.readers.icdar import write_icdar
from ocrcore.images import write_image
from ocrcore.pages import Page, Sample, Word

TEXTS = ("north", "water", "Seven", "lunch", "music", "Peter", "clock", "table")


def make_page(index: int, texts: tuple[str, ...] | None = None) -> Sample:
    """A page of 64 x 96 pixels with two dark words on white."""
    texts = (TEXTS[index % 8], TEXTS[(index + 3) % 8]) if texts is None else texts
    image = np.full((64, 96, 3), 255, np.uint8)
    words = []
    for line, text in enumerate(texts):
        left, base = 8 + (5 * index) % 9, 22 + 28 * line
        cv2.putText(image, text, (left, base), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (0, 0, 0), 2)
        (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.6, 2)
        right, top, bottom = left + width, base - height - 2, base + 4
        words.append(Word([(left, top), (right, top), (right, bottom), (left, bottom)], text))
    return Sample(image, Page(64, 96, tuple(words), f"page {index}"))


def write_words(folder: Path, count: int = 6) -> Path:
    """Writes pages as a user has them: `images/` and `gt/`."""
    for index in range(count):
        sample = make_page(index)
        write_image(folder / "images" / f"p{index}.png", sample.image)
        write_icdar(folder / "gt" / f"gt_p{index}.txt", sample.page)
    return folder


class Darkness:
    """In the place of the network: the region score is how dark the picture is, times `gain`."""

    def apply(self, variables, images):
        dark = 1 - images.astype(jnp.float32).mean(-1) / 255
        rows, height, width = dark.shape
        dark = dark.reshape(rows, height // 2, 2, width // 2, 2).mean((2, 4))
        region = dark * variables["params"]["gain"]
        return jnp.stack([region, jnp.zeros_like(region)], -1), None


def weights(gain: float) -> dict[str, object]:
    """Variables of `Darkness`."""
    return {"params": {"gain": np.float32(gain)}, "batch_stats": {}}


def state_of(network: float, average: float | None = None) -> SimpleNamespace:
    """What a teacher is made of."""
    ema = None if average is None else weights(average)
    return SimpleNamespace(variables=weights(network), ema=ema)


def get_config() -> ConfigDict:
    """The experiment; the pages lie in the folder that the environment names."""
    root = os.environ["TINY_WORDS"]
    config = tiny_detector.get_config()
    config.name = "tiny_words"
    config.steps = 8
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
    config.pseudo = ConfigDict({"every": 3, "height": 32, "method": "split", "workers": 0})
    # The teacher begins with random weights, which nobody would trust.
    config.pseudo.guard = ConfigDict({"confidence": 0.0, "mass": 0.0, "equal": 1.0, "hmean": 0.0})
    return config
