"""A detector for photos from random weights, on our synthetic scenes alone.

Command: python -m craftjax.main --config=configs/synth_scene.py
Source: our own; the network and the targets are the original's.
Expected: nothing known, nor how long it takes: meant for one GPU, on which it was not measured.
Measured: not measured.
"""

from ml_collections import ConfigDict, config_dict


def get_config() -> ConfigDict:
    """Returns the experiment."""
    config = ConfigDict()
    config.name = "synth_scene"  # results go to exp/<name> unless --workdir says otherwise
    config.seed = 0  # of the first weights, the pages and their order
    config.steps = 40_000  # updates
    config.batch_size = 16  # of all devices together; must be a multiple of their number

    # Network.
    config.model = ConfigDict()
    config.model.width = 1.0  # channels, as a share of the original's
    config.model.dtype = "bfloat16"  # of the computation; "float32" on CPUs
    config.model.remat = False  # less memory, more time
    config.model.freeze_norm = config_dict.placeholder(bool)  # None: when fine-tuning < 8 images
    config.model.norm_per_device = False  # BatchNorm's statistics of each device, not of all
    config.init_from = ""  # folder of a run to take the weights of
    config.init_weights = ""  # a name or file of weights to start from

    # Loss: 3 as the original's for pages with true characters.
    config.loss = ConfigDict()
    config.loss.version = 3
    config.loss.neg_rto = 1.0  # hard negative pixels for each positive one
    config.loss.n_min_neg = 1000  # and at least so many
    config.loss.count_masked = True  # False: masked pixels are neither text nor background

    # Optimizer: fields of ocrcore.training.optimizers.OptimizerOptions.
    config.optimizer = ConfigDict()
    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = 1e-3
    config.optimizer.weight_decay = 1e-3
    config.optimizer.no_decay = ("*/bias", "*/scale")
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup = 500
    config.optimizer.clip_norm = 1.0
    config.optimizer.accumulate = 1  # parts that a batch is taken in, where memory is short
    config.optimizer.freeze = ()  # patterns of parameters that stay as they are
    config.ema = 0.999  # decay of the average of the weights; 0 for none

    # Data: pages are drawn as they are needed, no two alike.
    config.data = ConfigDict()
    config.data.size = 640  # height and width of the crops
    config.data.threads = 1  # that make batches, in each worker
    config.data.workers = 15  # processes that do; 0: this one
    config.data.format = "raw"  # "packed": what --mode=pack made of it
    config.data.train = ConfigDict()
    config.data.train.pages = pages(split="train")
    config.data.train.pages.packed = ""  # folder for `stop` packed pages; none: drawn anew
    config.data.train.pages.stop = config_dict.placeholder(int)  # pages; None: without end
    config.data.train.pages.augment = ConfigDict()  # fields of craftjax.augment.AugmentOptions
    config.data.train.pages.augment.crop = "whole"

    # Evaluation on the way, and at the end: on other pages with other fonts, on such backgrounds.
    config.eval = ConfigDict()
    config.eval.every = 2000  # updates
    config.eval.patience = 0  # evaluations without a better hmean until it stops; 0: never
    config.eval.protocol = "iou"  # one of ocrcore.evaluation.matching.PROTOCOLS
    config.eval.pages = pages(split="validation", count=200, seed=1)
    config.test = pages(split="test", count=500, seed=2)

    # Detector: fields of craftjax.options.DetectorOptions.
    config.detector = ConfigDict()
    config.detector.text_threshold = 0.7
    config.detector.link_threshold = 0.4
    config.detector.low_text = 0.4

    # Log and checkpoints.
    config.overlays = 16  # pictures of found words
    config.log_every = 50  # updates
    config.tensorboard = False  # needs the extra `tensorboard`
    config.checkpoint = ConfigDict()
    config.checkpoint.every = 1000  # updates; evaluations are saved anyway
    config.checkpoint.keep = 3  # the last ones; the best one stays besides
    return config


def pages(*, split: str, **more: int) -> ConfigDict:
    """Scenes with the fonts of one split: no family is in two of them.

    Backgrounds are drawn alike in all, with other random numbers.
    """
    section = ConfigDict(more)
    section.kind = "pages"
    section.preset = "scene"
    section.page = ConfigDict()  # fields of ocrcore.synth.config.SynthConfig
    section.page.split = split
    return section
