"""A recognizer of street words from nothing: synthetic words alone, sized for one large GPU.

Command: python -m crnnjax.main --config=configs/crnn_gpu.py
Source: our own; network of deep-text-recognition-benchmark (None-VGG-BiLSTM-CTC, 512 channels),
    words and their look of configs/crnn_synth.py.
Expected: of the same network with MJSynth and SynthText, 192 crops and 300,000 updates: .829 on the
    test words of IIIT5K (arXiv 1904.01906, table 1). How long it takes is not known.
Measured: not measured.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Returns the experiment."""
    config = ConfigDict()
    config.name = "crnn_gpu"  # results go to exp/<name> unless --workdir says otherwise
    config.seed = 0  # of the first weights, the words and their order
    config.steps = 4_000  # updates: 4.1 million words, 12 times those of crnn_synth.py
    # Of all devices together; must be a multiple of their number. Large products suit a GPU.
    config.batch_size = 1024

    # Network: fields of crnnjax.models.CRNN.
    config.model = ConfigDict()
    config.model.features = "vgg"  # "vgg", "resnet" or "rcnn"
    config.model.channels = 512  # of the last features; the benchmark's
    config.model.hidden = 256  # of the LSTM, each direction; the benchmark's
    config.model.sequence = "bilstm"  # or "none"
    config.model.transform = "none"  # or "affine"
    config.model.dtype = "bfloat16"  # of the computation; "float32" on CPUs
    config.model.freeze_norm = False  # BatchNorm keeps its running statistics
    config.init_from = ""  # folder of a run to take the weights of
    config.init_weights = ""  # a name or file of weights to start from
    config.init_charset = ""  # of those weights, where it is not known

    # Optimizer: fields of ocrcore.training.optimizers.OptimizerOptions.
    config.optimizer = ConfigDict()
    config.optimizer.name = "adamw"
    # Twice that of crnn_synth.py, whose batches have a sixteenth of the words.
    config.optimizer.learning_rate = 2e-3
    config.optimizer.weight_decay = 1e-3
    config.optimizer.no_decay = ("*bias", "*/scale")
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup = 300
    config.optimizer.clip_norm = 5.0
    config.optimizer.accumulate = 1  # parts that a batch is taken in, where memory is short
    config.optimizer.freeze = ()  # patterns of parameters that stay as they are
    config.ema = 0.999  # decay of the average of the weights; 0 for none

    # Data: words are drawn as they are needed, no two alike; fields of
    # crnnjax.input_pipeline.InputOptions.
    config.data = ConfigDict()
    config.data.charset = "en94"  # a name or a file
    config.data.case_insensitive = True  # letters are read as lower case
    config.data.mode = "bucket"  # batches of like widths
    config.data.height = 32  # or 64
    config.data.max_length = 25  # most characters of a word
    config.data.turn_above = 0.0  # height over width from which on crops are turned; 0: none
    config.data.threads = 1  # that make batches, in each worker
    config.data.workers = 16  # processes that do: one for each core; 0: this one
    config.data.train = ConfigDict()
    config.data.train.words = ConfigDict()  # fields of crnnjax.sources.SourceOptions
    config.data.train.words.kind = "words"
    config.data.train.words.augment = "none"  # words are degraded as they are drawn
    config.data.train.words.text = words_text()
    config.data.train.words.words = words_look()
    # Of batches: each is a program of its own. Wider words become narrower.
    config.data.widths = (64, 96, 128, 192)

    # Evaluation on the way, and at the end: sets as crnnjax.report.open_sets opens them.
    config.eval = ConfigDict()
    config.eval.every = 1000  # updates
    config.eval.patience = 0  # evaluations without a better score until it stops; 0: never
    config.eval.metric = "alnum_accuracy"  # that says which checkpoint is best
    config.eval.sets = ConfigDict({"synthetic": made_words(count=500, seed=1)})
    config.eval.probe = ConfigDict()  # sets that only tell what is forgotten
    config.test = ConfigDict({"synthetic": made_words(count=1000, seed=2)})

    # Recognizer: fields of crnnjax.recognizer.RecognizerOptions.
    config.recognizer = ConfigDict()
    config.recognizer.resize = "bucket"
    config.recognizer.decoder = "greedy"  # or "beam", "lexicon"
    config.recognizer.beam_width = 10  # prefixes that survive a step of "beam"
    config.recognizer.lexicon = ""  # of "lexicon": a file of words, one on each line
    config.recognizer.turn_above = config.data.get_ref("turn_above")  # as in training

    # Log and checkpoints.
    config.log_every = 100  # updates
    config.tensorboard = False  # needs the extra `tensorboard`
    config.checkpoint = ConfigDict()
    config.checkpoint.every = 500  # updates; evaluations are saved anyway
    config.checkpoint.keep = 2  # the last ones; the best one stays, too
    return config


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
