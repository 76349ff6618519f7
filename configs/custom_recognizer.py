"""Train a recognizer on your own crops of words or lines: copy this file and change it.

Command: python -m crnnjax.main --config=configs/custom_recognizer.py --config.data.labels=PATH
    PATH is a file with a path, a tab and a text on each line, a folder with labels.csv (or folders
    that have one each), or an LMDB. Run with --mode=check first; docs/train_recognizer.md describes
    all steps.
Source: our own, after configs/crnn_easyocr.py. For hundreds to tens of thousands of crops.
Expected: nothing known.
Measured: with --config.steps=100 --config.optimizer.warmup=10, on 201 words of IIIT5K's training
    set from held-out photos: word accuracy .900 (.851 to .935), before .771 (.708 to .824).
"""

from ml_collections import ConfigDict

from crnnjax.config import crops, crops_of, recognizer, source


def get_config() -> ConfigDict:
    """Return the experiment, with the fields that you are most likely to change.

    There are many more fields; `crnnjax/config.py` says where each is documented. Set them here in
    the same way, or on the command line as --config.SECTION.FIELD=VALUE.
    """
    # Results go to exp/custom_recognizer, unless --workdir says otherwise; the same command resumes
    # the run.
    config = recognizer("custom_recognizer")
    # Seed of the order of crops and of the augmentation. The split does not depend on it.
    config.seed = 0
    # Training steps. More crops need more; look at curves.png in the results.
    config.steps = 1000
    # Global batch size, a multiple of the number of devices.
    config.batch_size = 32

    # Pretrained weights: EasyOCR's English recognizer, or your own file (.pth, .safetensors); or
    # set config.init_from to a run directory. Characters that they know keep their output rows.
    config.init_weights = "english_g2"
    # The network must match the weights.
    config.model.channels = 256
    # "bfloat16" is faster on GPUs and TPUs.
    config.model.dtype = "float32"
    # Characters to read: a name (docs/recognizer_data.md), or a file with all of them in one line.
    # --mode=check lists characters of your texts that are missing.
    config.data.charset = "english_g2"
    # Crops are scaled to this height, which must be that of the weights.
    config.data.height = 64
    # Longer texts are left out, and counted.
    config.data.max_length = 34
    # All crops are padded as in EasyOCR's Reader. For a network that is not used in EasyOCR, set
    # 0.4 and config.recognizer.resize = "bucket".
    config.data.p_reader_pad = 1.0
    config.recognizer.resize = "easyocr"

    # Lower it if the loss is unstable. Warmup over 50 steps, then cosine decay to 0.
    config.optimizer.learning_rate = 2e-4
    config.optimizer.update(name="adamw", weight_decay=1e-3, clip_norm=5.0)
    config.optimizer.update(no_decay=("*bias", "*/scale"), schedule="cosine", warmup=50)
    # Frozen layers. With few crops freeze the convolutions, ("FeatureExtraction",).
    config.optimizer.freeze = ()
    # Decay of the EMA of the weights, which is evaluated and saved. Closer to 1 is more stable.
    config.ema = 0.99

    # Your crops. "auto" detects the format of the path; "lmdb", "csv" or "tsv" require that format.
    config.data.labels = "data/words/labels.tsv"
    mine = source("auto", path=config.data.get_ref("labels"))
    # Held-out crops: a tenth chooses the best weights, a tenth tests them. From 1 on these are
    # numbers of crops. Crops of one photo are kept together; labels or names tell the photo, or
    # split.by, a regular expression. Otherwise near-duplicates and neighbors in the file are kept
    # together.
    mine.split.update(part="train", by="auto", validation=0.1, test=0.1)
    # Augmentation: "none", "light" or "strong".
    mine.augment = "light"
    # Proportion of this data set in the mix, relative to the ratios of the others.
    mine.ratio = 3.0
    config.data.train.mine = mine
    # Synthetic English words against forgetting. Remove them and the probe if your texts are of
    # another kind, or set the texts: text={"sources": {"file": 1.0}, "file": "words.txt"}.
    config.data.train.words = source("words", augment="light")

    # The sets that choose the best weights and that test them at the end. For your own test set:
    # crops("auto", path="PATH"), and mine.split.test = 0.0.
    config.eval.sets.mine = crops_of(mine, "validation")
    config.test.mine = crops_of(mine, "test")
    # Held-out synthetic words, which only measure forgetting.
    config.eval.probe.synthetic = crops("words", count=500, seed=1)
    # "alnum_accuracy" only counts letters and digits, case-insensitively.
    config.eval.metric = "accuracy"
    # Steps from one evaluation to the next; a checkpoint is saved each time.
    config.eval.every = config.checkpoint.every = 100
    # Evaluations without improvement before training stops; 0 disables early stopping.
    config.eval.patience = 0
    return config
