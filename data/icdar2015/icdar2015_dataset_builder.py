"""TensorFlow Datasets' builder of ICDAR 2015; README.md says how to use it."""

from __future__ import annotations

from pathlib import Path

from craftjax.sources import SourceOptions
from craftjax.tfds_builder import PackedBuilder

FOLDERS = {
    "train": ("ch4_training_images", "ch4_training_localization_transcription_gt"),
    "test": ("ch4_test_images", "Challenge4_Test_Task1_GT"),
}


class Builder(PackedBuilder):
    """ICDAR 2015, incidental scene text: photos with word quads, texts and "don't care" flags."""

    HOMEPAGE = "https://rrc.cvc.uab.es/?ch=4"

    def sources(self, root: Path) -> dict[str, SourceOptions]:
        """The splits whose pictures are there; there are no characters."""
        found = {
            split: SourceOptions(
                "icdar", str(root), images=images, labels=labels, characters="", layout="quad"
            )
            for split, (images, labels) in FOLDERS.items()
            if (root / images).is_dir()
        }
        if not found:
            names = " or ".join(images for images, _ in FOLDERS.values())
            raise FileNotFoundError(f"{root}: expected {names} in it; see data/icdar2015/README.md")
        return found
