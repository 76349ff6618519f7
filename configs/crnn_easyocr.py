"""Fine-tune EasyOCR's English recognizer on your own word crops, for use in EasyOCR.

Command: python -m crnnjax.main --config=configs/crnn_easyocr.py --config.data.labels=FILE
    (lines of a path, a tab and a text, in the order of the photos, such as the 4,468 words of ICDAR
    2015: the last 1,000 test, the 300 before them choose the best checkpoint. For other crops see
    configs/custom_recognizer.py)
    The start weights on the same crops: the same with --mode=evaluate --weights=english_g2, to
    exp/crnn_easyocr/evaluate-english_g2
Source: EasyOCR trainer/config_files/en_filtered_config.yaml with english_g2.pth, generation 2; the
    optimizer and the width of batches are our own.
    Color PNG files have two kinds of gray: training uses that of the RGB values, evaluation that of
    libpng, as EasyOCR's Reader does with a path (docs/recognizer.md, Gray values).
Expected: nothing known.
Measured: not measured.
"""

from ml_collections import ConfigDict

from crnnjax.config import crops, crops_of, recognizer, source


def get_config() -> ConfigDict:
    """Return the experiment."""
    # Our own choice: steps, batch size and optimizer.
    config = recognizer("crnn_easyocr", steps=1000, batch_size=32, ema=0.99)
    config.optimizer.update(name="adamw", learning_rate=2e-4, weight_decay=1e-3, clip_norm=5.0)
    config.optimizer.update(no_decay=("*bias", "*/scale"), schedule="cosine", warmup=50)
    # english_g2.pth, and en_filtered_config.yaml: network, charset, height, longest words.
    config.init_weights = "english_g2"
    config.model.channels = 256
    config.data.update(charset="english_g2", height=64, max_length=34)
    config.data.p_reader_pad = 1.0  # EasyOCR's Reader pads all crops

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
