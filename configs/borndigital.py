"""The published detector made better on web graphics whose words alone are labeled, on a CPU.

Command: python -m craftjax.main --config=configs/borndigital.py --config.data.root=DIR
    (the training set of ICDAR 2013's challenge 1, born-digital images: images/ and gt/. Of its 410
    pictures 240 train, 60 choose the checkpoint and 110 test, each part from all over the folder)
    Before and after, with thresholds tuned on the 300 by the same procedure:
    python benchmarks/before_after.py --root DIR --after exp/borndigital
Source: our own. Text is small here (11 pixels at the median). Pictures are read at their own size,
    as EasyOCR's Reader does unless told otherwise, and crops show them at about that size: text
    that is drawn for 11 pixels looks different from large text made small. Three in four pictures
    are PNG, the others JPEG and GIF: crops are compressed, too.
Expected: nothing known. Meant for less than two hours of two cores.
Measured: 57 minutes of two cores; hmean on the 110 test pictures .898 (.876 to .917) after, .842
    (.814 to .867) before, +.056 (+.033 to +.080); seed 0, the best after 1,000 updates (commit
    ebab8c1). 400 updates in 17 minutes (--config.steps=400 --config.eval.every=200) gain .021, .021
    and .026 with seeds 0 to 2. On 250 street photos the long run loses .021; averaged with the
    start (ocrjax average craft_mlt_25k exp/borndigital --shares .4 .6 --out FILE) it gains .041
    (+.022 to +.062), and there .005 (-.015 to +.025; docs/benchmarks.md, "Fine-tuning on words").
"""

from ml_collections import ConfigDict, config_dict


