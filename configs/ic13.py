"""ICDAR 2013, focused scene text: evaluation as EasyOCR's trainer does it.

Command: python -m craftjax.main --config=configs/ic13.py --mode=evaluate
    --images=DIR --gt=DIR (or the data set in data/icdar2013)
Source: EasyOCR trainer/craft, config/syn_train.yaml, row "SynthText" of its README. Its figures are
    of the `iou` protocol, not of the competition's own (`--config.eval.protocol=icdar2013`).
Expected: precision .801, recall .748, hmean .773 for EasyOCR's weights after SynthText alone, on
    the 233 test pictures (its figures; those weights are not published).
Measured: not measured, the pictures were not at hand.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Returns the experiment."""
    config = ConfigDict()
    config.name = "ic13"  # results go to exp/<name> unless --workdir says otherwise
    config.weights = "craft_mlt_25k"  # a name, a file (.pth, .safetensors) or a checkpoint

    # Data; the folders as the competition's archives unpack (data/icdar2013/README.md).
    config.test = ConfigDict()
    config.test.kind = "icdar"  # pictures and label files in two folders
    config.test.root = "data/icdar2013"
    config.test.images = "Challenge2_Test_Task12_Images"
    config.test.gt = "Challenge2_Test_Task1_GT"
    config.test.layout = "box"  # left top right bottom "text", or the same with commas
    config.test.dont_care = ("###",)  # words with these texts do not count

    # Detector: fields of craftjax.options.DetectorOptions.
    config.detector = ConfigDict()
    config.detector.text_threshold = 0.85
    config.detector.link_threshold = 0.2
    config.detector.low_text = 0.5
    config.detector.canvas_size = 960  # longest side of the network's input
    config.detector.mag_ratio = 1.5
    config.detector.border = "crop"  # as EasyOCR's trainer; "keep" as its Reader
    config.detector.pad = "exact"  # no padding beyond multiples of 32

    # Evaluation.
    config.eval = ConfigDict()
    config.eval.protocol = "iou"  # one of ocrcore.evaluation.matching.PROTOCOLS
    config.eval.keep_scores = True  # score maps in workdir/scores: resumes, 2 MB a picture here

    # Thresholds that --mode=sweep tries, in every combination.
    config.sweep = ConfigDict()
    config.sweep.text_threshold = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9)
    config.sweep.link_threshold = (0.1, 0.2, 0.3, 0.4, 0.5)
    config.sweep.low_text = (0.3, 0.35, 0.4, 0.45, 0.5, 0.55)
    return config
