"""The published detector made better on web graphics whose words alone are labeled, on a CPU.

Command: python -m craftjax.main --config=configs/borndigital.py --config.data.root=DIR
    (the training set of ICDAR 2013's challenge 1, born-digital images: images/ and gt/. Of its 410
    pictures 240 train, 60 choose the checkpoint and 110 test, each part from all over the folder)
    Before and after, with thresholds tuned on the 300 by the same procedure:
    python benchmarks/lab/before_after.py --root DIR --after exp/borndigital
Source: our own. Text is small here (11 pixels at the median). Pictures are read at their own size,
    as EasyOCR's Reader does unless told otherwise, and crops show them at about that size: text
    that is drawn for 11 pixels looks different from large text made small. Three in four pictures
    are PNG, the others JPEG and GIF: crops are compressed as well.
Expected: nothing known. Meant for less than two hours of two cores.
Measured: 57 minutes of two cores; hmean on the 110 test pictures .898 (.876 to .917) after, .842
    (.814 to .867) before, +.056 (+.033 to +.080); seed 0, the best after 1,000 updates (commit
    ebab8c1). 400 updates in 17 minutes (--config.steps=400 --config.eval.every=200) gain .021, .021
    and .026 with seeds 0 to 2. On 250 street photos the long run loses .021; averaged with the
    start (ocrjax average craft_mlt_25k exp/borndigital --shares .4 .6 --out FILE) it gains .041
    (+.022 to +.062), and there .005 (-.015 to +.025; docs/benchmarks.md, "Fine-tuning on words").
"""

from functools import partial

from ml_collections import ConfigDict

from craftjax.config import detector, pages_of, pseudo, source


def get_config() -> ConfigDict:
    """Returns the experiment."""
    # All values are our own choice, for an hour of two cores.
    config = detector("borndigital", steps=1500, batch_size=4, ema=0.995, log_every=10)
    config.init_weights = "craft_mlt_25k"
    config.loss.update(version=2, neg_rto=0.3, n_min_neg=5000)  # EasyOCR's of pseudo labels
    config.optimizer.update(name="adam", learning_rate=1.5e-4, weight_decay=1e-5)
    config.optimizer.update(schedule="cosine", warmup=30)
    # The most expensive layers, which see edges: no backward pass through them.
    config.optimizer.freeze = ("basenet/slice1",)
    # The start weights label. Crops of words are larger than the text trained on: at the pictures'
    # own size the average was less sure of them after 750 updates (docs/benchmarks.md). Words are
    # small, and half as high costs a third; the pictures are labeled once.
    config.pseudo = pseudo(teacher="fixed", height=64, every=1500, threads=1)

    config.data.update(root="data/borndigital", size=256, threads=1)
    # By name the last pictures are of another kind.
    pictures = source("words", path=config.data.get_ref("root"), split="all", order="spread")
    pictures.update(stop=240, ratio=4.0)
    pictures.augment.update(crop="random_crop", scale=(0.7, 1.5))  # to the pictures' own size
    # Few pictures: their colors are changed more than the original's .2 does.
    pictures.augment.update(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.5)
    # Most of them are PNG, as web graphics often are not.
    pictures.augment.update(p_jpeg=0.7, jpeg_quality=(40.0, 97.0))
    config.data.train.words = pictures
    # Scenes keep the network from forgetting; text as high as most words of the pictures.
    config.data.train.synth = source("pages", augment={"crop": "words", "text_height": (6.0, 40.0)})

    config.eval.update(every=250, sweep=True)
    part = partial(pages_of, pictures, split="all", holdout=0.0)
    config.eval.pages = part(start=240, stop=300)
    config.calibration = part(stop=300)
    config.test = part(start=300)
    config.detector.update(text_threshold=0.8, link_threshold=0.2, low_text=0.5, border="crop")
    config.sweep.low_text = (0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65)
    config.checkpoint.update(every=50, keep=2)
    return config
