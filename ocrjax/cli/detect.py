"""find text in pictures: boxes as JSON, overlays and heat maps."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ocrcore.drawing import (
    FIRST_CORNER,
    FOUND,
    SCORES,
    draw_caption,
    draw_page,
    draw_scores,
    drawing_names,
    grid,
)
from ocrcore.files import write_text
from ocrcore.images import (
    PageOfFile,
    find_images,
    left_out,
    load_image,
    name_files,
    page_count,
    write_image,
)
from ocrcore.outputs import check_apart, check_outputs, check_suffix
from ocrcore.pages import Page, write_pages
from ocrcore.progress import Progress
from ocrcore.weights.named import find_weights
from ocrjax.cli.arguments import refuse_idle

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

_SCORES = "_scores.png"  # behind the name of an overlay: its heat maps

if TYPE_CHECKING:
    from craftjax.detector import Detection
    from craftjax.options import DetectorOptions


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("images", nargs="+", metavar="IMAGE_OR_DIR", help="pictures and folders")
    parser.add_argument(
        "--weights",
        default="craft_mlt_25k",
        help="a name, a .pth or .safetensors file, or an Orbax checkpoint (default: %(default)s)",
    )
    parser.add_argument("--json", metavar="FILE", help="write the pages; .jsonl gives one a line")
    parser.add_argument("--overlay", metavar="DIR", help="draw the words over the pictures")
    parser.add_argument("--force", action="store_true", help="replace files that are there")
    parser.add_argument("--heatmaps", action="store_true", help="draw the scores too, into DIR")
    parser.add_argument(
        "--operating-point",
        metavar="FILE",
        help="thresholds and scaling that a sweep wrote (default: the file beside the weights if "
        "there is one, else EasyOCR's; the options below change single values)",
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


def run(arguments: argparse.Namespace) -> int:
    """Detects; returns 1 if a picture could not be read."""
    if arguments.heatmaps and not arguments.overlay:
        raise ValueError("--heatmaps needs --overlay DIR, where they are written")
    if arguments.tile:
        refuse_idle({"--canvas-size": arguments.canvas_size}, "with --tile: tiles have full size")
    files = find_images(arguments.images)
    paths = [page for path in files for page in _pages_of(path)]
    overlays = _overlay_paths(paths, Path(arguments.overlay)) if arguments.overlay else {}
    _check_outputs(arguments, files, list(overlays.values()))

    import jax.numpy as jnp

    from craftjax.detector import Detector
    from craftjax.options import describe_options
    from ocrcore.runtime.tuning import tune_process

    tune_process()
    options, origin = _read_options(arguments)
    detector = Detector.from_weights(
        arguments.weights,
        options=options,
        dtype=jnp.bfloat16 if arguments.bfloat16 else jnp.float32,
    )
    print(describe_options(options, origin))
    pages: dict[int, Page] = {}
    failed = 0
    with Progress("finding words", unit="page", total=len(paths)) as progress:
        for done, detection in enumerate(detector.stream(paths), 1):
            path = paths[detection.index]
            progress.update(done)
            if detection.page is None:
                failed += 1
                progress.write(f"skipped {detection.error}", file=sys.stderr)
                continue
            pages[detection.index] = detection.page
            line = f"{path}: {len(detection.page.words)} words"
            if shrunk := _shrunk(detection.page, detector.options):
                line += f"; {shrunk}"
            if path in overlays:
                _draw(path, detection, overlays[path], heatmaps=arguments.heatmaps)
                line += f", drawn in {overlays[path]}"
            progress.write(line)
    found = [pages[index] for index in sorted(pages)]
    if arguments.json:
        _write(Path(arguments.json), found)
    words = sum(len(page.words) for page in found)
    print(f"{words} words on {len(found)} pages; {failed} of {len(paths)} could not be read")
    for root in filter(Path.is_dir, map(Path, arguments.images)):
        if others := left_out(root, deep=True):
            print(
                f"not read in {root}: {len(others)} files that are pictures by another suffix: "
                f"{name_files(others)}",
                file=sys.stderr,
            )
    return 1 if failed else 0


def _check_outputs(
    arguments: argparse.Namespace, pictures: list[Path], overlays: list[Path]
) -> None:
    """Before the work: what will be written is none of the pictures, and has a place."""
    weights = find_weights(arguments.weights)
    inputs = [*pictures, weights, *filter(None, [arguments.operating_point])]
    force, drawn = arguments.force, overlays
    if arguments.overlay:
        folders = filter(Path.is_dir, map(Path, arguments.images))
        check_apart(arguments.overlay, folders, option="--overlay")
    if arguments.heatmaps:
        drawn = [*drawn, *map(_scores_path, overlays)]
    other = "--force replaces, --overlay DIR takes another folder"
    check_outputs(drawn, inputs=inputs, force=force, remedy=other)
    if arguments.json:
        check_suffix(arguments.json, (".json", ".jsonl"), option="--json")
        check_outputs([arguments.json], inputs=inputs, force=force)


def _scores_path(overlay: Path) -> Path:
    return overlay.with_name(overlay.stem + _SCORES)


def _read_options(arguments: argparse.Namespace) -> tuple[DetectorOptions, str]:
    """The options, and where they come from."""
    from craftjax.options import DetectorOptions, load_operating_point, options_of
    from ocrcore.weights.named import find_weights

    if point := arguments.operating_point:
        options, origin = load_operating_point(point), point
    else:
        weights = find_weights(arguments.weights)
        options, origin = options_of(weights, DetectorOptions(), "EasyOCR's")
    changes = {name: getattr(arguments, name) for name in _OPTIONS}
    changes = {name: value for name, value in changes.items() if value is not None}
    if changes:
        given = (f"--{name.replace('_', '-')}" for name in changes)
        origin += f"; {', '.join(given)} of the command line"
    return replace(options, **changes), origin


def _shrunk(page: Page, options: DetectorOptions) -> str:
    """What to say of a page so large that its words become too small; empty of others."""
    longest = max(page.height, page.width) * options.mag_ratio
    if options.tile or longest <= 2 * options.canvas_size:
        return ""
    return (
        f"{page.width}x{page.height} pixels were shrunk to "
        f"{options.canvas_size / longest:.0%} (canvas {options.canvas_size}): small words are "
        "lost; --tile scores it at full size"
    )


def _pages_of(path: Path) -> list[Path | PageOfFile]:
    """A file by its pages: a TIFF may have several."""
    count = page_count(path)
    return [PageOfFile(str(path), n) for n in range(1, count + 1)] if count > 1 else [path]


def _draw(path: Path | PageOfFile, detection: Detection, out: Path, *, heatmaps: bool) -> None:
    assert detection.page is not None
    image = load_image(path)
    name = f"{Path(path).name}{f', page {path.number}' if isinstance(path, PageOfFile) else ''}"
    title = f"{name}: {len(detection.page.words)} words"
    picture = draw_page(image, detection.page)
    legend = (("found", FOUND), FIRST_CORNER)
    # Below: pixels of the overlay are those of the picture.
    caption = draw_caption(title, legend, width=picture.shape[1])
    write_image(out, grid([picture, caption], columns=1))
    if heatmaps and detection.scores is not None:
        scores = draw_scores(image, detection.scores.valid("crop"))
        caption = draw_caption(name, SCORES, width=scores.shape[1])
        write_image(_scores_path(out), grid([scores, caption], columns=1))


def _overlay_paths(paths: list[Path | PageOfFile], folder: Path) -> dict[Path | PageOfFile, Path]:
    """One PNG a picture, named after it."""
    names = drawing_names(paths, (".png", _SCORES))
    return {path: folder / f"{name}.png" for path, name in zip(paths, names, strict=True)}


def _write(path: Path, pages: list[Page]) -> None:
    if path.suffix.lower() == ".jsonl":
        write_pages(path, pages)
        return
    write_text(path, "[\n" + ",\n".join(page.to_json() for page in pages) + "\n]\n")
