"""The quickstart in small: an experiment for tests, of seconds."""

from __future__ import annotations

import runpy
from pathlib import Path

from ml_collections import ConfigDict

QUICKSTART = Path(__file__).parents[1] / "configs" / "quickstart.py"


def get_config() -> ConfigDict:
    config = runpy.run_path(str(QUICKSTART))["get_config"]()
    config.name = "tiny"
    config.steps = 24
    config.batch_size = 4
    config.model.width = 0.125
    config.loss.n_min_neg = 100
    config.data.size = 64
    config.data.workers = 0
    config.data.threads = 1
    for pages in (config.data.train.pages, config.eval.pages, config.test):
        pages.page.update(height=64, width=64, font_size=(12, 24), words=(1, 3))
    config.eval.pages.count = config.test.count = 2
    config.eval.every = 1000
    config.overlays = 1
    # Convolutions before a BatchNorm get rounding noise for the gradient of their biases, which
    # Adam would enlarge.
    config.optimizer = ConfigDict(
        {"name": "sgd", "momentum": 0.9, "learning_rate": 0.01, "weight_decay": 1e-4}
    )
    config.ema = 0.9
    config.detector.text_threshold = config.detector.low_text = 0.1
    config.log_every = 1
    config.checkpoint.every = 3
    return config
