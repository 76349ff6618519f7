"""A compact detector of 2.5 million parameters: PP-OCRv6's small one, taught by CRAFT.

Command: python -m craftjax.main --config=configs/craft_compact.py --config.data.root=IMAGES
Source: our own. The network is that of PP-OCRv6's small detector of text lines (LCNetV4 and a
    feature pyramid) from its published weights, with a last layer for CRAFT's two maps; the teacher
    is `craft_mlt_25k`. It learns the teacher's scores on synthetic scenes, and on the images of
    a folder, which need no labels.
Expected: nothing known.
Measured: the weights `craft_compact` that come with ocrjax, two runs of 1,100 and 2,600 steps on
    two shared CPU cores: on the 250 test photos of `det_dev` (ICDAR 2015) hmean .692, and .726 at
    canvas 1920, where the teacher has .836; .34 s of processor time per photo in ONNX Runtime
    (docs/distillation.md).
"""

from ml_collections import ConfigDict

from craftjax.config import detector, distill, pages, source


def get_config() -> ConfigDict:
    """Return the experiment."""
    # All values are our own choice, for two CPU cores. One GPU: --config.distill.crops=0
    # --config.batch_size=16 --config.data.size=640 --config.data.workers=15, and more steps.
    config = detector("craft_compact", steps=1500, batch_size=8, ema=0.99, log_every=50)
    config.model.features = "lcnetv4"
    config.init_weights = "ppocrv6_det_small"
    config.distill = distill(crops=1600, crop_size=512, scale=(0.75, 1.6))
    config.optimizer.update(name="adamw", learning_rate=1e-3, weight_decay=1e-4, clip_norm=1.0)
    config.optimizer.update(no_decay=("*/bias",), schedule="cosine", warmup=30)

    # Scenes are drawn as they are needed, no two alike. 6 of 10 crops are of images.
    config.data.update(size=384, threads=1, workers=0)
    config.data.train.pages = source("pages", page={"split": "train"}, augment={"crop": "whole"})
    photos = source("pictures", path=config.data.get_ref("root"), ratio=1.5)
    photos.augment.update(crop="random_crop", scale=(0.4, 1.4), rotation=8.0)
    config.data.train.photos = photos
    config.eval.pages = pages("pages", page={"split": "validation"}, count=60, seed=1)
    config.test = pages("pages", page={"split": "test"}, count=100, seed=2)
    config.eval.every = 500
    config.detector.update(canvas_size=1280, mag_ratio=1.0)
    return config
