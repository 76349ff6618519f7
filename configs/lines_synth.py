"""Fine-tune PP-OCRv6's small recognizer on synthetic lines of several words, to read spaces.

Command: python -m crnnjax.main --config=configs/lines_synth.py
    The start weights on the same lines: the same with --mode=evaluate --weights=ppocrv6_small
    Add your own lines as in configs/finetune_recognizer.py, which explains the fields that are not
    explained here. Needs the extra `weights`.
Source: our own.
Expected: nothing known.
Measured: on the 200 lines of config.test the start weights read .895 correctly and miss 15 of 412
    spaces; after the 100 steps .925 and 10 (docs/recognizer_data.md, "Lines with spaces").
"""

from ml_collections import ConfigDict

from crnnjax.config import STREET_WORDS, crops, recognizer, source

LINES = {
    # Two to six words, and other texts with spaces; also single words, so that no spaces are
    # invented in them.
    "text": {
        **STREET_WORDS["text"],
        "sources": {"lines": 0.7, "words": 0.1, "dates": 0.05, "plates": 0.1, "prices": 0.05},
        "max_length": 32,
    },
    "words": STREET_WORDS["words"],
}


def get_config() -> ConfigDict:
    """Return the experiment."""
    config = recognizer("lines_synth", steps=100, batch_size=8, log_every=10)
    # en94 with the space.
    config.data.charset = "en95"
    config.init_weights = "ppocrv6_small"
    config.model.update(features="lcnetv4", channels=384, hidden=120, sequence="lightsvtr")
    config.model.batch_norm = False
    # Long lines need wide inputs: if they are squeezed, spaces are lost first.
    config.data.update(height=48, widths=(192, 384, 576, 768), max_length=32, p_reader_pad=1.0)
    config.recognizer.resize = "easyocr"

    config.optimizer.update(name="adamw", learning_rate=3e-4, weight_decay=1e-3, clip_norm=5.0)
    config.optimizer.update(no_decay=("*bias", "*/scale"), schedule="cosine", warmup=10)
    config.optimizer.freeze = ("FeatureExtraction",)
    config.ema = 0.98

    config.data.train.lines = source("words", augment="light", **LINES)
    config.eval.sets.lines = crops("words", count=300, seed=1, **LINES)
    config.test.lines = crops("words", count=200, seed=2, **LINES)
    config.eval.metric = "accuracy"
    config.eval.every = config.checkpoint.every = 100
    return config
