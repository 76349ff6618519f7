"""The published detector made better on one's own photos, where their characters are labeled.

Command: python -m craftjax.main --config=configs/finetune_chars.py --config.data.root=DIR
    (a folder with images/, gt/ and chars/, as ICDAR 2003 in the form of
    ocrcore.data.readers.characters: the first 108 photos train, 12 choose the best checkpoint, the
    others test)
    The start weights on the same photos: the same with --mode=evaluate --weights=craft_mlt_25k
Source: our own.
Expected: nothing known.
Measured: on ICDAR 2003's 30 test photos hmean .892 (.842 to .938) after, .915 (.864 to .956)
    before, an hour of two cores (docs/benchmarks.md, "Fine-tuning on characters"): no gain there.
"""

from ml_collections import ConfigDict, config_dict


def get_config() -> ConfigDict:
    """Returns the experiment."""
    config = ConfigDict()
    config.name = "finetune_chars"  # results go to exp/<name> unless --workdir says otherwise
    config.seed = 0  # of the order of the samples and their augmentation
    config.steps = 400  # updates
    config.batch_size = 2  # of all devices together; must be a multiple of their number

    # Network.
    config.model = ConfigDict()
    config.model.width = 1.0  # channels, as a share of the original's
    config.model.dtype = "float32"  # of the computation; "bfloat16" on GPUs and TPUs
    config.model.remat = False  # less memory, more time
    config.model.freeze_norm = config_dict.placeholder(bool)  # None: when fine-tuning < 8 images
    config.model.norm_per_device = False  # BatchNorm's statistics of each device, not of all
    config.init_from = ""  # folder of a run to take the weights of
    config.init_weights = "craft_mlt_25k"  # a name or file of weights to start from

    # Loss: 3 as the original's for pages with true characters.
    config.loss = ConfigDict()
    config.loss.version = 3
    config.loss.neg_rto = 1.0  # hard negative pixels for each positive one
    config.loss.n_min_neg = 1000  # and at least so many
    config.loss.count_masked = True  # False: masked pixels are neither text nor background

    # Optimizer: fields of ocrcore.training.optimizers.OptimizerOptions.
    config.optimizer = ConfigDict()
    config.optimizer.name = "adam"
    config.optimizer.learning_rate = 2e-5
    config.optimizer.weight_decay = 1e-5
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup = 20
    config.optimizer.clip_norm = config_dict.placeholder(float)  # longest gradient; None: any
    config.optimizer.accumulate = 1  # parts that a batch is taken in, where memory is short
    config.optimizer.freeze = ()  # patterns of parameters that stay as they are
    config.ema = 0.99  # decay of the average of the weights; 0 for none

    # Data.
    config.data = ConfigDict()
    root = config_dict.FieldReference("data/icdar2003")
    config.data.root = root  # folder of the photos
    config.data.size = 512  # height and width of the crops
    config.data.threads = 1  # that make batches
    config.data.workers = 0  # processes that do; 0: this one
    config.data.max_dropped = 0.05  # share of bad samples above which the run stops
    config.data.format = "raw"  # "packed": what --mode=pack made of it
    config.data.train = ConfigDict()
    config.data.train.photos = ConfigDict()  # fields of craftjax.sources.SourceOptions
    config.data.train.photos.kind = "icdar"
    config.data.train.photos.path = root
    config.data.train.photos.stop = 108
    config.data.train.photos.packed = ""  # folder of the packed set; empty: packed/ in path
    config.data.train.photos.augment = ConfigDict()  # fields of craftjax.augment.AugmentOptions
    config.data.train.photos.augment.rotation = 10.0
    config.data.train.photos.augment.crop = "words"

    # Evaluation.
    config.eval = ConfigDict()
    config.eval.every = 100  # updates
    config.eval.patience = 0  # evaluations without a better hmean until it stops; 0: never
    config.eval.protocol = "iou"  # one of ocrcore.evaluation.matching.PROTOCOLS
    config.eval.pages = photos(root, start=108, stop=120)
    config.calibration = photos(root, start=0, stop=120)  # for --mode=sweep
    config.test = photos(root, start=120)

    # Detector: fields of craftjax.options.DetectorOptions.
    config.detector = ConfigDict()
    config.detector.text_threshold = 0.7
    config.detector.link_threshold = 0.4
    config.detector.low_text = 0.4
    config.detector.canvas_size = 1280

    # Thresholds that --mode=sweep tries, in every combination.
    config.sweep = ConfigDict()
    config.sweep.text_threshold = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9)
    config.sweep.link_threshold = (0.1, 0.2, 0.3, 0.4, 0.5)
    config.sweep.low_text = (0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6)

    # Log and checkpoints.
    config.overlays = 16  # pictures of found words
    config.log_every = 10  # updates
    config.tensorboard = False  # needs the extra `tensorboard`
    config.checkpoint = ConfigDict()
    config.checkpoint.every = 100  # updates; evaluations are saved anyway
    config.checkpoint.keep = 3  # the last ones; the best one stays besides
    return config


def photos(root: config_dict.FieldReference, *, start: int, stop: int | None = None) -> ConfigDict:
    """The photos from one on, by name, up to another, with words only."""
    pages = ConfigDict()
    pages.kind = "icdar"
    pages.root = root
    pages.images, pages.gt = "images", "gt"
    pages.layout = "auto"
    pages.dont_care = ("###",)
    pages.start = start
    if stop is not None:
        pages.stop = stop
    return pages
