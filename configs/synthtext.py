"""SynthText from ImageNet's encoder: the first stage of EasyOCR's CRAFT trainer.

Command: python -m craftjax.main --config=configs/synthtext.py
    --config.data.train.synthtext.path=DIR --config.init_weights=vgg16_bn-6c64b313.pth
    (SynthText with its gt.mat; torchvision's file of VGG16-BN; ICDAR 2013 in data/icdar2013)
Source: EasyOCR trainer/craft, config/syn_train.yaml and trainSynth.py. Different here: all of
    SynthText is used, not its first 25,000 files; bfloat16, not float16; an average of the weights
    is kept and evaluated.
Expected: precision .801, recall .748, hmean .773 on ICDAR 2013 (IoU), the original's figures.
Measured: not measured.
"""

from ml_collections import ConfigDict, config_dict


def get_config() -> ConfigDict:
    """Returns the experiment."""
    config = ConfigDict()
    config.name = "synthtext"  # results go to exp/<name> unless --workdir says otherwise
    config.seed = 0  # of the first weights, the samples and their order
    config.steps = 50_000  # updates
    config.batch_size = 5  # of all devices together; must be a multiple of their number

    # Network.
    config.model = ConfigDict()
    config.model.width = 1.0  # channels, as a share of the original's
    config.model.dtype = "bfloat16"  # of the computation; "float32" on CPUs
    config.model.remat = False  # less memory, more time
    config.model.freeze_norm = config_dict.placeholder(bool)  # None: when fine-tuning < 8 images
    config.model.norm_per_device = False  # BatchNorm's statistics of each device, not of all
    config.init_from = ""  # folder of a run to take the weights of
    config.init_weights = "vgg16_bn.pth"  # a name or file of weights to start from

    # Loss: 3 as the original's for pages with true characters.
    config.loss = ConfigDict()
    config.loss.version = 3
    config.loss.neg_rto = 1.0  # hard negative pixels for each positive one
    config.loss.n_min_neg = 1000  # and at least so many
    config.loss.count_masked = True  # False: masked pixels are neither text nor background

    # Optimizer: fields of ocrcore.training.optimizers.OptimizerOptions.
    config.optimizer = ConfigDict()
    config.optimizer.name = "adam"  # with weight decay in the gradient
    config.optimizer.learning_rate = 1e-4
    config.optimizer.weight_decay = 1e-5
    config.optimizer.schedule = "step"
    config.optimizer.decay_every = 15_000
    config.optimizer.gamma = 0.2
    config.optimizer.warmup = 0  # updates over which the learning rate rises
    config.optimizer.clip_norm = config_dict.placeholder(float)  # longest gradient; None: any
    config.optimizer.accumulate = 1  # parts that a batch is taken in, where memory is short
    config.optimizer.freeze = ()  # patterns of parameters that stay as they are
    config.ema = 0.999  # decay of the average of the weights; 0 for none

    # Data.
    config.data = ConfigDict()
    config.data.size = 768  # height and width of the crops
    config.data.threads = 2  # that make batches, in each worker
    config.data.workers = 4  # processes that do; 0: this one
    config.data.max_dropped = 0.05  # share of bad samples above which the run stops
    config.data.format = "raw"  # "packed": what --mode=pack made of it
    config.data.train = ConfigDict()
    config.data.train.synthtext = ConfigDict()  # fields of craftjax.sources.SourceOptions
    config.data.train.synthtext.kind = "synthtext"
    config.data.train.synthtext.path = "data/synthtext/SynthText"
    config.data.train.synthtext.packed = ""  # folder of the packed set; empty: packed/ in path
    config.data.train.synthtext.augment = ConfigDict()  # fields of craftjax.augment.AugmentOptions
    config.data.train.synthtext.augment.crop = "random_resize_crop_synth"

    # Evaluation on the way, on the training pictures of ICDAR 2013, and at the end on its test.
    config.eval = ConfigDict()
    config.eval.every = 1000  # updates
    config.eval.patience = 0  # evaluations without a better hmean until it stops; 0: never
    config.eval.protocol = "iou"  # one of ocrcore.evaluation.matching.PROTOCOLS
    config.eval.pages = icdar2013(
        "Challenge2_Training_Task12_Images", "Challenge2_Training_Task1_GT"
    )
    config.test = icdar2013("Challenge2_Test_Task12_Images", "Challenge2_Test_Task1_GT")

    # Detector: fields of craftjax.options.DetectorOptions.
    config.detector = ConfigDict()
    config.detector.text_threshold = 0.85
    config.detector.link_threshold = 0.2
    config.detector.low_text = 0.5
    config.detector.canvas_size = 960
    config.detector.mag_ratio = 1.5
    config.detector.border = "crop"

    # Log and checkpoints.
    config.overlays = 16  # pictures of found words
    config.log_every = 50  # updates
    config.tensorboard = False  # needs the extra `tensorboard`
    config.checkpoint = ConfigDict()
    config.checkpoint.every = 1000  # updates; evaluations are saved anyway
    config.checkpoint.keep = 3  # the last ones; the best one stays besides
    return config


def icdar2013(images: str, labels: str) -> ConfigDict:
    """Pictures with upright boxes, as the competition's archives unpack."""
    pages = ConfigDict()
    pages.kind = "icdar"
    pages.root = "data/icdar2013"
    pages.images, pages.gt = images, labels
    pages.layout = "box"
    pages.dont_care = ("###",)
    return pages
