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

from craftjax.config import detector, pages


def get_config() -> ConfigDict:
    """Returns the experiment."""
    config = detector("ic13", weights="craft_mlt_25k")
    # The folders as the competition's archives unpack (data/icdar2013/README.md). A line is
    # left top right bottom "text", or the same with commas.
    config.test = pages(
        "icdar",
        root="data/icdar2013",
        images="Challenge2_Test_Task12_Images",
        gt="Challenge2_Test_Task1_GT",
        layout="box",
    )
    config.eval.keep_scores = True  # 2 MB a picture
    # syn_train.yaml, `test`; the trainer cuts scores at the page's border, and pads no further
    # than to multiples of 32.
    config.detector.update(text_threshold=0.85, link_threshold=0.2, low_text=0.5)
    config.detector.update(canvas_size=960, mag_ratio=1.5, border="crop", pad="exact")
    return config
