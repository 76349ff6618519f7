"""CRNN as deep-text-recognition-benchmark trains it: MJSynth and SynthText, None-VGG-BiLSTM-CTC.

Command: python -m crnnjax.main --config=configs/crnn_dtrb.py --config.data.root=DIR
    (DIR/MJ and DIR/ST, the LMDBs of that project, and DIR/validation, one more)
Source: deep-text-recognition-benchmark, train.py: 192 crops of 32x100, half of each data set,
    Adadelta with a learning rate of 1, gradients clipped at 5, 300,000 updates, no augmentation.
    Different here: the moving average of the weights is what is evaluated (config.ema = 0 is the
    original's way); crops that cannot be used are counted and not replaced by black ones.
Expected: .829 on IIIT5K, .816 on SVT, .642 on IC15's 2,077 (arXiv 1904.01906, table 1).
Measured: not measured.
"""

from ml_collections import ConfigDict, config_dict


def get_config() -> ConfigDict:
    """Returns the experiment."""
    config = ConfigDict()
    config.name = "crnn_dtrb"  # results go to exp/<name> unless --workdir says otherwise
    config.seed = 0  # of the first weights and the order of the crops
    config.steps = 300_000  # updates
    config.batch_size = 192  # of all devices together; must be a multiple of their number

    # Network: fields of crnnjax.models.CRNN.
    config.model = ConfigDict()
    config.model.features = "vgg"  # "vgg", "resnet" or "rcnn"
    config.model.channels = 512  # of the last features
    config.model.hidden = 256  # of the LSTM, each direction
    config.model.sequence = "bilstm"  # or "none"
    config.model.transform = "none"  # or "affine"
    config.model.dtype = "float32"  # of the computation; "bfloat16" on GPUs and TPUs
    config.model.freeze_norm = False  # BatchNorm keeps its running statistics
    config.init_from = ""  # folder of a run to take the weights of
    config.init_weights = ""  # a name or file of weights to start from
    config.init_charset = ""  # of those weights, where it is not known

    # Optimizer: fields of ocrcore.training.optimizers.OptimizerOptions.
    config.optimizer = ConfigDict()
    config.optimizer.name = "adadelta"
    config.optimizer.learning_rate = 1.0
    config.optimizer.b2 = 0.95  # rho
    config.optimizer.eps = 1e-8
    config.optimizer.schedule = "constant"
    config.optimizer.clip_norm = 5.0
    config.optimizer.accumulate = 1  # parts that a batch is taken in, where memory is short
    config.optimizer.freeze = ()  # patterns of parameters that stay as they are
    config.ema = 0.999  # decay of the average of the weights; 0 for none

    # Data: fields of crnnjax.input_pipeline.InputOptions.
    config.data = ConfigDict()
    root = config_dict.FieldReference("data/text_recognition")
    config.data.root = root  # folder of the LMDBs
    config.data.charset = "en36"  # a name or a file
    config.data.mode = "fixed"  # all crops become 32x100
    config.data.height = 32  # or 64
    config.data.max_length = 25  # most characters of a word
    config.data.threads = 4  # that make batches, in each worker
    config.data.workers = 2  # processes that do; 0: this one
    config.data.max_dropped = 0.05  # the greatest share of unreadable crops
    config.data.train = ConfigDict()
    config.data.train.MJ = database(root, "MJ")
    config.data.train.ST = database(root, "ST")
    for one in config.data.train.values():  # fields of crnnjax.sources.SourceOptions
        one.ratio = 0.5
        one.augment = "none"  # one of crnnjax.augment.PRESETS
        one.resize = "bicubic"  # by Pillow

    # Evaluation on the way, and at the end: sets as crnnjax.report.open_sets opens them.
    config.eval = ConfigDict()
    config.eval.every = 2000  # updates
    config.eval.patience = 0  # evaluations without a better score until it stops; 0: never
    config.eval.metric = "alnum_accuracy"  # that says which checkpoint is best
    config.eval.sets = ConfigDict()
    config.eval.sets.validation = database(root, "validation")
    config.eval.probe = ConfigDict()  # sets that only tell what is forgotten
    config.test = ConfigDict()
    config.test.validation = database(root, "validation")

    # Recognizer: fields of crnnjax.recognizer.RecognizerOptions.
    config.recognizer = ConfigDict()
    config.recognizer.resize = "fixed"
    config.recognizer.decoder = "greedy"  # or "beam", "lexicon"
    config.recognizer.beam_width = 10  # prefixes that survive a step of "beam"
    config.recognizer.lexicon = ""  # of "lexicon": a file of words, one on each line
    config.recognizer.confidence = "dtrb"  # of "greedy"; or "easyocr"

    # Log and checkpoints.
    config.log_every = 100  # updates
    config.tensorboard = False  # needs the extra `tensorboard`
    config.checkpoint = ConfigDict()
    config.checkpoint.every = 2000  # updates; evaluations are saved anyway
    config.checkpoint.keep = 3  # the last ones; the best one stays besides
    return config


def database(root: config_dict.FieldReference, name: str) -> ConfigDict:
    """One of the LMDBs."""
    section = ConfigDict({"kind": "lmdb"})
    section.path = root + f"/{name}"
    return section
