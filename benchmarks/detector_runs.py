"""Shared by the detector benchmarks: configs, thresholds, and our boxes from cached scores."""

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
"""Text, link and low threshold: those of EasyOCR's trainer (IC15 and IC13), and its Reader's."""


def load_config(path: str | Path) -> Any:
    """Return the `ConfigDict` of a file of `configs/`."""
    return runpy.run_path(str(path))["get_config"]()


def at_thresholds(options: DetectorOptions, key: str) -> DetectorOptions:
    """Return options with the thresholds of a key such as `0.75/0.2/0.5`."""
    text, link, low = map(float, key.split("/"))
    return replace(options, text_threshold=text, link_threshold=link, low_text=low)


def add_arguments(parser: argparse.ArgumentParser, *, config: str) -> None:
    """Add the options for pictures, labels and our detector."""
    parser.add_argument("--images", type=Path, required=True, help="folder of the pictures")
    parser.add_argument("--gt", type=Path, required=True, help="folder of the label files")
    parser.add_argument("--config", default=CONFIGS / config, help="config with our detector")
    parser.add_argument("--weights", default="craft_mlt_25k", help="a name, a file, a checkpoint")
    parser.add_argument(
        "--scores", type=Path, help="cached score maps; default exp/<config.name>/scores"
    )
    parser.add_argument("--thresholds", default=",".join(THRESHOLDS), help="text/link/low,...")


class Ours:
    """Our detector with the pages and the score cache given by the arguments.

    Attributes:
        truth: the labeled pages.
        options: detector options of the config.
        keys: threshold sets.
        detector: the detector with its weights.
        cache: cache of score maps.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        config = load_config(args.config)
        # The layout is detected from the folder, which may not be the config's data set.
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
        """Yield the index of every page with its scores, computed if they are not cached."""
        pages = score_pages(self.detector, self.truth, options=self.options, cache=self.cache)
        for index, scores in pages:
            if not isinstance(scores, Scores):
                raise EvaluationError(str(scores))
            yield index, scores
