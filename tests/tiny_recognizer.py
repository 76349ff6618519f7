"""The synthetic recognizer's experiment in small: for tests, of seconds."""

from __future__ import annotations

import runpy
from pathlib import Path

from ml_collections import ConfigDict

SYNTH = Path(__file__).parents[1] / "configs" / "crnn_synth.py"


def get_config() -> ConfigDict:
    config = runpy.run_path(str(SYNTH))["get_config"]()
    config.name = "tiny"
    config.steps = 8
    config.batch_size = 4
    config.model.update(channels=16, hidden=8)
    config.data.update(threads=1, max_length=6, charset="en36")
    config.data.widths = (64, 96)
    config.data.window = 4
    config.data.train.words.augment = "none"
    # Adam would enlarge the rounding noise of gradients that should be zero.
    config.optimizer = ConfigDict({"name": "sgd", "momentum": 0.9, "learning_rate": 0.01})
    config.ema = 0.9
    config.eval.every = 4
    config.eval.metric = "one_minus_ned"
    config.eval.sets.synthetic.count = 4
    config.test.synthetic.count = 4
    config.recognizer.batch_size = 4
    config.log_every = 1
    config.checkpoint.every = 2
    return config
