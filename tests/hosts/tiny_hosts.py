"""A recognizer's experiment of 100 steps, of half a minute, for hosts that share two cores."""

from __future__ import annotations

import runpy
from pathlib import Path

from ml_collections import ConfigDict

TINY = Path(__file__).parents[1] / "tiny_recognizer.py"


def get_config() -> ConfigDict:
    config = runpy.run_path(str(TINY))["get_config"]()
    config.name = "tiny_hosts"
    config.steps = 100
    config.model.sequence = "none"
    config.data.widths = (64,)
    config.data.max_length = 4
    config.eval.every = 50
    config.eval.sets.synthetic.count = 7
    config.checkpoint.every = 10
    config.log_every = 5
    return config
