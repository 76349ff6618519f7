"""ICDAR 2015 builder for TensorFlow Datasets; see data/README.md for how to use it."""

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
        """Return the splits whose pictures are present; they have no character boxes."""
        found = {
            split: SourceOptions(
                "icdar", str(root), images=images, labels=labels, characters="", layout="quad"
            )
            for split, (images, labels) in FOLDERS.items()
            if (root / images).is_dir()
        }
        if not found:
            names = " or ".join(images for images, _ in FOLDERS.values())
            raise FileNotFoundError(
                f"{root}: expected {names} inside; see data/icdar2015/README.md"
            )
        return found
