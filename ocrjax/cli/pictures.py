"""What the commands that find words in pictures have in common: what is read, and how."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ocrcore.drawing import drawing_names
from ocrcore.images import PageOfFile, left_out, name_files, page_count
from ocrcore.pages import Page
from ocrcore.weights.named import find_weights
from ocrjax.cli.arguments import refuse_idle

if TYPE_CHECKING:
    from craftjax.options import DetectorOptions

Picture = Path | PageOfFile

_OPTIONS = (
    "text_threshold",
    "link_threshold",
    "low_text",
    "canvas_size",
    "mag_ratio",
    "polygons",
    "tile",
    "pad",
)


def add_detection_arguments(parser: argparse.ArgumentParser, *, origin: str = "EasyOCR's") -> None:
    """Declares how words are found.

    Args:
        parser: of the command.
        origin: whose values hold where nothing is given.
    """
    parser.add_argument(
        "--operating-point",
        metavar="FILE",
        help="thresholds and scaling that a sweep wrote (default: the file beside the weights if "
        f"there is one, else {origin}; the options below change single values)",
    )
    parser.add_argument("--text-threshold", type=float, help="EasyOCR: 0.7")
    parser.add_argument("--link-threshold", type=float, help="EasyOCR: 0.4")
    parser.add_argument("--low-text", type=float, help="EasyOCR: 0.4")
    parser.add_argument("--canvas-size", type=int, help="longest side scored; EasyOCR: 2560")
    parser.add_argument("--mag-ratio", type=float, help="magnification; EasyOCR: 1")
    parser.add_argument(
        "--polygons", action="store_true", default=None, help="outline curved words"
    )
    parser.add_argument(
        "--tile",
        action="store_true",
        default=None,
        help="score pages over the canvas in tiles at full size",
    )
    parser.add_argument(
        "--pad",
        choices=("bucketed", "exact"),
        help="bucketed needs few programs; exact pads as EasyOCR, one program a picture size",
    )
    parser.add_argument("--bfloat16", action="store_true", help="compute in bfloat16 (GPU, TPU)")


def check_detection_arguments(arguments: argparse.Namespace) -> None:
    """Refuses arguments that have no effect together."""
    if arguments.tile:
        refuse_idle({"--canvas-size": arguments.canvas_size}, "with --tile: tiles have full size")


def read_detection_options(
    arguments: argparse.Namespace,
    weights: str | Path,
    *,
    default: DetectorOptions | None = None,
    origin: str = "EasyOCR's",
) -> tuple[DetectorOptions, str]:
    """The options that words are found with, and where they come from.

    Args:
        arguments: of `add_detection_arguments`.
        weights: of the detector.
        default: where nothing else says; None: EasyOCR's.
        origin: whose they are.
    """
    from craftjax.options import DetectorOptions, load_operating_point, options_of

    if point := arguments.operating_point:
        options, origin = load_operating_point(point), point
    else:
        options, origin = options_of(find_weights(weights), default or DetectorOptions(), origin)
    changes = {name: getattr(arguments, name) for name in _OPTIONS}
    changes = {name: value for name, value in changes.items() if value is not None}
    if changes:
        given = (f"--{name.replace('_', '-')}" for name in changes)
        origin += f"; {', '.join(given)} of the command line"
    return replace(options, **changes), origin


def pages_of(path: Path) -> list[Picture]:
    """A file by its pages: a TIFF may have several."""
    count = page_count(path)
    return [PageOfFile(str(path), n) for n in range(1, count + 1)] if count > 1 else [path]


def drawn_paths(
    pictures: Sequence[Picture], folder: str | Path, endings: Sequence[str]
) -> dict[Picture, Path]:
    """Where drawings of pictures go: one file a picture, named after it, with the first ending."""
    names = drawing_names(pictures, endings)
    return {
        picture: Path(folder) / f"{name}{endings[0]}"
        for picture, name in zip(pictures, names, strict=True)
    }


def picture_title(picture: Picture) -> str:
    """A picture's name for people: of a file of several pages with its number."""
    page = f", page {picture.number}" if isinstance(picture, PageOfFile) else ""
    return Path(picture).name + page


def shrunk(page: Page, options: DetectorOptions) -> str:
    """What to say of a page so large that its words become too small; empty of others."""
    longest = max(page.height, page.width)
    if options.tile or longest <= 2 * options.canvas_size:
        return ""
    return (
        f"{page.width}x{page.height} pixels were shrunk to {options.canvas_size / longest:.0%} "
        f"(canvas {options.canvas_size}): small words are lost; --tile scores it at full size"
    )


def name_left_out(roots: Sequence[str]) -> None:
    """Names the files of folders that look like pictures and were not read."""
    for root in filter(Path.is_dir, map(Path, roots)):
        if others := left_out(root, deep=True):
            print(
                f"not read in {root}: {len(others)} files that are pictures by another suffix: "
                f"{name_files(others)}",
                file=sys.stderr,
            )
