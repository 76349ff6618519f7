"""PP-OCRv6's recognizer network from scratch: synthetic words only, for two CPU cores.

Command: python -m crnnjax.main --config=configs/lcnet_synth.py
Source: the network is that of PP-OCRv6 small, LCNetV4 with LightSVTR and CTC; the words and
    everything else are those of configs/crnn_synth.py, drawn 48 pixels high.
Expected: nothing known.
Measured: word accuracy, alphanumeric, .825 on IIIT5K train (2,000 crops) and .302 on ICDAR 2015's
    4,468 training crops, after 79 minutes of processor time; peak memory 12.4 GB. CRNN reaches more
    in that time (configs/crnn_synth.py; docs/benchmarks.md, "A recognizer from nothing").
"""

from ml_collections import ConfigDict

from crnnjax.config import STREET_WORDS, crops, recognizer, source


def get_config() -> ConfigDict:
    """Return the experiment."""
    config = recognizer("lcnet_synth", steps=3_500, batch_size=32, log_every=100)
    config.model.update(features="lcnetv4", channels=384, hidden=120, sequence="lightsvtr")
    config.optimizer.update(name="adamw", learning_rate=1e-3, weight_decay=1e-3, clip_norm=5.0)
    config.optimizer.update(no_decay=("*bias", "*/scale"), schedule="cosine", warmup=300)

    # Words are drawn during training, each only once; drawing includes degradation.
    config.data.update(charset="en94", case_insensitive=True, height=48)
    config.data.widths = (96, 120, 144, 168, 192, 240, 288, 384)
    config.data.train.words = source("words", **STREET_WORDS)
    config.eval.sets.synthetic = crops("words", count=500, seed=1, **STREET_WORDS)
    config.test.synthetic = crops("words", count=1000, seed=2, **STREET_WORDS)
    config.eval.every = 1100
    config.checkpoint.update(every=500, keep=2)
    return config
