"""Fine-tune PP-OCRv6's small recognizer on your own crops, without forgetting: copy and change it.

Command: python -m crnnjax.main --config=configs/finetune_recognizer.py --config.data.labels=PATH
    PATH as in configs/custom_recognizer.py, which explains the lines that are not explained here.
    Needs the extra `weights`. docs/train_recognizer.md describes all steps.
Source: our own. Averages with the start weights: WiSE-FT (arXiv:2109.01903).
Expected: nothing known.
Measured: with 2,790 words of web graphics for training and 300 for validation: .9276 on 1,133 words
    of other images, +.0741 (+.0614 to +.0815) over the start weights; -.0080 (-.0113 to +.0015) on
    500 words of IIIT5K, letters and digits only; 7.6 minutes on one core (docs/how_much_data.md).
"""

from ml_collections import ConfigDict

from crnnjax.config import STREET_WORDS, crops, crops_of, recognizer, source


def get_config() -> ConfigDict:
    """Return the experiment."""
    config = recognizer("finetune_recognizer", steps=1000, batch_size=16)
    # Any charset: its output rows are selected from the 18,709 characters that the weights know.
    config.data.charset = "en94"
    config.init_weights = "ppocrv6_small"
    config.model.update(features="lcnetv4", channels=384, hidden=120, sequence="lightsvtr")
    config.model.batch_norm = False
    # Few widths, because each needs a compiled program. Wider crops are squeezed, which may hurt
    # lines of text. Crops are padded as in EasyOCR's Reader.
    config.data.update(height=48, widths=(96, 192, 384), max_length=40, p_reader_pad=1.0)
    config.recognizer.resize = "easyocr"

    config.optimizer.update(name="adamw", learning_rate=3e-4, weight_decay=1e-3, clip_norm=5.0)
    config.optimizer.update(no_decay=("*bias", "*/scale"), schedule="cosine", warmup=10)
    # Frozen convolutions make steps fast. Alternatively, train them at a lower rate:
    # freeze=(), rates=(("FeatureExtraction", 0.1),).
    config.optimizer.freeze = ("FeatureExtraction",)
    config.ema = 0.98

    config.data.labels = "data/words/labels.tsv"
    mine = source("auto", path=config.data.get_ref("labels"), augment="light")
    # The validation part decides whether the trained weights are kept: with 300 crops or more,
    # differences of a few points are significant.
    mine.split.update(part="train", by="auto", validation=0.2, test=0.1)
    config.data.train.mine = mine
    # Replay: synthetic words of the same charset against forgetting.
    config.data.train.words = source("words", augment="light", **STREET_WORDS)

    config.eval.sets.mine = crops_of(mine, "validation")
    config.test.mine = crops_of(mine, "test")
    config.eval.probe.synthetic = crops("words", count=300, seed=1, **STREET_WORDS)
    config.eval.metric = "accuracy"
    config.eval.every, config.checkpoint.every = 250, 50
    # At the end, averages with these shares of the trained weights and the rest of the start
    # weights are evaluated on the validation crops. The best is kept if it is significantly better
    # than the start weights.
    config.average.shares = (0.25, 0.5, 0.75, 1.0)
    return config
