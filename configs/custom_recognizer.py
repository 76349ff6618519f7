"""Your own crops of words or lines with their texts: copy this file and change it.

Command: python -m crnnjax.main --config=configs/custom_recognizer.py --config.data.labels=PATH
    PATH is a file with a path, a tab and a text on each line, a folder with labels.csv (or folders
    that have one each), or an LMDB. With --mode=check first; docs/train_recognizer.md says all
    steps.
Source: our own, after configs/crnn_easyocr.py. For some hundreds to some ten thousands of crops.
Expected: nothing known.
Measured: on 201 words of IIIT5K's training set, of photos that are not trained on, after
    --config.steps=100 --config.optimizer.warmup=10: word accuracy .900 (.851 to .935), before .771
    (.708 to .824).
"""

from ml_collections import ConfigDict

from crnnjax.config import crops, crops_of, recognizer, source


def get_config() -> ConfigDict:
    """Returns the experiment: what you are likely to change.

    There are many more fields. `crnnjax/config.py` says where each is described; set them here in
    the same way, or on the command line as --config.SECTION.FIELD=VALUE.
    """
    # Results go to exp/custom_recognizer, unless --workdir says otherwise; the same command resumes
    # the run.
    config = recognizer("custom_recognizer")
    # Another number gives another order of the crops and other changes of them. The split stays.
    config.seed = 0
    # Updates of the weights. More crops need more; look at curves.png in the results.
    config.steps = 1000
    # Crops in an update, of all devices together; a multiple of their number.
    config.batch_size = 32

    # Weights to start from: EasyOCR's English recognizer, or a file (.pth, .safetensors) of yours;
    # or config.init_from, the folder of a run. Characters that it knows keep what it learned.
    config.init_weights = "english_g2"
    # The network must be that of the weights.
    config.model.channels = 256
    # "bfloat16" is faster on GPUs and TPUs.
    config.model.dtype = "float32"
    # Characters to read: a name (docs/recognizer_data.md), or a file with all of them in a line.
    # The check lists those of your texts that are missing.
    config.data.charset = "english_g2"
    # Crops are scaled to this height; that of the weights.
    config.data.height = 64
    # Longer texts are left out, and counted.
    config.data.max_length = 34
    # All crops get the padding of EasyOCR's Reader. 0.4, and config.recognizer.resize = "bucket",
    # for a network that is not for EasyOCR.
    config.data.p_reader_pad = 1.0
    config.recognizer.resize = "easyocr"

    # Lower it if the loss jumps. It rises over 50 updates, and falls to 0 at the end.
    config.optimizer.learning_rate = 2e-4
    config.optimizer.update(name="adamw", weight_decay=1e-3, clip_norm=5.0)
    config.optimizer.update(no_decay=("*bias", "*/scale"), schedule="cosine", warmup=50)
    # Parts that stay as they are. ("FeatureExtraction",), the convolutions, for few crops.
    config.optimizer.freeze = ()
    # The moving average of the weights is what is evaluated and saved. Nearer to 1 is steadier.
    config.ema = 0.99

    # Your crops. "auto": what the path is; "lmdb", "csv" or "tsv" demand that it is one.
    config.data.labels = "data/words/labels.tsv"
    mine = source("auto", path=config.data.get_ref("labels"))
    # What is kept back: a tenth chooses the best weights, a tenth tests them. From 1 on these are
    # numbers of crops. Crops of one photo are never divided: labels or names tell it, or split.by,
    # a regular expression; else near-duplicates and neighbors in the file stay together.
    mine.split.update(part="train", by="auto", validation=0.1, test=0.1)
    # "none", "light" or "strong" changes of each crop: turned, blurred, noisy, darker.
    mine.augment = "light"
    # How many crops of this data set there are to those of others.
    mine.ratio = 3.0
    config.data.train.mine = mine
    # Synthetic English words, against forgetting. Take them and the probe out if your texts are of
    # another kind, or say what is written: text={"sources": {"file": 1.0}, "file": "words.txt"}.
    config.data.train.words = source("words", augment="light")

    # What chooses the best weights, and what tests them at the end. For crops of your own instead:
    # crops("auto", path="PATH"), and mine.split.test = 0.0.
    config.eval.sets.mine = crops_of(mine, "validation")
    config.test.mine = crops_of(mine, "test")
    # Synthetic words that are not trained on: they choose nothing, and tell what is forgotten.
    config.eval.probe.synthetic = crops("words", count=500, seed=1)
    # "alnum_accuracy" takes letters and digits alone, cases alike.
    config.eval.metric = "accuracy"
    # Updates from one evaluation to the next; each time the weights are saved as well.
    config.eval.every = config.checkpoint.every = 100
    # Evaluations without a better score before training stops; 0 disables early stopping.
    config.eval.patience = 0
    return config
