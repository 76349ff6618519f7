"""A compact detector: CRAFT at .375 of its width (2.9 million parameters), distilled from CRAFT.

Command: python -m craftjax.main --config=configs/craft_compact.py --config.data.root=PICTURES
Source: our own. The teacher is `craft_mlt_25k`; the student learns its scores on synthetic scenes
    and on the images of a folder, which need no labels.
Expected: nothing known.
Measured: 1,041 steps, 75 seconds on an H200: hmean .484 on the 250 test photos of ICDAR 2015, where
    the teacher has .836 (docs/distillation.md). Not trained to the end.
"""

from ml_collections import ConfigDict

from craftjax.config import detector, distill, pages, source


def get_config() -> ConfigDict:
    """Return the experiment."""
    # All values are our own choice, for one GPU. Two CPU cores: --config.batch_size=4
    # --config.model.dtype=float32 --config.distill.dtype=float32, and fewer steps.
    config = detector("craft_compact", steps=20_000, batch_size=16, ema=0.998)
    config.model.update(width=0.375, dtype="bfloat16")
    config.distill = distill(dtype="bfloat16")
    config.optimizer.update(name="adamw", learning_rate=2e-3, weight_decay=1e-4, clip_norm=1.0)
    config.optimizer.update(no_decay=("*/bias", "*/scale"), schedule="cosine", warmup=300)

    # Scenes are drawn during training, each only once. A third of the crops are of images.
    config.data.update(size=640, threads=1, workers=15)
    config.data.train.pages = source("pages", page={"split": "train"}, augment={"crop": "whole"})
    photos = source("pictures", path=config.data.get_ref("root"), ratio=0.5)
    photos.augment.update(crop="random_crop", scale=(0.4, 1.4), rotation=8.0)
    config.data.train.photos = photos
    config.eval.pages = pages("pages", page={"split": "validation"}, count=100, seed=1)
    config.test = pages("pages", page={"split": "test"}, count=200, seed=2)
    config.eval.every = 2000
    config.detector.update(canvas_size=1280, mag_ratio=1.0)
    return config
