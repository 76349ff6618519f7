"""Synthetic pages builder for TensorFlow Datasets; see data/README.md for how to use it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tensorflow_datasets as tfds

from craftjax.sources import SourceOptions
from craftjax.tfds_builder import PackedBuilder


@dataclass(eq=False)
class PagesConfig(tfds.core.BuilderConfig):
    """Selects the pages to draw.

    Attributes:
        preset: "plain", "scene" or "words".
        pages: number of pages.
        seed: random seed of the pages.
    """

    preset: str = "scene"
    pages: int = 10_000
    seed: int = 0


class Builder(PackedBuilder):
    """Pages of synthetic text with exact quads of words and characters, drawn by ocrjax."""

    BUILDER_CONFIGS = [  # noqa: RUF012  (tfds requires a list)
        PagesConfig(name="scene", preset="scene"),
        PagesConfig(name="plain", preset="plain"),
    ]

    def sources(self, root: Path) -> dict[str, SourceOptions]:
        """Return the pages of the configuration; they are drawn, so `root` is not used."""
        config = self.builder_config
        return {
            "train": SourceOptions(
                "pages", preset=config.preset, seed=config.seed, stop=config.pages
            )
        }
