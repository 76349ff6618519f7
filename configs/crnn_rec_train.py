"""Fine-tune a recognizer on your own word crops, without forgetting the synthetic words.

Command: python -m crnnjax.main --config=configs/crnn_rec_train.py
    --config.init_from=RUN --config.data.labels=FILE
    (RUN is a run such as that of configs/crnn_synth.py; FILE has lines of a path, a tab and a text,
    in the order of the photos, such as the 4,468 words of ICDAR 2015: the last 1,000 test, the 300
    before them choose the best checkpoint. For other crops see configs/custom_recognizer.py)
    Before, on the same 1,000: the same with --mode=evaluate --weights=RUN
Source: our own.
Expected: nothing known.
Measured: from configs/crnn_synth.py on ICDAR 2015's last 1,000 words: alphanumeric word accuracy
    .415 (.385 to .446) after, .326 (.298 to .356) before, english_g2 .370; 16 minutes on two shared
    cores.
"""

from ml_collections import ConfigDict

from crnnjax.config import STREET_WORDS, crops, crops_of, recognizer, source


def get_config() -> ConfigDict:
    """Return the experiment."""
    # All values are our own choice; network, charset, widths and words are those of
    # configs/crnn_synth.py.
    config = recognizer("crnn_rec_train", steps=1500, batch_size=64, ema=0.99)
    config.init_from = "exp/crnn_synth"
    config.model.channels = 256
    config.optimizer.update(name="adamw", learning_rate=3e-4, weight_decay=1e-3, clip_norm=5.0)
    config.optimizer.update(no_decay=("*bias", "*/scale"), schedule="cosine", warmup=50)

    config.data.update(charset="en94", case_insensitive=True)
    config.data.widths = (64, 80, 96, 112, 128, 160, 192, 256, 384)
    config.data.p_reader_pad = 1.0  # EasyOCR's Reader pads all crops
    config.data.labels = "data/words/labels.tsv"
    labels = config.data.get_ref("labels")
    config.data.train.real = source("tsv", path=labels, ratio=3.0, augment="light")
    config.data.train.real.split.update(part="train", by="order", validation=300.0, test=1000.0)
    # Synthetic words against forgetting; drawing includes degradation.
    config.data.train.words = source("words", **STREET_WORDS)

    config.eval.sets.real = crops_of(config.data.train.real, "validation")
    config.eval.probe.synthetic = crops("words", count=500, seed=1, **STREET_WORDS)
    config.test.real = crops_of(config.data.train.real, "test")
    config.eval.every = 150
    config.recognizer.resize = "easyocr"  # as in EasyOCR; "bucket" ignores the padding
    config.checkpoint.update(every=150, keep=2)
    return config
