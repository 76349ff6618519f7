"""Like configs/synth_scene.py at a quarter of the width, for a machine without a GPU.

Command: python -m craftjax.main --config=configs/synth_scene_narrow.py
Source: our own. It tests how well a network of 1.3 million parameters does with synthetic scenes
    only, in about two hours on two cores.
Expected: nothing known.
Measured: hmean .756 on the 200 pages of config.test, .426 on ICDAR 2003 and .377 on 100 photos of
    ICDAR 2015 (canvas 1280) at these thresholds, after 88 minutes on two cores
    (docs/benchmarks.md, "From nothing").
"""

from ml_collections import ConfigDict

from craftjax.config import detector, pages, source

# Smaller pages than in `scene`, with fewer words and the same minimum font size.
PAGE = {"height": 448, "width": 448, "words": (6, 14), "font_size": (11, 72)}


def get_config() -> ConfigDict:
    """Return the experiment."""
    # All values are our own choice, for about two hours on two cores.
    config = detector("synth_scene_narrow", steps=5000, batch_size=4, ema=0.998)
    config.model.width = 0.25
    config.optimizer.update(name="adamw", learning_rate=1.5e-3, weight_decay=1e-4)
    config.optimizer.update(no_decay=("*/bias", "*/scale"), schedule="cosine", warmup=200)

    # Scenes are drawn during training, each only once; splits share no font family.
    config.data.update(size=448, threads=1)
    train, choose, test = ({"split": name, **PAGE} for name in ("train", "validation", "test"))
    config.data.train.pages = source("pages", page=train, augment={"crop": "whole"})
    config.eval.pages = pages("pages", page=choose, count=50, seed=1)
    config.test = pages("pages", page=test, count=200, seed=2)
    config.eval.every = 500
    config.checkpoint.update(every=100, keep=2)
    return config
