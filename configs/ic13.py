"""ICDAR 2013, focused scene text: evaluation as in EasyOCR's trainer.

Command: python -m craftjax.main --config=configs/ic13.py --mode=evaluate
    --images=DIR --gt=DIR (or the data set in data/icdar2013)
Source: EasyOCR trainer/craft, config/syn_train.yaml, row "SynthText" of its README. Its figures use
    the protocol `iou`, not the competition's own (`--config.eval.protocol=icdar2013`).
Expected: precision .801, recall .748, hmean .773 for EasyOCR's weights trained on SynthText only,
    on the 233 test images (its figures; those weights are not published).
Measured: not measured, because the images were not available.
"""

from ml_collections import ConfigDict

from craftjax.config import detector, pages


def get_config() -> ConfigDict:
    """Return the experiment."""
    config = detector("ic13", weights="craft_mlt_25k")
    # Folders as in the competition's archives (data/icdar2013/README.md). A label line is
    # left top right bottom "text", or the same with commas.
    config.test = pages(
        "icdar",
        root="data/icdar2013",
        images="Challenge2_Test_Task12_Images",
        gt="Challenge2_Test_Task1_GT",
        layout="box",
    )
    config.eval.keep_scores = True  # 2 MB per image
    # syn_train.yaml, `test`; the trainer cuts scores at the page's border, and pads only to
    # multiples of 32.
    config.detector.update(text_threshold=0.85, link_threshold=0.2, low_text=0.5)
    config.detector.update(canvas_size=960, mag_ratio=1.5, border="crop", pad="exact")
    return config
