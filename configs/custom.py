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

from ml_collections import ConfigDict

from craftjax.config import detector, pages_of, pseudo, source


def get_config() -> ConfigDict:
    """Returns the experiment: what you are likely to change.

    There are many more fields. `craftjax/config.py` says where each is described; set them here in
    the same way, or on the command line as --config.SECTION.FIELD=VALUE.
    """
    # Results go to exp/custom, unless --workdir says otherwise; the same command resumes the run.
    config = detector("custom")
    # Another number gives another order of the pictures and other crops of them.
    config.seed = 0
    # Updates of the weights. More pictures need more; look at exp/custom/loss.png.
    config.steps = 3000
    # Crops in an update, of all devices together; a multiple of their number. Half of it if the
    # memory is too small.
    config.batch_size = 4
    # Updates from one line of the log to the next.
    config.log_every = 10

    # Weights to start from: EasyOCR's detector, or a file (.pth, .safetensors) of yours. They must
    # find text already, because they make the first labels of characters.
    config.init_weights = "craft_mlt_25k"
    # "bfloat16" is faster on GPUs and TPUs.
    config.model.dtype = "float32"
    # EasyOCR's loss of pseudo labels: 0.3 pixels of background for each pixel of text, the worst
    # ones, and 5,000 where a batch has no text.
    config.loss.update(version=2, neg_rto=0.3, n_min_neg=5000)

    # Lower it if the loss jumps. It rises over 100 updates, and falls to 0 at the end.
    config.optimizer.learning_rate = 5e-5
    config.optimizer.update(name="adam", weight_decay=1e-5, schedule="cosine", warmup=100)
    # Parts of the network that stay as they are. ("basenet/slice1", "basenet/slice2") saves time
    # and memory where there are few pictures.
    config.optimizer.freeze = ()
    # The moving average of the weights is what is evaluated, saved, and teaches. Nearer to 1 is
    # slower and steadier.
    config.ema = 0.998

    # Pseudo labels: where the characters of your words are, as the network sees them.
    config.pseudo = pseudo()
    # Who makes them: "ema", the moving average; "copy", the network as it is; "fixed", the start
    # weights, which is safest and learns least.
    config.pseudo.teacher = "ema"
    # Height of the word crops that the teacher sees, in pixels; 64 costs a third, and suits small
    # words.
    config.pseudo.height = 128
    # Processes that crop words and cut scores into characters; 0: threads, which cut about 1,000
    # words a second. For many words and GPUs that wait for labels; they start in some seconds.
    config.pseudo.workers = 0
    # Word crops that a device scores together. None: 1 on CPUs, 64 elsewhere; less if the memory is
    # too small.
    config.pseudo.batch_size = None
    # Labels are no longer renewed if their confidence falls below this share of that of the first
    # ones: the network would teach itself nonsense. Other such limits stand beside it.
    config.pseudo.guard.confidence = 0.8

    # Your folder. Data sets of ICDAR are known by the folders that they unpack to.
    config.data.root = "data/custom"
    # Height and width of the crops that the network sees; a multiple of 32.
    config.data.size = 640
    # Threads that make batches. Processes (`workers`) would start again after each labeling.
    config.data.threads = 2
    # Several data sets may be mixed; each has a name and fields of craftjax.sources.SourceOptions.
    photos = source("words", path=config.data.get_ref("root"))
    # Names of your folders in it; empty: images and gt.
    photos.images = photos.labels = ""
    # A tenth of the pictures is not trained on; it chooses the best weights. With fewer than 300
    # words in it the start weights stay unless others are better by more than chance.
    photos.holdout = 0.1
    # "spread": from all over the folder, runs of neighbors; "name": the last ones by name, which
    # may be of another kind than the others.
    photos.order = "spread"
    # How lines of label files are written; "auto" finds it out, docs/word_boxes.md has the others.
    photos.layout = "auto"
    # Words with these texts count neither way. An empty text is not among them.
    photos.dont_care = ("###",)
    # Turned by at most this many degrees, to either side.
    photos.augment.rotation = 10.0
    # Cut out around a word, whose characters get a height from 16 to 96 pixels in the crop.
    photos.augment.update(crop="words", text_height=(16.0, 96.0))
    # The share that is compressed as JPEG, for pictures that come compressed in other ways.
    photos.augment.p_jpeg = 0.0
    # How many pictures of this data set there are to those of others.
    photos.ratio = 4.0
    config.data.train.words = photos
    # Synthetic pages, one to four pictures of yours: their characters are known, so they keep the
    # network from drifting. Take this line out if your pictures are unlike any page.
    config.data.train.synth = source("pages", preset="scene", ratio=1.0, augment={"crop": "whole"})

    # The tenth that is not trained on. What you set for `photos` holds for it as well.
    config.eval.pages = pages_of(photos, split="validation")
    # DIR/test/images and DIR/test/gt (or whatever you named yours) if you have them, else the same
    # tenth again: its scores are then better than those on new pictures.
    config.test = pages_of(photos, split="test")
    # Updates from one evaluation to the next; each time the weights are saved as well.
    config.eval.every = config.checkpoint.every = 250
    # Evaluations without a better hmean before training stops; 0 disables early stopping.
    config.eval.patience = 0
    # True: each time try text_threshold and low_text of config.sweep, and take what is better by
    # more than chance. Training moves how high scores are, so that at fixed thresholds better
    # weights may look worse, or collapsed.
    config.eval.sweep = True

    # The highest region score of a word must reach this. --mode=sweep looks for better thresholds
    # on the pictures of config.eval.pages.
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
    config.sweep.text_threshold = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9)
    return config
