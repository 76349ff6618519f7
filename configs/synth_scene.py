"""A detector for photos from scratch, trained only on our synthetic scenes.

Command: python -m craftjax.main --config=configs/synth_scene.py
Source: our own; the network and the targets are the original's.
Expected: nothing known, including the time; meant for one GPU.
Measured: not measured.
"""

from ml_collections import ConfigDict

from craftjax.config import detector, pages, source


def get_config() -> ConfigDict:
    """Return the experiment."""
    # All values are our own choice, for one GPU.
    config = detector("synth_scene", steps=40_000, batch_size=16)
    config.model.dtype = "bfloat16"  # for a GPU; "float32" on CPUs
    config.optimizer.update(name="adamw", learning_rate=1e-3, weight_decay=1e-3, clip_norm=1.0)
    config.optimizer.update(no_decay=("*/bias", "*/scale"), schedule="cosine", warmup=500)

    # Scenes are drawn during training, each only once; splits share no font family.
    config.data.update(size=640, threads=1, workers=15)
    config.data.train.pages = source("pages", page={"split": "train"}, augment={"crop": "whole"})
    config.eval.pages = pages("pages", page={"split": "validation"}, count=200, seed=1)
    config.test = pages("pages", page={"split": "test"}, count=500, seed=2)
    config.eval.every = 2000
    return config
