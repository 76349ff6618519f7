"""Fine-tune the published detector on your own photos with character labels.

Command: python -m craftjax.main --config=configs/finetune_chars.py --config.data.root=DIR
    (a folder with images/, gt/ and chars/, such as ICDAR 2003 in the format of
    ocrcore.data.readers.characters: the first 108 photos train, 12 choose the best checkpoint, the
    others test)
    The start weights on the same photos: the same with --mode=evaluate --weights=craft_mlt_25k
Source: our own.
Expected: nothing known.
Measured: on ICDAR 2003's 30 test photos hmean .892 (.842 to .938) after, .915 (.864 to .956)
    before, an hour on two cores (docs/benchmarks.md, "Fine-tuning on characters"): no gain.
"""

from ml_collections import ConfigDict

from craftjax.config import detector, pages_of, source


def get_config() -> ConfigDict:
    """Return the experiment."""
    # All values are our own choice, for an hour on two cores.
    config = detector("finetune_chars", steps=400, batch_size=2, ema=0.99, log_every=10)
    config.init_weights = "craft_mlt_25k"
    config.optimizer.update(name="adam", learning_rate=2e-5, weight_decay=1e-5)
    config.optimizer.update(schedule="cosine", warmup=20)

    config.data.update(root="data/icdar2003", size=512, threads=1)
    photos = source("icdar", path=config.data.get_ref("root"), stop=108)
    photos.augment.update(crop="words", rotation=10.0)
    config.data.train.photos = photos

    folders = {"images": "images", "gt": "gt"}
    config.eval.pages = pages_of(photos, start=108, stop=120, **folders)
    config.calibration = pages_of(photos, start=0, stop=120, **folders)
    config.test = pages_of(photos, start=120, **folders)
    config.eval.every = 100
    config.detector.canvas_size = 1280
    config.sweep.low_text = (0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6)
    config.checkpoint.every = 100
    return config
