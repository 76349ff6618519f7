"""A recognizer's experiment of 100 steps, for hosts that share two cores.

`tiny_hosts.py:PATH` trains on the labeled crops of a file instead of synthetic words.
"""

from __future__ import annotations

import runpy
from pathlib import Path

from ml_collections import ConfigDict

from crnnjax.config import source

TINY = Path(__file__).parents[1] / "tiny_recognizer.py"


def get_config(labels: str = "") -> ConfigDict:
    config = runpy.run_path(str(TINY))["get_config"]()
    config.name = "tiny_hosts"
    config.steps = 100
    if labels:
        del config.data.train.words
        config.data.train.mine = source("tsv", path=labels)
    config.model.sequence = "none"
    config.data.widths = (64,)
    config.data.max_length = 4
    config.eval.every = 50
    config.eval.sets.synthetic.count = 7
    config.checkpoint.every = 10
    config.log_every = 5
    return config
