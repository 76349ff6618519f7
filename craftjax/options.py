"""Options of a detector, and operating points: options in a file next to the weights.

Host code: no jax.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from ocrcore.files import write_json
from ocrcore.options import expect, from_section
from ocrcore.pages import Page
from ocrcore.training.run_folder import RunFolder

# Fits the largest input of the original's recipe (1280x2240), and half of a 4:3 page on EasyOCR's
# canvas with a margin. Larger inputs are tiled to bound the memory.
MAX_AREA = 1536 * 1920
THRESHOLDS = ("text_threshold", "link_threshold", "low_text")
MIN_WORDS, MIN_PICTURES = 50, 5
"""Least number of words, and of images, to choose thresholds by.

One of 50 words is .02 of recall; with fewer, a single word decides. The words of an image are found
or missed together, so intervals resample images, and intervals over two to four images are far too
narrow.
"""


@dataclass(frozen=True, slots=True)
class DetectorOptions:
    """Options of a detector: scaling, scoring and post-processing. The defaults are EasyOCR's.

    Attributes:
        text_threshold: the highest region score of a word must reach this.
        link_threshold: affinity scores above this join characters.
        low_text: region scores above this are text.
        canvas_size: longest side of the network's input, in pixels.
        mag_ratio: magnification of a page, limited by `canvas_size`.
        polygons: also outline curved words by polygons.
        min_polygon_side: boxes with a shorter side, in map pixels, get no polygon: 10 in EasyOCR,
            30 in its trainer.
        border: "keep" lets words reach into the black padding, as EasyOCR does; "crop" cuts the
            scores at the page's border first, as EasyOCR's trainer does in evaluations.
        pad: "exact" pads to a multiple of 32, one program per input size; "bucketed" pads further,
            so that at most 12 programs serve any folder. Evaluations are always "exact", so that
            the result for an image does not depend on other images.
        tile: score pages larger than the canvas in tiles at full size instead of shrinking them.
        max_area: inputs with more pixels are scored in overlapping tiles, to bound the memory.
        tile_margin: overlap of a tile beyond its own part, in pixels. The receptive field of the
            network reaches no farther than 256, so the scores equal those of one pass.
        batch_size: inputs of one size that are scored together; None is 1 on CPU, where larger
            batches are not faster, and 8 elsewhere.
    """

    text_threshold: float = 0.7
    link_threshold: float = 0.4
    low_text: float = 0.4
    canvas_size: int = 2560
    mag_ratio: float = 1.0
    polygons: bool = False
    min_polygon_side: int = 10
    border: Literal["keep", "crop"] = "keep"
    pad: Literal["exact", "bucketed"] = "bucketed"
    tile: bool = False
    max_area: int = MAX_AREA
    tile_margin: int = 256
    batch_size: int | None = None

    def __post_init__(self) -> None:
        for name in ("text_threshold", "link_threshold", "low_text"):
            expect(self, (0 <= getattr(self, name) <= 1, name, "0 to 1"))
        batch_size = self.batch_size is None or 1 <= self.batch_size <= 1 << 16
        expect(
            self,
            (self.canvas_size >= 1, "canvas_size", "a positive number of pixels"),
            (0 < self.mag_ratio <= 100, "mag_ratio", "a positive number up to 100"),
            (self.min_polygon_side >= 1, "min_polygon_side", "1 or more pixels"),
            (self.border in ("keep", "crop"), "border", "'keep' or 'crop'"),
            (self.pad in ("exact", "bucketed"), "pad", "'exact' or 'bucketed'"),
            (self.max_area >= 1, "max_area", "a positive number of pixels"),
            (self.tile_margin >= 0, "tile_margin", "0 or more pixels"),
            (batch_size, "batch_size", "1 to 65,536, or None"),
        )


def magnification_of(page: Page, options: DetectorOptions) -> float:
    """Return the scale of a page at the network's input."""
    longest = max(page.height, page.width)
    return min(options.mag_ratio, options.canvas_size / longest)


def too_few(words: int, pictures: int) -> str:
    """Return a message if there are too few words to choose thresholds by, else an empty text.

    Args:
        words: number of words that count.
        pictures: number of images with such words.
    """
    if words >= MIN_WORDS and pictures >= MIN_PICTURES:
        return ""
    return (
        f"{words} words on {pictures} images are too few to choose thresholds by (fewer than "
        f"{MIN_WORDS} words or {MIN_PICTURES} images)"
    )


class OperatingPointError(ValueError):
    """A file that is not an operating point; the message names it."""


def operating_point_path(weights: str | Path) -> Path:
    """Return the path of the operating point of a weights file or a checkpoint: next to it.

    For a run directory it is that of its `weights.pth`, if there is one.
    """
    path = Path(weights)
    if RunFolder(path).weights.is_file():
        path = RunFolder(path).weights
    return path.with_name(f"{path.name}.operating_point.json")


def save_operating_point(
    path: str | Path, options: DetectorOptions, *, measured: Mapping[str, Any], chosen: str = ""
) -> None:
    """Write options as JSON with their measured scores, atomically.

    Args:
        path: path of the file.
        options: the options.
        measured: scores measured with these options.
        chosen: how the thresholds were chosen, and on how many words.
    """
    write_json(path, {"options": asdict(options), "measured": dict(measured), "chosen": chosen})


def load_operating_point(path: str | Path) -> DetectorOptions:
    """Read the options that `save_operating_point` wrote.

    Raises:
        OperatingPointError: the file is missing or is not such a file.
    """
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))["options"]
        return from_section(DetectorOptions, values, "options")
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise OperatingPointError(f"{path}: not an operating point: {error}") from error


def options_of(
    weights: str | Path, default: DetectorOptions, origin: str
) -> tuple[DetectorOptions, str]:
    """Return the options to use with weights, and a description of where they come from.

    Args:
        weights: a file or a folder.
        default: the options if there is no operating point next to the weights.
        origin: description of where `default` comes from.

    Raises:
        OperatingPointError: the operating point is damaged.
    """
    path = operating_point_path(weights)
    if not path.is_file():
        return default, origin
    options = load_operating_point(path)
    chosen = json.loads(path.read_text(encoding="utf-8")).get("chosen")
    return options, f"{path} ({chosen})" if chosen else str(path)


def describe_options(options: DetectorOptions, origin: str) -> str:
    """Return thresholds and scaling in one line, with where they come from."""
    names = (*THRESHOLDS, "canvas_size", "mag_ratio")
    return f"{' '.join(f'{name}={getattr(options, name):g}' for name in names)}: {origin}"
