"""The quickstart: a narrow detector that learns plain synthetic pages in minutes on two cores.

Command: ./launch.sh
Source: our own. The network is CRAFT at an eighth of its width; it shows that all works and is no
    detector for photos (that is configs/synth_scene.py).
Expected: in 6 minutes on 2 cores hmean .80 (IoU above .5) on pages whose fonts it has not seen.
Measured: hmean .982, .977 and .984 with config.seed 0, 1 and 2, in 2:57, 2:56 and 2:47 minutes on
    two free cores (docs/benchmarks.md). The thresholds were chosen beforehand.
"""

from ml_collections import ConfigDict, config_dict


def get_config() -> ConfigDict:
    """Returns the experiment."""
    config = ConfigDict()
    config.name = "quickstart"  # results go to exp/<name> unless --workdir says otherwise
    config.seed = 0  # of the first weights, the pages and their order
    config.steps = 400  # updates
    config.batch_size = 4  # of all devices together; must be a multiple of their number

    # Network.
    config.model = ConfigDict()
    config.model.width = 0.125  # channels, as a share of the original's
    config.model.dtype = "float32"  # of the computation; "bfloat16" on GPUs and TPUs
    config.model.remat = False  # less memory, more time
    config.model.freeze_norm = config_dict.placeholder(bool)  # None: when fine-tuning < 8 images
    config.model.norm_per_device = False  # BatchNorm's statistics of each device, not of all
    config.init_from = ""  # folder of a run to take the weights of
    config.init_weights = ""  # a name or file of weights to start from

    # Loss: 3 as the original's for pages with true characters.
    config.loss = ConfigDict()
    config.loss.version = 3
    config.loss.neg_rto = 1.0  # hard negative pixels for each positive one
    config.loss.n_min_neg = 1000  # and at least so many; the maps have 25,600
    config.loss.count_masked = True  # False: masked pixels are neither text nor background

    # Optimizer: fields of ocrcore.training.optimizers.OptimizerOptions.
    config.optimizer = ConfigDict()
    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = 2e-3
    config.optimizer.weight_decay = 1e-4
    config.optimizer.no_decay = ("*/bias", "*/scale")
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup = 20
    config.optimizer.clip_norm = config_dict.placeholder(float)  # longest gradient; None: any
    config.optimizer.accumulate = 1  # parts that a batch is taken in, where memory is short
    config.optimizer.freeze = ()  # patterns of parameters that stay as they are
    config.ema = 0.98  # decay of the average of the weights; 0 for none

    # Data: pages are drawn as they are needed, no two alike.
    config.data = ConfigDict()
    config.data.size = 320  # height and width of the crops
    config.data.threads = 2  # that make batches
    config.data.workers = 0  # processes that do; 0: this one
    config.data.train = ConfigDict()
    config.data.train.pages = pages(split="train")
    config.data.train.pages.augment = ConfigDict()  # fields of craftjax.augment.AugmentOptions
    config.data.train.pages.augment.crop = "whole"

    # Evaluation on the way, and at the end on other pages with other fonts.
    config.eval = ConfigDict()
    config.eval.every = 100  # updates
    config.eval.patience = 0  # evaluations without a better hmean until it stops; 0: never
    config.eval.protocol = "iou"  # one of ocrcore.evaluation.matching.PROTOCOLS
    config.eval.pages = pages(split="validation", count=50, seed=1)
    config.test = pages(split="test", count=100, seed=2)
    config.overlays = 8  # pictures of found words

    # Detector: fields of craftjax.options.DetectorOptions.
    config.detector = ConfigDict()
    config.detector.text_threshold = 0.6
    config.detector.link_threshold = 0.4
    config.detector.low_text = 0.4

    # Log and checkpoints.
    config.log_every = 20  # updates
    config.tensorboard = False  # needs the extra `tensorboard`
    config.checkpoint = ConfigDict()
    config.checkpoint.every = 100  # updates; evaluations are saved anyway
    config.checkpoint.keep = 2  # the last ones; the best one stays besides
    return config


def pages(*, split: str, **more: int) -> ConfigDict:
    """Plain pages with the fonts of one split: no family is in two of them."""
    section = ConfigDict(more)
    section.kind = "pages"
    section.preset = "plain"
    section.page = ConfigDict()  # fields of ocrcore.synth.config.SynthConfig
    section.page.split = split
    section.page.height = section.page.width = 320
    return section
