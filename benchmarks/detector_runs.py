"""What the detector benchmarks share: configs, threshold sets, and our boxes from kept scores."""

from __future__ import annotations

import argparse
import runpy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from craftjax.detector import Detector, Scores
from craftjax.evaluate import EvaluationError, ScoreCache, score_pages
from craftjax.options import DetectorOptions
from ocrcore.data.readers.icdar import read_icdar_folder
from ocrcore.options import from_section
from ocrcore.pages import Page

CONFIGS = Path(__file__).parents[1] / "configs"
THRESHOLDS = ("0.75/0.2/0.5", "0.85/0.2/0.5", "0.7/0.4/0.4")
"""Text, link and low threshold: EasyOCR's trainer (IC15 and IC13), and its Reader."""


def load_config(path: str | Path) -> Any:
    """Returns the `ConfigDict` of a file of `configs/`."""
    return runpy.run_path(str(path))["get_config"]()


def at_thresholds(options: DetectorOptions, key: str) -> DetectorOptions:
    """Returns options with the thresholds of a key such as `0.75/0.2/0.5`."""
    text, link, low = map(float, key.split("/"))
    return replace(options, text_threshold=text, link_threshold=link, low_text=low)


def add_arguments(parser: argparse.ArgumentParser, *, config: str) -> None:
    """Adds the options that choose pictures, labels and our detector."""
    parser.add_argument("--images", type=Path, required=True, help="folder of the pictures")
    parser.add_argument("--gt", type=Path, required=True, help="folder of the label files")
    parser.add_argument("--config", default=CONFIGS / config, help="its config.detector is ours")
    parser.add_argument("--weights", default="craft_mlt_25k", help="a name, a file, a checkpoint")
    parser.add_argument(
        "--scores", type=Path, help="kept score maps; default exp/<config.name>/scores"
    )
    parser.add_argument("--thresholds", default=",".join(THRESHOLDS), help="text/link/low,...")


class Ours:
    """Our detector with the pages and the score cache that the arguments name.

    Attributes:
        truth: the labeled pages.
        options: of the config.
        keys: threshold sets.
        detector: with its weights.
        cache: of score maps.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        config = load_config(args.config)
        # The layout is that of the folder, which need not be the config's data set.
        self.truth: list[Page] = read_icdar_folder(args.images, args.gt)
        self.options = from_section(DetectorOptions, config.detector, "config.detector")
        self.keys: Sequence[str] = args.thresholds.split(",")
        self.detector = Detector.from_weights(args.weights, options=self.options)
        self.cache = ScoreCache(
            args.scores or Path("exp") / config.name / "scores",
            fingerprint=self.detector.fingerprint,
            options=self.options,
        )

    def scores(self) -> Iterator[tuple[int, Scores]]:
        """Yields the index of every page with its scores, computed where they are not kept."""
        pages = score_pages(self.detector, self.truth, options=self.options, cache=self.cache)
        for index, scores in pages:
            if not isinstance(scores, Scores):
                raise EvaluationError(str(scores))
            yield index, scores
