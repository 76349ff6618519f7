"""CRNN as deep-text-recognition-benchmark trains it: MJSynth and SynthText, None-VGG-BiLSTM-CTC.

Command: python -m crnnjax.main --config=configs/crnn_dtrb.py --config.data.root=DIR
    (DIR/MJ and DIR/ST, the LMDBs of that project, and DIR/validation, one more)
Source: deep-text-recognition-benchmark, train.py: 192 crops of 32x100, half of each data set,
    Adadelta with a learning rate of 1, gradients clipped at 5, 300,000 steps, no augmentation.
    Different here: the EMA of the weights is evaluated (config.ema = 0 restores the original);
    unusable crops are counted, and not replaced by black ones.
Expected: .829 on IIIT5K, .816 on SVT, .642 on IC15's 2,077 (arXiv 1904.01906, table 1).
Measured: not measured.
"""

from ml_collections import ConfigDict

from crnnjax.config import crops, recognizer, source


def get_config() -> ConfigDict:
    """Return the experiment."""
    # Defaults of its train.py: steps, batch size, network, optimizer, charset, longest words.
    config = recognizer("crnn_dtrb", steps=300_000, batch_size=192, log_every=100)
    config.model.update(features="vgg", channels=512, hidden=256)
    config.optimizer.update(name="adadelta", learning_rate=1.0, clip_norm=5.0)
    config.optimizer.update(b2=0.95, eps=1e-8)  # b2 is its rho

    config.data.update(root="data/text_recognition", charset="en36", mode="fixed", max_length=25)
    config.data.update(threads=4, workers=2)
    root = config.data.get_ref("root")
    for name in ("MJ", "ST"):
        config.data.train[name] = source(
            "lmdb", path=root + f"/{name}", ratio=0.5, resize="bicubic"
        )

    config.eval.sets.validation = crops("lmdb", path=root + "/validation")
    config.test.validation = crops("lmdb", path=root + "/validation")
    config.eval.every = config.checkpoint.every = 2000
    config.recognizer.update(resize="fixed", confidence="dtrb")
    return config
