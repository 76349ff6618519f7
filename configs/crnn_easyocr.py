"""EasyOCR's English recognizer made better on one's own word crops, for its own Reader.

Command: python -m crnnjax.main --config=configs/crnn_easyocr.py --config.data.labels=FILE
    (lines of a path, a tab and a text, as those of the 4,468 words of ICDAR 2015: the first 3,168
    train, 300 choose the best checkpoint, the last 1,000 test)
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


def get_config() -> ConfigDict:
    """Returns the experiment."""
    config = ConfigDict()
    config.name = "crnn_easyocr"  # results go to exp/<name> unless --workdir says otherwise
    config.seed = 0  # of the first weights, the words and their order
    config.steps = 1000  # updates
    config.batch_size = 32  # of all devices together; must be a multiple of their number

    # Network: fields of crnnjax.models.CRNN.
    config.model = ConfigDict()
    config.model.features = "vgg"  # "vgg", "resnet" or "rcnn"
    config.model.channels = 256  # of the last features
    config.model.hidden = 256  # of the LSTM, each direction
    config.model.sequence = "bilstm"  # or "none"
    config.model.transform = "none"  # or "affine"
    config.model.dtype = "float32"  # of the computation; "bfloat16" on GPUs and TPUs
    config.model.freeze_norm = False  # BatchNorm keeps its running statistics
    config.init_from = ""  # folder of a run to take the weights of
    config.init_weights = "english_g2"  # a name or file of weights to start from
    config.init_charset = ""  # of those weights, where it is not known

    # Optimizer: fields of ocrcore.training.optimizers.OptimizerOptions.
    config.optimizer = ConfigDict()
    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = 2e-4
    config.optimizer.weight_decay = 1e-3
    config.optimizer.no_decay = ("*bias", "*/scale")
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup = 50
    config.optimizer.clip_norm = 5.0
    config.optimizer.freeze = ()  # patterns of parameters that stay, ("FeatureExtraction",)
    config.optimizer.accumulate = 1  # parts that a batch is taken in, where memory is short
    config.optimizer.freeze = ()  # patterns of parameters that stay as they are
    config.ema = 0.99  # decay of the average of the weights; 0 for none

    # Data: fields of crnnjax.input_pipeline.InputOptions.
    config.data = ConfigDict()
    config.data.charset = "english_g2"  # a name or a file
    config.data.mode = "bucket"  # batches of like widths
    config.data.height = 64  # or 32
    config.data.max_length = 34  # most characters of a word
    config.data.p_reader_pad = 1.0  # share of crops padded as EasyOCR's Reader does
    config.data.threads = 2  # that make batches
    config.data.workers = 0  # processes that do; 0: this one
    config.data.labels = "data/words/labels.tsv"  # lines of a path, a tab and a text
    config.data.train = ConfigDict()
    config.data.train.real = ConfigDict()  # fields of crnnjax.sources.SourceOptions
    config.data.train.real.kind = "tsv"
    config.data.train.real.path = config.data.get_ref("labels")
    config.data.train.real.stop = 3168
    config.data.train.real.ratio = 3.0  # to those of the other data sets
    config.data.train.real.augment = "light"  # one of crnnjax.augment.PRESETS
    config.data.train.words = ConfigDict()
    config.data.train.words.kind = "words"  # synthetic ones, against forgetting
    config.data.train.words.ratio = 1.0
    config.data.train.words.augment = "light"

    # Evaluation on the way, and at the end: sets as crnnjax.report.open_sets opens them.
    config.eval = ConfigDict()
    config.eval.every = 100  # updates
    config.eval.patience = 0  # evaluations without a better score until it stops; 0: never
    config.eval.metric = "accuracy"  # that says which checkpoint is best
    config.eval.sets = ConfigDict({"real": crops(config, start=3168, stop=3468)})
    probe = {"synthetic": {"kind": "words", "count": 500, "seed": 1}}
    config.eval.probe = ConfigDict(probe)  # sets that only tell what is forgotten
    config.test = ConfigDict({"real": crops(config, start=3468)})

    # Recognizer: fields of crnnjax.recognizer.RecognizerOptions.
    config.recognizer = ConfigDict()
    config.recognizer.resize = "easyocr"  # as a Reader reads
    config.recognizer.decoder = "greedy"  # as a Reader reads; or "beam", "lexicon"
    config.recognizer.beam_width = 10  # prefixes that survive a step of "beam"
    config.recognizer.lexicon = ""  # of "lexicon": a file of words, one on each line
    config.recognizer.confidence = "easyocr"  # of "greedy"; or "dtrb"

    # Log and checkpoints.
    config.log_every = 50  # updates
    config.tensorboard = False  # needs the extra `tensorboard`
    config.checkpoint = ConfigDict()
    config.checkpoint.every = 100  # updates; evaluations are saved anyway
    config.checkpoint.keep = 2  # the last ones; the best one stays besides
    return config


def crops(config: ConfigDict, **more: int) -> ConfigDict:
    """A part of the crops."""
    section = ConfigDict({"kind": "tsv", **more})
    section.path = config.data.get_ref("labels")
    return section
