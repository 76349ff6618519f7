"""A recognizer of street words from scratch: synthetic words only, sized for one large GPU.

Command: python -m crnnjax.main --config=configs/crnn_gpu.py
Source: our own; the network is that of deep-text-recognition-benchmark (None-VGG-BiLSTM-CTC, 512
    channels), the words and their style are those of configs/crnn_synth.py.
Expected: the same network with MJSynth and SynthText, 192 crops and 300,000 steps has .829 on the
    test words of IIIT5K (arXiv 1904.01906, table 1). The time is not known.
Measured: not measured.
"""

from ml_collections import ConfigDict

from crnnjax.config import STREET_WORDS, crops, recognizer, source


def get_config() -> ConfigDict:
    """Return the experiment."""
    # All values except those of the network are our own choice: 4.1 million words, 12 times as many
    # as in configs/crnn_synth.py, in batches that suit a GPU.
    config = recognizer("crnn_gpu", steps=4_000, batch_size=1024, log_every=100)
    config.model.update(channels=512, hidden=256, dtype="bfloat16")  # "float32" on CPUs
    # Twice the learning rate of crnn_synth.py, whose batches have a sixteenth of the words.
    config.optimizer.update(name="adamw", learning_rate=2e-3, weight_decay=1e-3, clip_norm=5.0)
    config.optimizer.update(no_decay=("*bias", "*/scale"), schedule="cosine", warmup=300)

    # Words are drawn during training, each only once; drawing includes degradation.
    config.data.update(charset="en94", case_insensitive=True, threads=1, workers=16)
    # Widths of batches, each with one compiled program. Wider words are squeezed.
    config.data.widths = (64, 96, 128, 192)
    config.data.train.words = source("words", **STREET_WORDS)
    config.eval.sets.synthetic = crops("words", count=500, seed=1, **STREET_WORDS)
    config.test.synthetic = crops("words", count=1000, seed=2, **STREET_WORDS)
    config.checkpoint.update(every=500, keep=2)
    return config
