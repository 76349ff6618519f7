"""find text in images: boxes as JSON, overlays and heat maps."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ocrcore.drawing import (
    FIRST_CORNER,
    FOUND,
    SCORES,
    draw_caption,
    draw_page,
    draw_scores,
    grid,
)
from ocrcore.files import write_text
from ocrcore.images import find_images, load_image, write_image
from ocrcore.outputs import check_apart, check_outputs, check_suffix
from ocrcore.pages import Page, write_pages
from ocrcore.progress import Progress
from ocrcore.weights.named import find_weights
from ocrjax.cli.pictures import (
    Picture,
    add_detection_arguments,
    check_detection_arguments,
    drawn_paths,
    name_left_out,
    pages_of,
    picture_title,
    read_detection_options,
    shrunk,
)

_SCORES = "_scores.png"  # suffix of the heat maps of an overlay

if TYPE_CHECKING:
    from craftjax.detector import Detection


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("images", nargs="+", metavar="IMAGE_OR_DIR", help="images and folders")
    parser.add_argument(
        "--weights",
        default="craft_mlt_25k",
        help="name of weights, a .pth or .safetensors file, or an Orbax checkpoint "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--json", metavar="FILE", help="write the pages; .jsonl writes one page per line"
    )
    parser.add_argument("--overlay", metavar="DIR", help="draw the words on copies of the images")
    parser.add_argument("--force", action="store_true", help="replace existing files")
    parser.add_argument(
        "--heatmaps", action="store_true", help="also draw the score maps, into --overlay DIR"
    )
    add_detection_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Detect words; return 1 if an image could not be read."""
    if arguments.heatmaps and not arguments.overlay:
        raise ValueError("--heatmaps needs --overlay DIR: the heat maps are written there")
    check_detection_arguments(arguments)
    files = find_images(arguments.images)
    paths = [page for path in files for page in pages_of(path)]
    endings = (".png", _SCORES)
    overlays = drawn_paths(paths, arguments.overlay, endings) if arguments.overlay else {}
    _check_outputs(arguments, files, list(overlays.values()))

    import jax.numpy as jnp

    from craftjax.detector import Detector
    from craftjax.options import describe_options
    from ocrcore.runtime.tuning import tune_process

    tune_process()
    options, origin = read_detection_options(arguments, arguments.weights)
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
            if warning := shrunk(detection.page, detector.options):
                line += f"; {warning}"
            if path in overlays:
                _draw(path, detection, overlays[path], heatmaps=arguments.heatmaps)
                line += f", overlay {overlays[path]}"
            progress.write(line)
    found = [pages[index] for index in sorted(pages)]
    if arguments.json:
        _write(Path(arguments.json), found)
    words = sum(len(page.words) for page in found)
    print(f"{words} words on {len(found)} pages; {failed} of {len(paths)} could not be read")
    name_left_out(arguments.images)
    return 1 if failed else 0


def _check_outputs(
    arguments: argparse.Namespace, pictures: list[Path], overlays: list[Path]
) -> None:
    """Check before any work that outputs can be written and are not inputs."""
    weights = find_weights(arguments.weights)
    inputs = [*pictures, weights, *filter(None, [arguments.operating_point])]
    force, drawn = arguments.force, overlays
    if arguments.overlay:
        folders = filter(Path.is_dir, map(Path, arguments.images))
        check_apart(arguments.overlay, folders, option="--overlay")
    if arguments.heatmaps:
        drawn = [*drawn, *map(_scores_path, overlays)]
    other = "--force replaces them, --overlay DIR names another folder"
    check_outputs(drawn, inputs=inputs, force=force, remedy=other)
    if arguments.json:
        check_suffix(arguments.json, (".json", ".jsonl"), option="--json")
        check_outputs([arguments.json], inputs=inputs, force=force)


def _scores_path(overlay: Path) -> Path:
    return overlay.with_name(overlay.stem + _SCORES)


def _draw(path: Picture, detection: Detection, out: Path, *, heatmaps: bool) -> None:
    assert detection.page is not None
    image = load_image(path)
    name = picture_title(path)
    title = f"{name}: {len(detection.page.words)} words"
    picture = draw_page(image, detection.page)
    legend = (("found", FOUND), FIRST_CORNER)
    # The caption goes below, so that pixel coordinates of the overlay are those of the image.
    caption = draw_caption(title, legend, width=picture.shape[1])
    write_image(out, grid([picture, caption], columns=1))
    if heatmaps and detection.scores is not None:
        scores = draw_scores(image, detection.scores.valid("crop"))
        caption = draw_caption(name, SCORES, width=scores.shape[1])
        write_image(_scores_path(out), grid([scores, caption], columns=1))


def _write(path: Path, pages: list[Page]) -> None:
    if path.suffix.lower() == ".jsonl":
        write_pages(path, pages)
        return
    write_text(path, "[\n" + ",\n".join(page.to_json() for page in pages) + "\n]\n")
