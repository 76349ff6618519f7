"""Fine-tune the published detector on web graphics with word boxes only, on a CPU.

Command: python -m craftjax.main --config=configs/borndigital.py --config.data.root=DIR
    (the training set of ICDAR 2013's challenge 1, born-digital images: images/ and gt/. Of its 410
    images 240 train, 60 choose the checkpoint and 110 test, each part from all over the folder)
    Before and after, with thresholds tuned on the other 300 by the same procedure:
    python benchmarks/lab/before_after.py --root DIR --after exp/borndigital
Source: our own. Text is small here (11 pixels at the median). Images are scored at their own size,
    the default of EasyOCR's Reader, and crops have about that scale: text that was drawn for 11
    pixels looks different from large text that was scaled down. Three in four images are PNG, the
    others JPEG and GIF; so crops are also compressed as JPEG.
Expected: nothing known. Meant for less than two hours on two cores.
Measured: 57 minutes on two cores; hmean on the 110 test images .898 (.876 to .917) after, .842
    (.814 to .867) before, +.056 (+.033 to +.080); seed 0, the best after 1,000 steps (commit
    ebab8c1). 400 steps in 17 minutes (--config.steps=400 --config.eval.every=200) gain .021, .021
    and .026 with seeds 0 to 2. On 250 street photos the long run loses .021. Averaged with the
    start weights (ocrjax average craft_mlt_25k exp/borndigital --shares .4 .6 --out FILE) it gains
    .041 (+.022 to +.062) on the web graphics, and .005 (-.015 to +.025) on the street photos
    (docs/benchmarks.md, "Fine-tuning on words").
"""

from functools import partial

from ml_collections import ConfigDict

from craftjax.config import detector, pages_of, pseudo, source


def get_config() -> ConfigDict:
    """Return the experiment."""
    # All values are our own choice, for an hour on two cores.
    config = detector("borndigital", steps=1500, batch_size=4, ema=0.995, log_every=10)
    config.init_weights = "craft_mlt_25k"
    config.loss.update(version=2, neg_rto=0.3, n_min_neg=5000)  # EasyOCR's for pseudo labels
    config.optimizer.update(name="adam", learning_rate=1.5e-4, weight_decay=1e-5)
    config.optimizer.update(schedule="cosine", warmup=30)
    # The most expensive layers, which detect edges: no backward pass through them.
    config.optimizer.freeze = ("basenet/slice1",)
    # The start weights make the labels. Word crops show larger text than the training crops: the
    # EMA, trained at the images' own size, was less confident on them after 750 steps
    # (docs/benchmarks.md). Words are small, and half the crop height costs a third; images are
    # labeled once.
    config.pseudo = pseudo(teacher="fixed", height=64, every=1500, threads=1)

    config.data.update(root="data/borndigital", size=256, threads=1)
    # The last images by name are of another kind, so parts are spread over the folder.
    pictures = source("words", path=config.data.get_ref("root"), split="all", order="spread")
    pictures.update(stop=240, ratio=4.0)
    pictures.augment.update(crop="random_crop", scale=(0.7, 1.5))  # of the images' own size
    # With few images, colors are changed more than by the original's .2.
    pictures.augment.update(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.5)
    # Most of these images are PNG, but web graphics are often compressed.
    pictures.augment.update(p_jpeg=0.7, jpeg_quality=(40.0, 97.0))
    config.data.train.words = pictures
    # Synthetic scenes against forgetting, with text as high as most words of the images.
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
