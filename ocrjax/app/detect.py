"""find text in pictures: boxes as JSON, overlays and heat maps."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from ocrjax.drawing import draw_page, draw_scores
from ocrjax.images import find_images, read_image, write_image
from ocrjax.pages import Page, write_pages

if TYPE_CHECKING:
    from craftjax.detector import Detection


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments; the thresholds' defaults are EasyOCR's."""
    parser.add_argument("images", nargs="+", metavar="IMAGE_OR_DIR", help="pictures and folders")
    parser.add_argument(
        "--weights",
        default="craft_mlt_25k",
        help="a name, a .pth or .safetensors file, or an Orbax checkpoint (default: %(default)s)",
    )
    parser.add_argument("--json", metavar="FILE", help="write the pages; .jsonl gives one a line")
    parser.add_argument("--overlay", metavar="DIR", help="draw the words over the pictures")
    parser.add_argument("--heatmaps", action="store_true", help="draw the scores too, into DIR")
    parser.add_argument("--text-threshold", type=float, default=0.7, help="default: %(default)s")
    parser.add_argument("--link-threshold", type=float, default=0.4, help="default: %(default)s")
    parser.add_argument("--low-text", type=float, default=0.4, help="default: %(default)s")
    parser.add_argument(
        "--canvas-size", type=int, default=2560, help="longest side scored (default: %(default)s)"
    )
    parser.add_argument(
        "--mag-ratio", type=float, default=1.0, help="magnification (default: %(default)s)"
    )
    parser.add_argument("--polygons", action="store_true", help="outline curved words")
    parser.add_argument(
        "--tile", action="store_true", help="score pages over the canvas in tiles at full size"
    )
    parser.add_argument(
        "--pad",
        choices=("bucketed", "exact"),
        default="bucketed",
        help="exact is EasyOCR's, and compiles for every picture size (default: %(default)s)",
    )
    parser.add_argument("--bfloat16", action="store_true", help="compute in bfloat16 (GPU, TPU)")


def run(arguments: argparse.Namespace) -> int:
    """Detects; returns 1 if a picture could not be read."""
    if arguments.heatmaps and not arguments.overlay:
        raise ValueError("--heatmaps needs --overlay DIR, where they are written")
    paths = find_images(arguments.images)

    import jax.numpy as jnp

    from craftjax.detector import Detector, DetectorOptions

    options = DetectorOptions(
        text_threshold=arguments.text_threshold,
        link_threshold=arguments.link_threshold,
        low_text=arguments.low_text,
        canvas_size=arguments.canvas_size,
        mag_ratio=arguments.mag_ratio,
        polygons=arguments.polygons,
        tile=arguments.tile,
        pad=arguments.pad,
    )
    dtype = jnp.bfloat16 if arguments.bfloat16 else jnp.float32
    detector = Detector.from_weights(arguments.weights, options=options, dtype=dtype)
    overlays = _overlay_paths(paths, Path(arguments.overlay)) if arguments.overlay else {}
    pages: dict[int, Page] = {}
    failed = 0
    with tqdm(total=len(paths), unit="page", disable=None) as progress:
        for detection in detector.stream(paths):
            path = paths[detection.index]
            progress.update()
            if detection.page is None:
                failed += 1
                progress.write(f"skipped {detection.error}", file=sys.stderr)
                continue
            pages[detection.index] = detection.page
            line = f"{path}: {len(detection.page.words)} words"
            if path in overlays:
                _draw(path, detection, overlays[path], heatmaps=arguments.heatmaps)
                line += f", drawn in {overlays[path]}"
            progress.write(line, file=sys.stdout)
    found = [pages[index] for index in sorted(pages)]
    if arguments.json:
        _write(Path(arguments.json), found)
    words = sum(len(page.words) for page in found)
    print(f"{words} words on {len(found)} pages; {failed} of {len(paths)} could not be read")
    return 1 if failed else 0


def _draw(path: Path, detection: Detection, out: Path, *, heatmaps: bool) -> None:
    assert detection.page is not None
    image = read_image(path)
    write_image(out, draw_page(image, detection.page))
    if heatmaps and detection.scores is not None:
        maps = detection.scores.valid("crop")
        write_image(out.with_name(out.stem + "_scores.png"), draw_scores(image, maps))


def _overlay_paths(paths: list[Path], folder: Path) -> dict[Path, Path]:
    """One PNG a picture, named after it; its folder goes into the name where that is not enough."""
    out: dict[Path, Path] = {}
    used: set[str] = set()
    for path in paths:
        name, parents = path.stem, list(path.resolve().parent.parts)
        while name in used and parents:
            name = f"{parents.pop()}_{name}"
        while name in used:
            name += "_"
        used.add(name)
        out[path] = folder / f"{name}.png"
    return out


def _write(path: Path, pages: list[Page]) -> None:
    if path.suffix == ".jsonl":
        write_pages(path, pages)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(
        "[\n" + ",\n".join(page.to_json() for page in pages) + "\n]\n", encoding="utf-8"
    )
    part.replace(path)
