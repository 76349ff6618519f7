"""Your own pictures with word boxes: copy this file and change it.

Command: python -m craftjax.main --config=configs/custom.py --config.data.root=DIR --mode=audit
    python -m craftjax.main --config=configs/custom.py --config.data.root=DIR
    DIR holds images/NAME.jpg and gt/gt_NAME.txt (or gt/NAME.txt) with one word a line:
    x1,y1,x2,y2,x3,y3,x4,y4,text, clockwise from the top left in reading direction; or
    left,top,right,bottom,text. Words that nobody can read have the text ###. A picture without
    text has an empty label file.
Source: our own, after EasyOCR's recipe (configs/ic15.py). For some dozens to some thousands of
    pictures and one GPU. On a CPU: --config.data.size=384 --config.batch_size=2 --config.steps=500.
Expected: nothing known.
Measured: not measured.
"""

from ml_collections import ConfigDict, config_dict


def get_config() -> ConfigDict:
    """Returns the experiment."""
    config = ConfigDict()
    # Results go to exp/<name>, unless --workdir says otherwise; the same command goes on with them.
    config.name = "custom"
    # Another number gives another order of the pictures and other crops of them.
    config.seed = 0
    # Updates of the weights. More pictures need more; look at exp/<name>/loss.png.
    config.steps = 3000
    # Crops in an update, of all devices together; a multiple of their number. Half of it if the
    # memory is too small.
    config.batch_size = 4

    # Network. Its size is that of the weights that it starts from.
    config.model = ConfigDict()
    config.model.width = 1.0
    # "bfloat16" is faster on GPUs and TPUs.
    config.model.dtype = "float32"
    # True takes less memory and more time.
    config.model.remat = False
    # Whether BatchNorm keeps its statistics. None: with fewer than 8 crops in a batch.
    config.model.freeze_norm = config_dict.placeholder(bool)
    # True: BatchNorm looks at each device's crops alone.
    config.model.norm_per_device = False
    # Weights to start from: EasyOCR's detector, or a file (.pth, .safetensors) of yours. They must
    # find text already, because they make the first labels of characters.
    config.init_weights = "craft_mlt_25k"
    # Or the folder of another run, as exp/other.
    config.init_from = ""

    # Loss. 2 is EasyOCR's for pseudo labels.
    config.loss = ConfigDict()
    config.loss.version = 2
    # Pixels of background that count for each pixel of text: the worst ones.
    config.loss.neg_rto = 0.3
    # So many of them where a batch has no text.
    config.loss.n_min_neg = 5000
    # Whether masked pixels, whose error is 0, are among those that count, as in EasyOCR.
    config.loss.count_masked = True

    # Optimizer: fields of ocrcore.training.optimizers.OptimizerOptions.
    config.optimizer = ConfigDict()
    config.optimizer.name = "adam"
    # Lower it if the loss jumps.
    config.optimizer.learning_rate = 5e-5
    config.optimizer.weight_decay = 1e-5
    # The learning rate rises over 100 updates, and falls to 0 at the end.
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup = 100
    # Gradients longer than this are shortened to it; None: none are.
    config.optimizer.clip_norm = config_dict.placeholder(float)
    # Takes each batch in so many parts if the memory is too small for all of it.
    config.optimizer.accumulate = 1
    # Parts of the network that stay as they are. ("basenet/slice1", "basenet/slice2") saves time
    # and memory where there are few pictures.
    config.optimizer.freeze = ()
    # The moving average of the weights is what is evaluated, saved, and teaches. Nearer to 1 is
    # slower and steadier.
    config.ema = 0.998

    # Pseudo labels: where the characters of your words are, as the network sees them.
    config.pseudo = ConfigDict()
    # Who makes them: "ema", the moving average; "copy", the network as it is; "fixed", the start
    # weights, which is safest and learns least.
    config.pseudo.teacher = "ema"
    # "split": each word into as many characters as its text has; "watershed": EasyOCR's way.
    config.pseudo.method = "split"
    # Height of the word crops that the teacher sees, in pixels; 64 costs a third, and suits small
    # words.
    config.pseudo.height = 128
    # A word whose confidence is not above this is cut without the scores.
    config.pseudo.min_confidence = 0.5
    # For "watershed": region scores above the first are the cores of characters, below the second
    # no character.
    config.pseudo.core_threshold = 0.75
    config.pseudo.background_threshold = 0.05
    # Updates from one labeling to the next; 0: when all pictures have been seen.
    config.pseudo.every = 0
    # Most pictures that are labeled at once; 0: all of a pass. For large data sets.
    config.pseudo.chunk = 0
    # Threads that crop words and cut scores into characters.
    config.pseudo.threads = 2
    # Processes that do so in their place; 0: none. For many words and GPUs that wait for labels:
    # threads cut about 1,000 words a second. To start the processes takes some seconds each time.
    config.pseudo.workers = 0
    # Word crops that a device scores together. None: 1 on CPUs, 64 elsewhere; less if the memory is
    # too small.
    config.pseudo.batch_size = config_dict.placeholder(int)
    # When labels are no longer renewed, because the network teaches itself nonsense.
    config.pseudo.guard = ConfigDict()
    # Their confidence fell below this share of that of the first labels.
    config.pseudo.guard.confidence = 0.8
    # Words look less than this share as much like text as at first, or the gaps in them do, too.
    config.pseudo.guard.mass = 0.5
    # More than this share of the words could not be split by their scores.
    config.pseudo.guard.equal = 0.5
    # hmean fell below this share of the best.
    config.pseudo.guard.hmean = 0.5

    # Data.
    config.data = ConfigDict()
    # Your folder. Data sets of ICDAR are known by the folders that they unpack to.
    root = config_dict.FieldReference("data/custom")
    config.data.root = root
    # Height and width of the crops that the network sees; a multiple of 32.
    config.data.size = 640
    # Threads that make batches, in each of so many processes; 0 processes: in this one. Processes
    # start anew after each labeling, so threads are better here.
    config.data.threads = 2
    config.data.workers = 0
    # The greatest share of pictures that may be unusable before the run stops.
    config.data.max_dropped = 0.05
    # What training and evaluation must agree on; set it at config.data.train.words.
    shared = {
        "images": config_dict.FieldReference(""),
        "labels": config_dict.FieldReference(""),
        "holdout": config_dict.FieldReference(0.1),
        "order": config_dict.FieldReference("spread"),
        "layout": config_dict.FieldReference("auto"),
        "dont_care": config_dict.FieldReference(("###",)),
    }
    # Several data sets may be mixed; each has a name and fields of craftjax.sources.SourceOptions.
    config.data.train = ConfigDict()
    config.data.train.words = ConfigDict()
    config.data.train.words.kind = "words"
    config.data.train.words.path = root
    # Names of your folders in it; empty: images and gt.
    config.data.train.words.images = shared["images"]
    config.data.train.words.labels = shared["labels"]
    # A tenth of the pictures is not trained on; it chooses the best weights.
    config.data.train.words.holdout = shared["holdout"]
    # "spread": from all over the folder, runs of neighbors; "name": the last ones by name, which
    # may be of another kind than the others.
    config.data.train.words.order = shared["order"]
    # How a line of a label file is written: "quad", "box", or "auto" to find out.
    config.data.train.words.layout = shared["layout"]
    # Words with these texts count neither way. An empty text is not among them.
    config.data.train.words.dont_care = shared["dont_care"]
    # How many pictures of this data set there are to those of others.
    config.data.train.words.ratio = 4.0
    # What becomes of a picture: fields of craftjax.augment.AugmentOptions.
    config.data.train.words.augment = ConfigDict()
    # Turned by at most so many degrees.
    config.data.train.words.augment.rotation = 10.0
    # Cut out around a word, whose characters get a height from 16 to 96 pixels in the crop.
    config.data.train.words.augment.crop = "words"
    config.data.train.words.augment.text_height = (16.0, 96.0)
    # The share that is compressed as JPEG, for pictures that come compressed in other ways.
    config.data.train.words.augment.p_jpeg = 0.0
    config.data.train.words.augment.jpeg_quality = (30.0, 95.0)
    # Synthetic pages, one to four pictures of yours: their characters are known, so they keep the
    # network from drifting. Take this part out if your pictures are unlike any page.
    config.data.train.synth = ConfigDict()
    config.data.train.synth.kind = "pages"
    config.data.train.synth.preset = "scene"
    config.data.train.synth.ratio = 1.0
    config.data.train.synth.augment = ConfigDict()
    config.data.train.synth.augment.crop = "whole"

    # Evaluation.
    config.eval = ConfigDict()
    # Every so many updates; each time the weights are saved, too.
    config.eval.every = 250
    # Stop after so many evaluations without a better hmean; 0: never.
    config.eval.patience = 0
    # "iou": EasyOCR's and ICDAR 2015's; others are in ocrcore.evaluation.matching.PROTOCOLS.
    config.eval.protocol = "iou"
    # True: each time at the best text_threshold and low_text of config.sweep. Training moves how
    # high scores are, so that at fixed thresholds better weights may look worse, or collapsed.
    config.eval.sweep = True
    # The tenth that is not trained on.
    config.eval.pages = photos(root, shared, split="validation")
    # DIR/test/images and DIR/test/gt (or whatever you named yours) if you have them, else the same
    # tenth again: its scores are then better than those on new pictures.
    config.test = photos(root, shared, split="test")

    # How pages are scaled and cut into words: fields of craftjax.options.DetectorOptions.
    # --mode=sweep finds better thresholds on the pictures of config.eval.pages.
    config.detector = ConfigDict()
    # The highest region score of a word must reach this.
    config.detector.text_threshold = 0.7
    # Characters are joined where the affinity is above this.
    config.detector.link_threshold = 0.4
    # Region scores above this are text.
    config.detector.low_text = 0.4
    # The longest side that the network sees, in pixels; larger pages are shrunk.
    config.detector.canvas_size = 1280
    # Magnification before that; 2 finds smaller text.
    config.detector.mag_ratio = 1.0
    # What --mode=sweep tries, in every combination.
    config.sweep = ConfigDict()
    config.sweep.text_threshold = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9)
    config.sweep.link_threshold = (0.1, 0.2, 0.3, 0.4, 0.5)
    config.sweep.low_text = (0.3, 0.35, 0.4, 0.45, 0.5, 0.55)

    # Pictures of found words in exp/<name>/overlays.
    config.overlays = 16
    # Updates from one line of the log to the next.
    config.log_every = 10
    # Also write TensorBoard's files; needs the extra `tensorboard`.
    config.tensorboard = False
    config.checkpoint = ConfigDict()
    # Updates from one saved state to the next: what a crash can cost.
    config.checkpoint.every = 250
    # How many of the last ones are kept; the best one is kept besides.
    config.checkpoint.keep = 3
    return config


def photos(
    root: config_dict.FieldReference, shared: dict[str, config_dict.FieldReference], *, split: str
) -> ConfigDict:
    """Pictures that are not trained on; folders, share and texts as for training."""
    pages = ConfigDict()
    pages.kind = "words"
    pages.root = root
    pages.images, pages.gt = shared["images"], shared["labels"]
    pages.split = split
    pages.holdout = shared["holdout"]
    pages.order = shared["order"]
    pages.layout = shared["layout"]
    pages.dont_care = shared["dont_care"]
    return pages
