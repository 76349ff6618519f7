"""Arguments and helpers shared by the commands that find words in images."""

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
    """Declare the arguments of detection.

    Args:
        parser: the command's parser.
        origin: whose defaults apply, for the help text.
    """
    parser.add_argument(
        "--operating-point",
        metavar="FILE",
        help="thresholds and scaling as written by a sweep (default: the file next to the "
        f"weights if it exists, otherwise {origin}; the options below override single values)",
    )
    parser.add_argument(
        "--text-threshold", type=float, help="least peak score of a word (EasyOCR: 0.7)"
    )
    parser.add_argument(
        "--link-threshold", type=float, help="link score that joins characters (EasyOCR: 0.4)"
    )
    parser.add_argument(
        "--low-text", type=float, help="text score that bounds the words (EasyOCR: 0.4)"
    )
    parser.add_argument(
        "--canvas-size",
        type=int,
        help="longest side of the network input in pixels (EasyOCR: 2560)",
    )
    parser.add_argument("--mag-ratio", type=float, help="magnification (EasyOCR: 1)")
    parser.add_argument(
        "--polygons", action="store_true", default=None, help="outline curved words by polygons"
    )
    parser.add_argument(
        "--tile",
        action="store_true",
        default=None,
        help="score pages larger than the canvas in tiles at full size",
    )
    parser.add_argument(
        "--pad",
        choices=("bucketed", "exact"),
        help="bucketed compiles few programs; exact pads as EasyOCR does and compiles one program "
        "for each image size",
    )
    parser.add_argument("--bfloat16", action="store_true", help="compute in bfloat16 (GPU, TPU)")


def check_detection_arguments(arguments: argparse.Namespace) -> None:
    """Refuse arguments that have no effect together."""
    if arguments.tile:
        refuse_idle({"--canvas-size": arguments.canvas_size}, "with --tile: tiles are full size")


def read_detection_options(
    arguments: argparse.Namespace,
    weights: str | Path,
    *,
    default: DetectorOptions | None = None,
    origin: str = "EasyOCR's",
) -> tuple[DetectorOptions, str]:
    """Return the detector's options and a description of where they come from.

    Args:
        arguments: parsed arguments of `add_detection_arguments`.
        weights: path or name of the detector's weights.
        default: options without an operating point; None means EasyOCR's.
        origin: whose options `default` are.
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
        origin += f"; {', '.join(given)} from the command line"
    return replace(options, **changes), origin


def pages_of(path: Path) -> list[Picture]:
    """Return the pages of an image file: a TIFF may have several."""
    count = page_count(path)
    return [PageOfFile(str(path), n) for n in range(1, count + 1)] if count > 1 else [path]


def drawn_paths(
    pictures: Sequence[Picture], folder: str | Path, endings: Sequence[str]
) -> dict[Picture, Path]:
    """Return the overlay path of each image: named after it, with the first of `endings`."""
    names = drawing_names(pictures, endings)
    return {
        picture: Path(folder) / f"{name}{endings[0]}"
        for picture, name in zip(pictures, names, strict=True)
    }


def picture_title(picture: Picture) -> str:
    """Return an image's name for messages, with the page number if its file has several."""
    page = f", page {picture.number}" if isinstance(picture, PageOfFile) else ""
    return Path(picture).name + page


def shrunk(page: Page, options: DetectorOptions) -> str:
    """Return a warning if a page is so large that its words become too small, else ""."""
    longest = max(page.height, page.width)
    if options.tile or longest <= 2 * options.canvas_size:
        return ""
    return (
        f"{page.width}x{page.height} pixels were scaled to {options.canvas_size / longest:.0%} "
        f"(canvas {options.canvas_size}): small words may be missed; --tile scores it at full size"
    )


def name_left_out(roots: Sequence[str]) -> None:
    """Print the files of folders that were not read and are images under another suffix."""
    for root in filter(Path.is_dir, map(Path, roots)):
        if others := left_out(root, deep=True):
            print(
                f"not read in {root}: {len(others)} image files with an unsupported suffix: "
                f"{name_files(others)}",
                file=sys.stderr,
            )
