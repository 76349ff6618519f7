"""Detector training of a fit: weak supervision on the words of the training images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from craftjax.config import detector, pages, pseudo, source
from craftjax.models import width_of
from craftjax.options import DetectorOptions, magnification_of
from craftjax.training import train
from ocrcore.pages import Page
from ocrjax.fitting.options import FitOptions
from ocrjax.fitting.pictures import section_of, words_of
from ocrjax.fitting.plan import PROBE
from ocrjax.weights import load_network

MOST_STEPS = 1500
"""Training steps, as many as were measured to help (configs/borndigital.py)."""
BATCH = 4
_SIZE = 256  # side of the training crops in pixels
_PERIOD = 200  # steps whose pages are labeled together
_SPREAD = (0.7, 1.5)  # range of text sizes in crops, relative to the size at inference


def detector_config(
    out: Path, options: FitOptions, reading: DetectorOptions, truth: list[Page], **changes: Any
) -> ConfigDict:
    """Return the config: that of `configs/borndigital.py`, for the user's images.

    Args:
        out: the output folder.
        options: the user's options.
        reading: options at inference; text is trained at about the size that it has there.
        truth: pages to train on.
        **changes: fields of the config.
    """
    steps = changes.get("steps", MOST_STEPS)
    devices = jax.local_device_count()
    config = detector(f"{options.name}_detector", batch_size=-(-BATCH // devices) * devices)
    config.update(seed=options.seed, log_every=50, overlays=0, ema=average_of(steps))
    config.init_weights = options.detector
    config.model.width = float(width_of(load_network(options.detector).variables))
    config.loss.update(version=2, neg_rto=0.3, n_min_neg=5000)
    config.optimizer.update(name="adam", learning_rate=1.5e-4, weight_decay=1e-5)
    config.optimizer.update(schedule="cosine", warmup=3 * PROBE)
    config.optimizer.freeze = ("basenet/slice1",)
    # The pretrained weights label each page once, when it is first drawn.
    config.pseudo = pseudo(teacher="fixed", height=64, every=_PERIOD, threads=1)
    config.data.update(size=_SIZE, threads=1)

    part = section_of(out, "train")
    words = source("words", path=part["root"], labels=part["gt"], images=part["images"], ratio=4.0)
    words.update(split="all", holdout=0.0, layout=part["layout"])
    words.augment.update(_crops(truth, reading))
    words.augment.update(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.5)
    words.augment.update(p_jpeg=0.5, jpeg_quality=(40.0, 97.0))
    config.data.train.words = words
    low, high = words.augment.text_height
    synth = {"crop": "words", "text_height": (low, high)}
    config.data.train.synth = source("pages", augment=synth)

    config.eval.pages = pages("words", **section_of(out, "validation"))
    config.test = config.eval.pages.copy_and_resolve_references()
    config.eval.sweep = True
    for name in ("text_threshold", "link_threshold", "low_text", "canvas_size", "mag_ratio"):
        config.detector[name] = getattr(reading, name)
    config.detector.border = reading.border
    config.checkpoint.update(every=25, keep=2)
    config.update(changes)
    return config


def labels_every(config: ConfigDict, pages: int) -> int:
    """Return the steps from one labeling of new pages to the next; 0 if the first labels all."""
    ratios = [one.ratio for one in config.data.train.values()]
    drawn = _PERIOD * config.batch_size * config.data.train.words.ratio / sum(ratios)
    return _PERIOD if pages > drawn else 0


def average_of(steps: int) -> float:
    """Return the EMA decay: the average spans the last half of a short run."""
    return float(min(0.995, max(0.9, 1 - 4 / max(steps, 1))))


def _crops(truth: list[Page], reading: DetectorOptions) -> dict[str, Any]:
    """Augmentation settings that give text at about the size that it has at inference."""
    scale = float(np.median([magnification_of(page, reading) for page in truth]))
    heights = np.array([_height(word.quad) for word in words_of(truth)])
    low, high = np.quantile(heights * scale, (0.05, 0.95)).tolist()
    text = (max(low * _SPREAD[0], 5.0), min(max(high * _SPREAD[1], 10.0), 96.0))
    shorter = float(np.median([min(page.height, page.width) for page in truth])) * scale
    # Most random crops of large images have no text.
    return {
        "crop": "words" if shorter > 2 * _SIZE else "random_crop",
        "scale": (scale * _SPREAD[0], scale * _SPREAD[1]),
        "text_height": text,
    }


def _height(quad: Any) -> float:
    """The shorter of the two mean sides of a word."""
    sides = np.linalg.norm(np.roll(quad, -1, axis=0) - quad, axis=1)
    return float(min(sides[0] + sides[2], sides[1] + sides[3]) / 2)


def train_detector(config: ConfigDict, folder: Path, *, pause: int | None = None) -> bool:
    """Train or resume; return False if a signal or `pause` stopped it."""
    return train(config, folder, pause=pause) is not None
