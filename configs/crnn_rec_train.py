"""A recognizer fine-tuned on one's own word crops, without forgetting the synthetic words.

Command: python -m crnnjax.main --config=configs/crnn_rec_train.py
    --config.init_from=RUN --config.data.labels=FILE
    (a run such as that of configs/crnn_synth.py; lines of a path, a tab and a text, as those of the
    4,468 words of ICDAR 2015: the first 3,168 train, 300 choose the best checkpoint, the last 1,000
    test)
    Before, on the same 1,000: the same with --mode=evaluate --weights=RUN
Source: our own.
Expected: nothing known.
Measured: from configs/crnn_synth.py on ICDAR 2015's 1,000: word accuracy, alphanumeric, .415 (.385
    to .446) after, .326 (.298 to .356) before, english_g2 .370; 16 minutes of two shared cores.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Returns the experiment."""
    config = ConfigDict()
    config.name = "crnn_rec_train"  # results go to exp/<name> unless --workdir says otherwise
    config.seed = 0  # of the first weights, the words and their order
    config.steps = 1500  # updates
    config.batch_size = 64  # of all devices together; must be a multiple of their number

    # Network: fields of crnnjax.models.CRNN.
    config.model = ConfigDict()
    config.model.features = "vgg"  # "vgg", "resnet" or "rcnn"
    config.model.channels = 256  # of the last features
    config.model.hidden = 256  # of the LSTM, each direction
    config.model.sequence = "bilstm"  # or "none"
    config.model.transform = "none"  # or "affine"
    config.model.dtype = "float32"  # of the computation; "bfloat16" on GPUs and TPUs
    config.model.freeze_norm = False  # BatchNorm keeps its running statistics
    config.init_from = "exp/crnn_synth"  # folder of a run to take the weights of
    config.init_weights = ""  # a name or file of weights to start from
    config.init_charset = ""  # of those weights, where it is not known

    # Optimizer: fields of ocrcore.training.optimizers.OptimizerOptions.
    config.optimizer = ConfigDict()
    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = 3e-4
    config.optimizer.weight_decay = 1e-3
    config.optimizer.no_decay = ("*bias", "*/scale")
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup = 50
    config.optimizer.clip_norm = 5.0
    config.optimizer.accumulate = 1  # parts that a batch is taken in, where memory is short
    config.optimizer.freeze = ()  # patterns of parameters that stay as they are
    config.ema = 0.99  # decay of the average of the weights; 0 for none

    # Data: fields of crnnjax.input_pipeline.InputOptions.
    config.data = ConfigDict()
    config.data.charset = "en94"  # a name or a file
    config.data.case_insensitive = True  # letters are read as lower case
    config.data.mode = "bucket"  # batches of like widths
    config.data.p_reader_pad = 1.0  # share of crops padded as EasyOCR's Reader does
    config.data.height = 32  # or 64
    config.data.max_length = 25  # most characters of a word
    config.data.turn_above = 0.0  # height over width from which on crops are turned; 0: none
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
    config.data.train.words.augment = "none"  # words are degraded as they are drawn
    config.data.train.words.text = words_text()
    config.data.train.words.words = words_look()
    config.data.widths = (64, 80, 96, 112, 128, 160, 192, 256, 384)  # of batches

    # Evaluation on the way, and at the end: sets as crnnjax.report.open_sets opens them.
    config.eval = ConfigDict()
    config.eval.every = 150  # updates
    config.eval.patience = 0  # evaluations without a better score until it stops; 0: never
    config.eval.metric = "alnum_accuracy"  # that says which checkpoint is best
    config.eval.sets = ConfigDict({"real": crops(config, start=3168, stop=3468)})
    # Sets that only tell what is forgotten.
    config.eval.probe = ConfigDict({"synthetic": made_words(count=500, seed=1)})
    config.test = ConfigDict({"real": crops(config, start=3468)})

    # Recognizer: fields of crnnjax.recognizer.RecognizerOptions.
    config.recognizer = ConfigDict()
    config.recognizer.resize = "easyocr"  # as its Reader; "bucket": without its padding
    config.recognizer.decoder = "greedy"  # or "beam", "lexicon"
    config.recognizer.beam_width = 10  # prefixes that survive a step of "beam"
    config.recognizer.lexicon = ""  # of "lexicon": a file of words, one on each line
    config.recognizer.turn_above = config.data.get_ref("turn_above")  # as in training

    # Log and checkpoints.
    config.log_every = 50  # updates
    config.tensorboard = False  # needs the extra `tensorboard`
    config.checkpoint = ConfigDict()
    config.checkpoint.every = 150  # updates; evaluations are saved anyway
    config.checkpoint.keep = 2  # the last ones; the best one stays besides
    return config


def crops(config: ConfigDict, **more: int) -> ConfigDict:
    """A part of the crops."""
    section = ConfigDict({"kind": "tsv", **more})
    section.path = config.data.get_ref("labels")
    return section


def words_text() -> ConfigDict:
    """What is written: fields of ocrcore.synth.text.TextConfig."""
    text = ConfigDict()
    text.sources = ConfigDict(
        {
            "words": 0.76,
            "numbers": 0.08,
            "prices": 0.04,
            "dates": 0.02,
            "codes": 0.03,
            "random": 0.04,
            "characters": 0.03,
        }
    )
    text.cases = ConfigDict({"as_is": 0.17, "title": 0.24, "upper": 0.56, "mixed": 0.03})
    text.frequency_power = 0.75
    text.punctuation = 0.08
    text.max_length = 16
    return text


def words_look() -> ConfigDict:
    """How it is drawn: fields of ocrcore.synth.words.WordConfig."""
    words = ConfigDict()
    words.contrast = (0.3, 1.0)
    words.ink_height = (0.6, 1.0)
    words.stretch = (0.55, 1.0)
    words.p_stretch = 0.7
    words.spacing = (-0.06, 0.4)
    words.p_blur = 0.25
    words.p_motion = 0.05
    words.p_noise = 0.25
    words.noise = (2.0, 10.0)
    return words


def made_words(*, count: int, seed: int) -> ConfigDict:
    """A set to evaluate on, drawn as those of the training."""
    section = ConfigDict({"kind": "words", "count": count, "seed": seed})
    section.text, section.words = words_text(), words_look()
    return section
