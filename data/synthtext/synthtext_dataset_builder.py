"""SynthText builder for TensorFlow Datasets; see data/README.md for how to use it."""

from __future__ import annotations

from pathlib import Path

from craftjax.sources import SourceOptions
from craftjax.tfds_builder import PackedBuilder


class Builder(PackedBuilder):
    """SynthText in the wild: synthetic words on photos, with a box for every character."""

    HOMEPAGE = "https://www.robots.ox.ac.uk/~vgg/data/scenetext/"

    def sources(self, root: Path) -> dict[str, SourceOptions]:
        """Return the folder of `gt.mat`: `root`, or `SynthText` in it, as the archive unpacks."""
        folder = root if (root / "gt.mat").exists() else root / "SynthText"
        return {"train": SourceOptions("synthtext", str(folder))}
