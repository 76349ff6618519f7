"""ICDAR 2015, incidental scene text: evaluation as EasyOCR's trainer does it.

Command: python -m craftjax.main --config=configs/ic15.py --mode=evaluate
    --images=DIR --gt=DIR (or the data set in data/icdar2015)
Source: EasyOCR trainer/craft, config/custom_data_train.yaml, row "SynthText + IC15" of its README.
Expected: precision .909, recall .794, hmean .848 at text threshold .85 and hmean .856 at .75, for
    EasyOCR's own weights after 25,000 iterations, on the 500 test pictures (its figures, which we
    cannot repeat: those weights are not published).
Measured: see docs/benchmarks.md (`craft_mlt_25k` on 250 of the test pictures).
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Returns the experiment."""
    config = ConfigDict()
    config.name = "ic15"  # results go to exp/<name> unless --workdir says otherwise
    config.weights = "craft_mlt_25k"  # a name, a file (.pth, .safetensors) or a checkpoint

    # Data; the folders as the competition's archives unpack (data/icdar2015/README.md).
    config.test = ConfigDict()
    config.test.kind = "icdar"  # pictures and label files in two folders
    config.test.root = "data/icdar2015"
    config.test.images = "ch4_test_images"
    config.test.gt = "Challenge4_Test_Task1_GT"
    config.test.layout = "quad"  # x1,y1,x2,y2,x3,y3,x4,y4,text
    config.test.dont_care = ("###",)  # words with these texts do not count

    # Detector: fields of craftjax.options.DetectorOptions.
    config.detector = ConfigDict()
    config.detector.text_threshold = 0.75
    config.detector.link_threshold = 0.2
    config.detector.low_text = 0.5
    config.detector.canvas_size = 2240  # longest side of the network's input
    config.detector.mag_ratio = 1.75
    config.detector.border = "crop"  # as EasyOCR's trainer; "keep" as its Reader
    config.detector.pad = "exact"  # no padding beyond multiples of 32

    # Evaluation.
    config.eval = ConfigDict()
    config.eval.protocol = "iou"  # one of ocrjax.matching.PROTOCOLS
    config.eval.keep_scores = True  # score maps in workdir/scores: resumes, 6 MB a picture here

    # Thresholds that --mode=sweep tries, in every combination.
    config.sweep = ConfigDict()
    config.sweep.text_threshold = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9)
    config.sweep.link_threshold = (0.1, 0.2, 0.3, 0.4, 0.5)
    config.sweep.low_text = (0.3, 0.35, 0.4, 0.45, 0.5, 0.55)
    return config
