"""Train a detector on your own images with word boxes: copy this file and change it.

Command: python -m craftjax.main --config=configs/custom.py --config.data.root=DIR --mode=audit
    python -m craftjax.main --config=configs/custom.py --config.data.root=DIR
    DIR has images/NAME.jpg and gt/gt_NAME.txt (or gt/NAME.txt) with one word per line:
    x1,y1,x2,y2,x3,y3,x4,y4,text, clockwise from the top left in reading direction; or
    left,top,right,bottom,text. Words that nobody can read have the text ###. An image without text
    has an empty label file.
Source: our own, after EasyOCR's recipe (configs/ic15.py). For dozens to thousands of images and one
    GPU. On a CPU: --config.data.size=384 --config.batch_size=2 --config.steps=500.
Expected: nothing known.
Measured: not measured.
"""

from ml_collections import ConfigDict

from craftjax.config import detector, pages_of, pseudo, source


def get_config() -> ConfigDict:
    """Return the experiment, with the fields that you are most likely to change.

    There are many more fields; `craftjax/config.py` says where each is documented. Set them here in
    the same way, or on the command line as --config.SECTION.FIELD=VALUE.
    """
    # Results go to exp/custom, unless --workdir says otherwise; the same command resumes the run.
    config = detector("custom")
    # Seed of the order of images and of the augmentation.
    config.seed = 0
    # Training steps. More images need more; look at exp/custom/loss.png.
    config.steps = 3000
    # Global batch size, a multiple of the number of devices. Halve it if memory is insufficient.
    config.batch_size = 4
    # Steps from one log line to the next.
    config.log_every = 10

    # Pretrained weights: EasyOCR's detector, or your own file (.pth, .safetensors). They must
    # already find text, because they make the first character labels.
    config.init_weights = "craft_mlt_25k"
    # "bfloat16" is faster on GPUs and TPUs.
    config.model.dtype = "float32"
    # EasyOCR's loss for pseudo labels: 0.3 hard negative pixels per text pixel, and 5,000 if a
    # batch has no text.
    config.loss.update(version=2, neg_rto=0.3, n_min_neg=5000)

    # Lower it if the loss is unstable. Warmup over 100 steps, then cosine decay to 0.
    config.optimizer.learning_rate = 5e-5
    config.optimizer.update(name="adam", weight_decay=1e-5, schedule="cosine", warmup=100)
    # Frozen layers. ("basenet/slice1", "basenet/slice2") saves time and memory if there are few
    # images.
    config.optimizer.freeze = ()
    # Decay of the EMA of the weights, which is evaluated and saved and makes the labels. Closer to
    # 1 is slower and more stable.
    config.ema = 0.998

    # Pseudo labels: the network locates the characters of your words.
    config.pseudo = pseudo()
    # The network that makes them: "ema", the EMA; "copy", the current network; "fixed", the start
    # weights, which is the safest and improves least.
    config.pseudo.teacher = "ema"
    # Height of the teacher's word crops in pixels; 64 costs a third and suits small words.
    config.pseudo.height = 128
    # Processes that crop and split words; 0: threads, which split about 1,000 words per second.
    # Use them if there are many words and GPUs wait for labels; they take some seconds to start.
    config.pseudo.workers = 0
    # Word crops that a device scores together. None: 1 on CPUs, 64 elsewhere. Lower it if memory is
    # insufficient.
    config.pseudo.batch_size = None
    # No more labels are made if their confidence falls below this share of that of the first
    # labels: the network would learn from its own errors. `GuardOptions` has the other limits.
    config.pseudo.guard.confidence = 0.8

    # Your folder. ICDAR data sets are recognized as they unpack.
    config.data.root = "data/custom"
    # Height and width of the training crops; a multiple of 32.
    config.data.size = 640
    # Threads that make batches. Worker processes (`workers`) would restart after each labeling.
    config.data.threads = 2
    # Several data sets can be mixed; each has a name and the fields of
    # craftjax.sources.SourceOptions.
    photos = source("words", path=config.data.get_ref("root"))
    # Names of your folders in the root; empty: images and gt.
    photos.images = photos.labels = ""
    # A tenth of the images is held out to choose the best weights. If it has fewer than 300 words,
    # the start weights are kept unless others are significantly better.
    photos.holdout = 0.1
    # Which images are held out. "spread": runs of neighbors from all over the folder; "name": the
    # last ones by name, which may be of another kind than the others.
    photos.order = "spread"
    # Layout of the label lines; "auto" detects it, docs/word_boxes.md lists the others.
    photos.layout = "auto"
    # Texts that mark a word as don't care. The empty text is not among them.
    photos.dont_care = ("###",)
    # Greatest rotation in degrees, to either side.
    photos.augment.rotation = 10.0
    # Crop around a word such that its characters are 16 to 96 pixels high.
    photos.augment.update(crop="words", text_height=(16.0, 96.0))
    # Share of images that are compressed as JPEG, for inputs that are compressed differently.
    photos.augment.p_jpeg = 0.0
    # Proportion of this data set in the mix, relative to the ratios of the others.
    photos.ratio = 4.0
    config.data.train.words = photos
    # Synthetic pages, one to four of your images: their characters are known, so they keep the
    # network from drifting. Remove this line if your images do not resemble them at all.
    config.data.train.synth = source("pages", preset="scene", ratio=1.0, augment={"crop": "whole"})

    # The held-out tenth. It follows your settings of `photos`.
    config.eval.pages = pages_of(photos, split="validation")
    # DIR/test/images and DIR/test/gt (or your folder names) if they exist, else the held-out tenth
    # again: its scores are then optimistic.
    config.test = pages_of(photos, split="test")
    # Steps from one evaluation to the next; a checkpoint is saved each time.
    config.eval.every = config.checkpoint.every = 250
    # Evaluations without improvement of hmean before training stops; 0 disables early stopping.
    config.eval.patience = 0
    # True: each evaluation tries text_threshold and low_text of config.sweep, and takes those that
    # are significantly better. Training changes the level of the scores, so that at fixed
    # thresholds better weights may look worse, or collapsed.
    config.eval.sweep = True

    # The highest region score of a word must reach this. --mode=sweep searches for better
    # thresholds on the images of config.eval.pages.
    config.detector.text_threshold = 0.7
    # Affinity scores above this join characters.
    config.detector.link_threshold = 0.4
    # Region scores above this are text.
    config.detector.low_text = 0.4
    # Longest side of the network's input in pixels; larger pages are scaled down.
    config.detector.canvas_size = 1280
    # Magnification of pages, limited by the canvas; 2 finds smaller text.
    config.detector.mag_ratio = 1.0
    # Values that --mode=sweep tries, in every combination.
    config.sweep.text_threshold = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9)
    return config
