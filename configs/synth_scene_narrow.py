"""The same as configs/synth_scene.py for a machine without a GPU: a quarter of the width.

Command: python -m craftjax.main --config=configs/synth_scene_narrow.py
Source: our own. How far synthetic scenes alone carry a network of 1.3 million parameters in about
    two hours of two cores.
Expected: nothing known.
Measured: hmean .756 on the 200 pages of config.test, .426 on ICDAR 2003 and .377 on 100 photos of
    ICDAR 2015 (canvas 1280) at these thresholds, after 88 minutes of two cores
    (docs/benchmarks.md, "From nothing").
"""

from ml_collections import ConfigDict, config_dict


def get_config() -> ConfigDict:
    """Returns the experiment."""
    config = ConfigDict()
    config.name = "synth_scene_narrow"  # results go to exp/<name> unless --workdir says otherwise
    config.seed = 0  # of the first weights, the pages and their order
    config.steps = 5000  # updates
    config.batch_size = 4  # of all devices together; must be a multiple of their number

    # Network.
    config.model = ConfigDict()
    config.model.width = 0.25  # channels, as a share of the original's
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
    config.loss.n_min_neg = 1000  # and at least so many
    config.loss.count_masked = True  # False: masked pixels are neither text nor background

    # Optimizer: fields of ocrcore.training.optimizers.OptimizerOptions.
    config.optimizer = ConfigDict()
    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = 1.5e-3
    config.optimizer.weight_decay = 1e-4
    config.optimizer.no_decay = ("*/bias", "*/scale")
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup = 200
    config.optimizer.clip_norm = config_dict.placeholder(float)  # longest gradient; None: any
    config.optimizer.accumulate = 1  # parts that a batch is taken in, where memory is short
    config.optimizer.freeze = ()  # patterns of parameters that stay as they are
    config.ema = 0.998  # decay of the average of the weights; 0 for none

    # Data: pages are drawn as they are needed, no two alike.
    config.data = ConfigDict()
    config.data.size = 448  # height and width of the crops
    config.data.threads = 1  # that make batches
    config.data.workers = 0  # processes that do; 0: this one
    config.data.format = "raw"  # "packed": what --mode=pack made of it
    config.data.train = ConfigDict()
    config.data.train.pages = pages(split="train")
    config.data.train.pages.packed = ""  # folder for `stop` packed pages; none: drawn anew
    config.data.train.pages.stop = config_dict.placeholder(int)  # pages; None: without end
    config.data.train.pages.augment = ConfigDict()  # fields of craftjax.augment.AugmentOptions
    config.data.train.pages.augment.crop = "whole"

    # Evaluation on the way, and at the end: on other pages with other fonts, on such backgrounds.
    config.eval = ConfigDict()
    config.eval.every = 500  # updates
    config.eval.patience = 0  # evaluations without a better hmean until it stops; 0: never
    config.eval.protocol = "iou"  # one of ocrcore.evaluation.matching.PROTOCOLS
    config.eval.pages = pages(split="validation", count=50, seed=1)
    config.test = pages(split="test", count=200, seed=2)

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
    config.checkpoint.every = 100  # updates; evaluations are saved anyway
    config.checkpoint.keep = 2  # the last ones; the best one stays besides
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
    section.page.height = section.page.width = 448
    section.page.words = (6, 14)
    section.page.font_size = (11, 72)
    return section
