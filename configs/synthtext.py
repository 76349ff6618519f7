"""Train on SynthText from an ImageNet encoder: the first stage of EasyOCR's CRAFT trainer.

Command: python -m craftjax.main --config=configs/synthtext.py
    --config.data.train.synthtext.path=DIR --config.init_weights=vgg16_bn-6c64b313.pth
    (DIR is SynthText with its gt.mat; the weights are torchvision's VGG16-BN; ICDAR 2013 must be in
    data/icdar2013)
Source: EasyOCR trainer/craft, config/syn_train.yaml and trainSynth.py. Different here: all of
    SynthText is used, not only its first 25,000 files; bfloat16, not float16; an EMA of the weights
    is kept and evaluated.
Expected: precision .801, recall .748, hmean .773 on ICDAR 2013 (IoU), the figures of the original.
Measured: not measured.
"""

from ml_collections import ConfigDict

from craftjax.config import detector, pages, source


def get_config() -> ConfigDict:
    """Return the experiment."""
    # syn_train.yaml: batch size, steps, optimizer, schedule, crops.
    config = detector("synthtext", steps=50_000, batch_size=5, init_weights="vgg16_bn.pth")
    config.optimizer.update(name="adam", learning_rate=1e-4, weight_decay=1e-5)
    config.optimizer.update(schedule="step", decay_every=15_000, gamma=0.2)
    config.model.dtype = "bfloat16"  # "float32" on CPUs
    config.data.update(size=768, threads=2, workers=4)
    config.data.train.synthtext = source(
        "synthtext",
        path="data/synthtext/SynthText",
        augment={"crop": "random_resize_crop_synth"},
    )

    # The training images of ICDAR 2013 choose the best weights.
    images, labels = "Challenge2_Training_Task12_Images", "Challenge2_Training_Task1_GT"
    config.eval.pages = icdar2013(images, labels)
    config.test = icdar2013("Challenge2_Test_Task12_Images", "Challenge2_Test_Task1_GT")
    # syn_train.yaml, `test`: how the original evaluates on ICDAR 2013.
    config.detector.update(text_threshold=0.85, link_threshold=0.2, low_text=0.5)
    config.detector.update(canvas_size=960, mag_ratio=1.5, border="crop")
    return config


def icdar2013(images: str, labels: str) -> ConfigDict:
    """Return images with axis-aligned boxes, as in the competition's archives."""
    return pages("icdar", root="data/icdar2013", images=images, gt=labels, layout="box")
