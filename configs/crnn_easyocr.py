"""EasyOCR's English recognizer made better on one's own word crops, for its own Reader.

Command: python -m crnnjax.main --config=configs/crnn_easyocr.py --config.data.labels=FILE
    (lines of a path, a tab and a text, in the order of the photos, as those of the 4,468 words of
    ICDAR 2015: the last 1,000 test, the 300 before them choose the best checkpoint. For crops of
    your own: configs/custom_recognizer.py)
    The start weights on the same crops: the same with --mode=evaluate --weights=english_g2, to
    exp/crnn_easyocr/evaluate-english_g2
Source: EasyOCR trainer/config_files/en_filtered_config.yaml with english_g2.pth, generation 2; the
    optimizer and the width of batches are our own.
    Crops in PNG files of color have two grays: training takes that of the RGB values, evaluation
    that of libpng, as a Reader does with a path (docs/recognizer.md, Gray values).
Expected: nothing known.
Measured: not measured.
"""

from ml_collections import ConfigDict

from crnnjax.config import crops, crops_of, recognizer, source


def get_config() -> ConfigDict:
    """Returns the experiment."""
    # Our own choice: updates, batches and optimizer.
    config = recognizer("crnn_easyocr", steps=1000, batch_size=32, ema=0.99)
    config.optimizer.update(name="adamw", learning_rate=2e-4, weight_decay=1e-3, clip_norm=5.0)
    config.optimizer.update(no_decay=("*bias", "*/scale"), schedule="cosine", warmup=50)
    # english_g2.pth, and en_filtered_config.yaml: network, charset, height, longest words.
    config.init_weights = "english_g2"
    config.model.channels = 256
    config.data.update(charset="english_g2", height=64, max_length=34)
    config.data.p_reader_pad = 1.0  # as a Reader pads all crops

    config.data.labels = "data/words/labels.tsv"
    labels = config.data.get_ref("labels")
    config.data.train.real = source("tsv", path=labels, ratio=3.0, augment="light")
    config.data.train.real.split.update(part="train", by="order", validation=300.0, test=1000.0)
    # Synthetic words, against forgetting.
    config.data.train.words = source("words", augment="light")

    config.eval.sets.real = crops_of(config.data.train.real, "validation")
    config.eval.probe.synthetic = crops("words", count=500, seed=1)
    config.test.real = crops_of(config.data.train.real, "test")
    config.eval.update(every=100, metric="accuracy")
    config.recognizer.resize = "easyocr"
    config.checkpoint.update(every=100, keep=2)
    return config
