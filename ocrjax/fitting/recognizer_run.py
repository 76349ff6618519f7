"""Recognizer training of a fit: fine-tuning on crops of the training images and synthetic words."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from crnnjax.config import STREET_WORDS, crops, recognizer, source
from crnnjax.models import options_of
from crnnjax.options import RecognizerOptions
from crnnjax.recognizer import load_recognizer
from crnnjax.training import train
from ocrjax.fitting.crops import labels_of
from ocrjax.fitting.options import FitOptions
from ocrjax.fitting.plan import PROBE

MOST_STEPS = 1000
"""Updates."""
BATCH = 32


def recognizer_config(out: Path, options: FitOptions, **changes: Any) -> ConfigDict:
    """Return the config of the recognizer's training.

    Args:
        out: the output folder.
        options: the user's options.
        **changes: fields of the config.
    """
    start = load_recognizer(options.recognizer)
    devices = jax.local_device_count()
    config = recognizer(options.name, batch_size=-(-BATCH // devices) * devices)
    config.update(seed=options.seed, log_every=50, ema=0.98)
    config.init_weights = options.recognizer
    network = options_of(start.variables)
    for name in ("features", "channels", "hidden", "sequence", "transform", "batch_norm"):
        if network[name] is not None:
            config.model[name] = network[name]
    config.data.charset = str(out / "data" / "charset.json")
    config.data.update(height=start.height, threads=1, max_length=40)
    # Few widths: each takes minutes to compile on a CPU.
    config.data.widths = tuple(factor * start.height for factor in (2, 4, 8))
    for name, value in asdict(start.options or RecognizerOptions()).items():
        if value is not None and name not in ("lexicon", "turn_above"):
            config.recognizer[name] = value
    config.data.p_reader_pad = 1.0 if config.recognizer.resize == "easyocr" else 0.4
    config.optimizer.update(name="adamw", learning_rate=5e-4, weight_decay=1e-3, clip_norm=5.0)
    config.optimizer.update(no_decay=("*bias", "*/scale"), schedule="cosine", warmup=3 * PROBE)
    config.optimizer.freeze = ("FeatureExtraction",)

    mine = source("tsv", path=str(labels_of(out, "train")), augment="light")
    config.data.train.mine = mine
    config.data.train.words = source("words", augment="light", **STREET_WORDS)
    config.eval.sets.mine = crops("tsv", path=str(labels_of(out, "validation")))
    config.test.mine = crops("tsv", path=str(labels_of(out, "validation")))
    config.eval.metric = "accuracy"
    config.average.shares = (0.25, 0.5, 0.75, 1.0)
    config.checkpoint.update(every=25, keep=2)
    config.update(changes)
    return config


def train_recognizer(config: ConfigDict, folder: Path, *, pause: int | None = None) -> bool:
    """Train or resume; return False if a signal or `pause` stopped it."""
    return train(config, folder, pause=pause) is not None
