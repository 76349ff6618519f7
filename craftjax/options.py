"""How a detector scales, scores and cuts pages; and operating points, such options in a file.

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

# The largest input of the original's recipe (1280x2240) fits, and half of a 4:3 page on EasyOCR's
# canvas with a margin; larger inputs are tiled to bound the memory.
MAX_AREA = 1536 * 1920
THRESHOLDS = ("text_threshold", "link_threshold", "low_text")
MIN_WORDS, MIN_PICTURES = 50, 5
"""With less than this no thresholds are chosen.

One of 50 words is .02 of a recall; with fewer, one word decides. The words of a picture are found
or missed together, so intervals draw pictures, and those drawn from two to four are far too narrow.
"""


@dataclass(frozen=True, slots=True)
class DetectorOptions:
    """How pages are scaled, scored and cut into words. The defaults are EasyOCR's.

    Attributes:
        text_threshold: a word's highest region score must reach this.
        link_threshold: affinity above this joins characters.
        low_text: region score above this is text.
        canvas_size: longest side that the network sees, in pixels.
        mag_ratio: magnification of a page before that limit.
        polygons: also trace curved outlines.
        min_polygon_side: a box with a shorter side, in map pixels, gets no polygon: 10 in EasyOCR,
            30 in its trainer.
        border: "keep" lets words reach into the black padding, as EasyOCR; "crop" cuts the scores
            at the page's border first, as EasyOCR's trainer does when it evaluates.
        pad: "exact" pads to a multiple of 32, one program per input size; "bucketed" pads further
            so that at most 12 programs serve any folder. Evaluations are always "exact": what is
            found in a picture does not depend on the others.
        tile: score pages larger than the canvas in tiles at full size instead of shrinking them.
        max_area: inputs of more pixels are scored in overlapping tiles, to bound the memory.
        tile_margin: pixels that a tile sees beyond its own part. The network sees no farther than
            256, so the scores are those of one pass.
        batch_size: inputs of one size that are scored together; None is 1 on CPU, where more buys
            nothing, and 8 elsewhere.
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
            (self.min_polygon_side >= 0, "min_polygon_side", "0 or more pixels"),
            (self.border in ("keep", "crop"), "border", "'keep' or 'crop'"),
            (self.pad in ("exact", "bucketed"), "pad", "'exact' or 'bucketed'"),
            (self.max_area >= 1, "max_area", "a positive number of pixels"),
            (self.tile_margin >= 0, "tile_margin", "0 or more pixels"),
            (batch_size, "batch_size", "1 to 65,536, or None"),
        )


def magnification_of(page: Page, options: DetectorOptions) -> float:
    """How much a page is magnified before the network sees it."""
    longest = max(page.height, page.width)
    return min(options.mag_ratio, options.canvas_size / longest)


def too_few(words: int, pictures: int) -> str:
    """Say that words are too few to choose thresholds by; empty where they are enough.

    Args:
        words: that count.
        pictures: that have such words.
    """
    if words >= MIN_WORDS and pictures >= MIN_PICTURES:
        return ""
    return (
        f"{words} words on {pictures} pictures are too few to choose thresholds by (fewer than "
        f"{MIN_WORDS} words or {MIN_PICTURES} pictures)"
    )


class OperatingPointError(ValueError):
    """A file that holds no operating point; the message names it."""


def operating_point_path(weights: str | Path) -> Path:
    """Where the operating point of a weights file or a checkpoint lies: beside it.

    That of a run's folder is the one of the `weights.pth` in it, where there is one.
    """
    path = Path(weights)
    if RunFolder(path).weights.is_file():
        path = RunFolder(path).weights
    return path.with_name(f"{path.name}.operating_point.json")


def save_operating_point(
    path: str | Path, options: DetectorOptions, *, measured: Mapping[str, Any], chosen: str = ""
) -> None:
    """Write options as JSON, with what was measured with them; all or nothing.

    Args:
        path: of the file.
        options: to keep.
        measured: with them.
        chosen: how the thresholds were chosen, and on how many words.
    """
    write_json(path, {"options": asdict(options), "measured": dict(measured), "chosen": chosen})


def load_operating_point(path: str | Path) -> DetectorOptions:
    """Read the options that `save_operating_point` wrote.

    Raises:
        OperatingPointError: the file is missing or something else.
    """
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))["options"]
        return from_section(DetectorOptions, values, "options")
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise OperatingPointError(f"{path}: not an operating point: {error}") from error


def options_of(
    weights: str | Path, default: DetectorOptions, origin: str
) -> tuple[DetectorOptions, str]:
    """The options that weights are used with, and where they come from.

    Args:
        weights: a file or a folder.
        default: where no operating point lies beside the weights.
        origin: of these.

    Raises:
        OperatingPointError: the file beside the weights is damaged.
    """
    path = operating_point_path(weights)
    if not path.is_file():
        return default, origin
    options = load_operating_point(path)
    chosen = json.loads(path.read_text(encoding="utf-8")).get("chosen")
    return options, f"{path} ({chosen})" if chosen else str(path)


def describe_options(options: DetectorOptions, origin: str) -> str:
    """One line: thresholds and scaling, and where they come from."""
    names = (*THRESHOLDS, "canvas_size", "mag_ratio")
    return f"{' '.join(f'{name}={getattr(options, name):g}' for name in names)}: {origin}"
