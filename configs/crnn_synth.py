"""A recognizer of street words from scratch: synthetic words only, sized for two CPU cores.

Command: python -m crnnjax.main --config=configs/crnn_synth.py
Source: our own; the network is CRNN (None-VGG-BiLSTM-CTC of deep-text-recognition-benchmark) with
    256 channels instead of 512. Words resemble those of IIIT5K and ICDAR 2015 on average: half in
    capitals, narrow letters, punctuation that labels of these sets leave out (here the network
    learns to read it).
Expected: the original with 512 channels, 192 crops, MJSynth and SynthText and 300,000 steps on a
    GPU has .829 on the test words of IIIT5K (arXiv 1904.01906, table 1).
Measured: alphanumeric word accuracy .845 on IIIT5K train (2,000 crops) and .336 on ICDAR 2015's
    4,468 training crops, after 68 minutes on two shared cores (docs/benchmarks.md, "A recognizer
    from nothing").
"""

from ml_collections import ConfigDict

from crnnjax.config import STREET_WORDS, crops, recognizer, source


def get_config() -> ConfigDict:
    """Return the experiment."""
    # All values are our own choice, for an hour on two cores.
    config = recognizer("crnn_synth", steps=5_500, batch_size=64, log_every=100)
    config.model.channels = 256
    config.optimizer.update(name="adamw", learning_rate=1e-3, weight_decay=1e-3, clip_norm=5.0)
    config.optimizer.update(no_decay=("*bias", "*/scale"), schedule="cosine", warmup=300)

    # Words are drawn during training, each only once; drawing includes degradation.
    config.data.update(charset="en94", case_insensitive=True)
    config.data.widths = (64, 80, 96, 112, 128, 160, 192, 256, 384)
    config.data.train.words = source("words", **STREET_WORDS)
    config.eval.sets.synthetic = crops("words", count=500, seed=1, **STREET_WORDS)
    config.test.synthetic = crops("words", count=1000, seed=2, **STREET_WORDS)
    config.eval.every = 1100
    config.checkpoint.update(every=500, keep=2)
    return config