def get_config() -> ConfigDict:
    """Returns the experiment."""
    config = ConfigDict()
    config.name = "borndigital"  # results go to exp/<name> unless --workdir says otherwise
    config.seed = 0  # of the order of the samples and their augmentation
    config.steps = 1500  # updates
    config.batch_size = 4  # of all devices together; must be a multiple of their number

    # Network.
    config.model = ConfigDict()
    config.model.width = 1.0  # channels, as a share of the original's
    config.model.dtype = "float32"  # of the computation; "bfloat16" on GPUs and TPUs
    config.model.remat = False  # less memory, more time
    config.model.freeze_norm = config_dict.placeholder(bool)  # None: when fine-tuning < 8 images
    config.model.norm_per_device = False  # BatchNorm's statistics of each device, not of all
    config.init_from = ""  # folder of a run to take the weights of
    config.init_weights = "craft_mlt_25k"  # a name or file of weights to start from

    # Loss: 2 as the original's for pages with pseudo labels.
    config.loss = ConfigDict()
    config.loss.version = 2
    config.loss.neg_rto = 0.3  # hard negative pixels for each positive one
    config.loss.n_min_neg = 5000  # where that says nothing
    config.loss.count_masked = True  # False: masked pixels are neither text nor background

    # Optimizer: fields of ocrcore.training.optimizers.OptimizerOptions.
    config.optimizer = ConfigDict()
    config.optimizer.name = "adam"
    config.optimizer.learning_rate = 1.5e-4
    config.optimizer.weight_decay = 1e-5
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup = 30
    config.optimizer.clip_norm = config_dict.placeholder(float)  # longest gradient; None: any
    config.optimizer.accumulate = 1  # parts that a batch is taken in, where memory is short
    # The most expensive layers, which see edges: no backward pass through them.
    config.optimizer.freeze = ("basenet/slice1",)
    config.ema = 0.995  # decay of the average of the weights; 0 for none

    # Pseudo labels: fields of craftjax.weak.supervision.SupervisionOptions and of PseudoOptions.
    config.pseudo = ConfigDict()
    # The start weights; "ema": the average, "copy": the network itself, as the original's. Crops of
    # words are larger than the text trained on: at the pictures' own size the average was less sure
    # of them after 750 updates (docs/benchmarks.md).
    config.pseudo.teacher = "fixed"
    config.pseudo.method = "split"  # "watershed": the original's
    config.pseudo.core_threshold = 0.75  # watershed: region scores above are cores of characters
    config.pseudo.background_threshold = 0.05  # watershed: region scores below are no character
    config.pseudo.min_confidence = 0.5  # words that are not above it are cut without the scores
    config.pseudo.height = 64  # of word crops; words are small, and half as high costs a third
    config.pseudo.every = 1500  # updates from one labeling to the next: here once
    config.pseudo.threads = 1  # beside the network
    config.pseudo.workers = 0  # processes in their place
    config.pseudo.batch_size = config_dict.placeholder(int)  # word crops; None: 1 on CPUs, else 64
    config.pseudo.guard = ConfigDict()  # fields of craftjax.weak.collapse.GuardOptions
    config.pseudo.guard.confidence = 0.8
    config.pseudo.guard.mass = 0.5
    config.pseudo.guard.equal = 0.5
    config.pseudo.guard.hmean = 0.5

    # Data.
    config.data = ConfigDict()
    root = config_dict.FieldReference("data/borndigital")
    config.data.root = root  # folder of the pictures
    config.data.size = 256  # height and width of the crops
    config.data.threads = 1  # that make batches
    config.data.workers = 0  # processes that do; 0: this one
    config.data.max_dropped = 0.05  # share of bad samples above which the run stops
    config.data.train = ConfigDict()
    config.data.train.words = ConfigDict()  # fields of craftjax.sources.SourceOptions
    config.data.train.words.kind = "words"
    config.data.train.words.path = root
    config.data.train.words.split = "all"
    config.data.train.words.order = "spread"  # by name the last ones are of another kind
    config.data.train.words.stop = 240
    config.data.train.words.augment = ConfigDict()  # fields of craftjax.augment.AugmentOptions
    config.data.train.words.augment.crop = "random_crop"
    config.data.train.words.augment.scale = (0.7, 1.5)  # to the pictures' own size
    # Few pictures: their colors are changed more than the original's .2 does.
    config.data.train.words.augment.brightness = 0.4
    config.data.train.words.augment.contrast = 0.4
    config.data.train.words.augment.saturation = 0.4
    config.data.train.words.augment.hue = 0.5  # any
    # Most of them are PNG, as web graphics often are not.
    config.data.train.words.augment.p_jpeg = 0.7
    config.data.train.words.augment.jpeg_quality = (40.0, 97.0)
    config.data.train.words.ratio = 4.0  # to those of the other data sets
    config.data.train.synth = ConfigDict()  # keep the network from forgetting
    config.data.train.synth.kind = "pages"
    config.data.train.synth.preset = "scene"
    config.data.train.synth.ratio = 1.0
    config.data.train.synth.augment = ConfigDict()
    config.data.train.synth.augment.crop = "words"
    config.data.train.synth.augment.text_height = (6.0, 40.0)  # as most words of the pictures

    # Evaluation.
    config.eval = ConfigDict()
    config.eval.every = 250  # updates
    config.eval.patience = 0  # evaluations without a better hmean until it stops; 0: never
    config.eval.protocol = "iou"  # one of ocrcore.evaluation.matching.PROTOCOLS
    # Each time at the best of config.sweep's text_threshold and low_text, which training moves.
    config.eval.sweep = True
    config.eval.pages = pictures(root, start=240, stop=300)
    config.calibration = pictures(root, start=0, stop=300)  # for --mode=sweep, before_after.py
    config.test = pictures(root, start=300)

    # Detector: fields of craftjax.options.DetectorOptions.
    config.detector = ConfigDict()
    config.detector.text_threshold = 0.8
    config.detector.link_threshold = 0.2
    config.detector.low_text = 0.5
    config.detector.canvas_size = 2560  # longest side of the network's input
    config.detector.mag_ratio = 1.0
    config.detector.border = "crop"

    # Thresholds that --mode=sweep tries, in every combination.
    config.sweep = ConfigDict()
    config.sweep.text_threshold = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9)
    config.sweep.link_threshold = (0.1, 0.2, 0.3, 0.4, 0.5)
    config.sweep.low_text = (0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65)

    # Log and checkpoints.
    config.overlays = 16  # pictures of found words
    config.log_every = 10  # updates
    config.tensorboard = False  # needs the extra `tensorboard`
    config.checkpoint = ConfigDict()
    config.checkpoint.every = 50  # updates; evaluations are saved anyway
    config.checkpoint.keep = 2  # the last ones; the best one stays besides
    return config


def pictures(
    root: config_dict.FieldReference, *, start: int, stop: int | None = None
) -> ConfigDict:
    """The pictures from one on, by name, up to another."""
    pages = ConfigDict()
    pages.kind = "words"
    pages.root = root
    pages.images, pages.gt = "", ""
    pages.split = "all"
    pages.holdout = 0.0
    pages.order = "spread"
    pages.layout = "auto"
    pages.dont_care = ("###",)
    pages.start = start
    if stop is not None:
        pages.stop = stop
    return pages
