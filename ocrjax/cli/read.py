"""read images: text, boxes as JSON, hOCR, ALTO, searchable PDFs, overlays."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ocrcore.files import write_text
from ocrcore.images import ImageError, find_images, load_image, name_files, write_image
from ocrcore.outputs import check_apart, check_outputs, check_suffix
from ocrcore.pages import Page
from ocrcore.progress import Progress
from ocrcore.weights.named import find_weights
from ocrjax.cli.arguments import refuse_idle
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
from ocrjax.cli.unfinished import Unfinished

if TYPE_CHECKING:
    from craftjax.options import DetectorOptions
    from ocrjax.reader import Reader
    from ocrjax.reader_options import ReaderOptions

_TOGETHER = 64  # pages read together; their results are written before the next ones
_FOLDERS = {"hocr": ".hocr", "alto": ".xml", "pdf": ".pdf", "overlay": ".png"}
_READER = (
    *("min_confidence", "margin", "vertical", "rotations", "allowlist", "blocklist", "lexicon"),
    "characters",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("images", nargs="+", metavar="IMAGE_OR_DIR", help="images and folders")
    parser.add_argument(
        "--detector",
        metavar="WEIGHTS",
        default="craft_mlt_25k",
        help="the detector: name of weights, a weights file, a run directory or a checkpoint "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--recognizer",
        metavar="WEIGHTS",
        default="ppocrv6_small",
        help="the recognizer, in the same forms (default: %(default)s)",
    )
    parser.add_argument(
        "--charset",
        metavar="NAME",
        help="characters that may be read, the name of a charset or a file (default: those the "
        "weights were trained with; for ppocrv6_small English, en95)",
    )
    parser.add_argument("--text", action="store_true", help="print the texts (the default)")
    parser.add_argument(
        "--json",
        metavar="FILE",
        help="write the pages; .jsonl writes one page per line; an interrupted command continues "
        "where it stopped",
    )
    parser.add_argument("--hocr", metavar="DIR", help="write an hOCR file for each image file")
    parser.add_argument("--alto", metavar="DIR", help="write an ALTO 4 file for each image file")
    parser.add_argument("--pdf", metavar="DIR", help="write a searchable PDF for each image file")
    parser.add_argument(
        "--overlay", metavar="DIR", help="draw the words and their texts, one PNG per page"
    )
    parser.add_argument("--force", action="store_true", help="replace existing files")
    parser.add_argument(
        "--min-confidence", type=float, help="drop words with a lower confidence (0 to 1)"
    )
    parser.add_argument(
        "--margin",
        type=float,
        help="margin around a word in its crop, as a fraction of its shorter side",
    )
    parser.add_argument(
        "--vertical",
        type=float,
        help="read words also turned by 90 and 270 degrees if height / width is at least this; "
        "0: never",
    )
    parser.add_argument(
        "--rotations",
        type=_degrees,
        metavar="90,180,270",
        help="read every word also turned by these angles, in degrees",
    )
    parser.add_argument("--allowlist", metavar="CHARACTERS", help="read only these characters")
    parser.add_argument("--blocklist", metavar="CHARACTERS", help="never read these characters")
    parser.add_argument(
        "--lexicon", metavar="FILE", help="read only the words of this file, one per line"
    )
    parser.add_argument(
        "--no-characters",
        dest="characters",
        action="store_const",
        const=False,
        help="omit the boxes of single characters from JSON, hOCR and ALTO",
    )
    parser.add_argument(
        "--backend",
        choices=("jax", "onnx", "auto"),
        default="auto",
        help="what runs the networks; auto takes ONNX Runtime if onnxruntime and onnx are "
        "installed and there is no GPU, otherwise JAX (default: %(default)s)",
    )
    add_detection_arguments(parser, origin="the reader's")


def run(arguments: argparse.Namespace) -> int:
    """Read the images; return 1 if one could not be read."""
    check_detection_arguments(arguments)
    files = find_images(arguments.images)
    pictures = {path: pages_of(path) for path in files}
    outputs = _Outputs(arguments, pictures)
    target = Path(arguments.json) if arguments.json else None
    options, detection, origin = _options(arguments)
    unfinished = None
    if target is not None:
        check_suffix(target, (".json", ".jsonl"), option="--json")
        settings = _settings(arguments, options, detection)
        unfinished = Unfinished(target, settings, force=arguments.force)
    done = {path for path in files if unfinished and unfinished.has(path) and outputs.written(path)}
    _check_outputs(
        arguments, outputs, files=files, done=done, go_on=bool(unfinished and unfinished.resumed)
    )
    alone = not (target or outputs.folders)
    printed = arguments.text or alone
    log = partial(print, file=sys.stderr) if printed else print
    reader = _load(arguments, options, detection, origin, log)

    texts = _InOrder(len(files) > 1 or sum(map(len, pictures.values())) > 1)
    bad: list[Picture] = []
    words = pages = 0
    total = sum(map(len, pictures.values()))
    before = sum(len(pictures[path]) for path in done)
    if before:
        log(f"resuming: {before} of {total} pages were read before")
    with Progress("reading", unit="page", total=total) as progress:
        progress.update(before)
        todo = [path for path in files if path not in done]
        for together in _together(todo, pictures):
            texts.expect(together)
            for path, read, errors in _read(reader, together, pictures, progress):
                for error in errors.values():
                    progress.write(f"skipped {error}", file=sys.stderr)
                bad += errors
                outputs.write(path, read)
                if unfinished is not None:
                    unfinished.add(path, [page for _, page in read], failed=len(errors))
                words += sum(len(page.words) for _, page in read)
                pages += len(read)
                for picture, page in read:
                    if warning := shrunk(page, reader.detector.options):
                        progress.write(f"{picture}: {warning}", file=sys.stderr)
                    elif not printed:
                        progress.write(f"{picture}: {len(page.words)} words")
                if printed:
                    for line in texts.lines(path, read):
                        progress.write(line)
    if unfinished is not None and target is not None:
        unfinished.finish(target, files)
    if not (alone and total == 1):
        log(f"{words} words on {pages} pages; {len(bad)} of {total} could not be read")
    if len(bad) > 1:
        print(f"could not be read: {name_files(bad, most=20)}", file=sys.stderr)
    name_left_out(arguments.images)
    return 1 if bad else 0


class _Outputs:
    """The output files of each image file."""

    def __init__(
        self, arguments: argparse.Namespace, pictures: Mapping[Path, Sequence[Picture]]
    ) -> None:
        self.folders = {name: folder for name in _FOLDERS if (folder := getattr(arguments, name))}
        self._pictures = pictures
        each = [picture for pages in pictures.values() for picture in pages]
        self._of: dict[str, dict[Picture, Path]] = {
            name: drawn_paths(
                each if name == "overlay" else list(pictures), folder, (_FOLDERS[name],)
            )
            for name, folder in self.folders.items()
        }

    def of(self, path: Path) -> list[Path]:
        """Return all output paths of an image file."""
        return [
            paths[picture]
            for name, paths in self._of.items()
            for picture in (self._pictures[path] if name == "overlay" else [path])
        ]

    def written(self, path: Path) -> bool:
        """Return whether all outputs of an image file exist."""
        return all(one.is_file() for one in self.of(path))

    def write(self, path: Path, read: Sequence[tuple[Picture, Page]]) -> None:
        """Write all requested outputs of an image file's pages."""
        from ocrjax import __version__

        if not read:
            return
        pages = [page for _, page in read]
        if "hocr" in self._of:
            from ocrjax.page_files import to_hocr

            software = f"ocrjax {__version__}"
            write_text(self._of["hocr"][path], to_hocr(pages, title=path.name, software=software))
        if "alto" in self._of:
            from ocrjax.page_files import to_alto

            text = to_alto(pages, name=path.name, software=("ocrjax", __version__))
            write_text(self._of["alto"][path], text)
        if "pdf" in self._of:
            from ocrjax.pdf import write_pdf

            write_pdf(self._of["pdf"][path], read, title=path.name)
        if "overlay" in self._of:
            for picture, page in read:
                _draw(picture, page, self._of["overlay"][picture])


class _InOrder:
    """Puts texts into the order of the files, in whatever order they are read."""

    def __init__(self, named: bool) -> None:
        self._named = named
        self._waiting: list[Path] = []
        self._read: dict[Path, Sequence[tuple[Picture, Page]]] = {}

    def expect(self, files: Sequence[Path]) -> None:
        """Append files to the order."""
        self._waiting += files

    def lines(self, path: Path, read: Sequence[tuple[Picture, Page]]) -> Iterator[str]:
        """Take the pages of a file; yield the lines that are next in order."""
        self._read[path] = read
        while self._waiting and self._waiting[0] in self._read:
            for picture, page in self._read.pop(self._waiting.pop(0)):
                if self._named:
                    yield f"== {picture}"
                yield page.text


def _read(
    reader: Reader,
    files: Sequence[Path],
    pictures: dict[Path, list[Picture]],
    progress: Progress,
) -> Iterator[tuple[Path, list[tuple[Picture, Page]], dict[Picture, ImageError]]]:
    """Read some files; yield each with its pages and errors once all its pages are done."""
    flat = [(path, picture) for path in files for picture in pictures[path]]
    left = {path: len(pictures[path]) for path in files}
    read: dict[Path, dict[int, Page]] = {path: {} for path in files}
    errors: dict[Path, dict[Picture, ImageError]] = {path: {} for path in files}
    start = progress.done
    for count, reading in enumerate(reader.stream([picture for _, picture in flat]), 1):
        path, picture = flat[reading.index]
        progress.update(start + count)
        left[path] -= 1
        if reading.page is not None:
            read[path][reading.index] = reading.page
        elif reading.error is not None:
            errors[path][picture] = reading.error
        if not left[path]:
            pages = sorted(read.pop(path).items())
            yield path, [(flat[index][1], page) for index, page in pages], errors.pop(path)


def _together(files: Sequence[Path], pictures: dict[Path, list[Picture]]) -> Iterator[list[Path]]:
    """Group files to read together: whole files, until a group has `_TOGETHER` pages."""
    chunk: list[Path] = []
    for path in files:
        chunk.append(path)
        if sum(len(pictures[one]) for one in chunk) >= _TOGETHER:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _options(
    arguments: argparse.Namespace,
) -> tuple[ReaderOptions, DetectorOptions, str]:
    from ocrjax.reader_options import DETECTION, ReaderOptions

    given = {name: getattr(arguments, name) for name in _READER}
    options = ReaderOptions(**{name: value for name, value in given.items() if value is not None})
    detection, origin = read_detection_options(
        arguments, arguments.detector, default=DETECTION, origin="the reader's"
    )
    return options, detection, origin


def _settings(
    arguments: argparse.Namespace, options: ReaderOptions, detection: DetectorOptions
) -> dict[str, Any]:
    """Everything that changes the result, to compare with an interrupted command."""
    from ocrjax import __version__

    weights = {}
    for name in ("detector", "recognizer"):
        path = find_weights(getattr(arguments, name))
        found = path.stat()
        weights[name] = [str(path.resolve()), found.st_size, found.st_mtime_ns]
    return {
        "version": __version__,
        **weights,
        "charset": arguments.charset,
        "bfloat16": arguments.bfloat16,
        "backend": arguments.backend,
        "options": {**asdict(options), "lexicon": str(options.lexicon)},
        "detection": asdict(detection),
    }


def _load(
    arguments: argparse.Namespace,
    options: ReaderOptions,
    detection: DetectorOptions,
    origin: str,
    log: Callable[[str], None],
) -> Reader:
    import jax.numpy as jnp

    from craftjax.detector import Detector
    from craftjax.options import describe_options
    from ocrcore.runtime.tuning import tune_process
    from ocrjax.reader import Reader, choose_backend

    tune_process()
    only_jax = arguments.backend == "auto" and arguments.bfloat16
    backend = "jax" if only_jax else choose_backend(arguments.backend)
    if backend == "onnx":
        refuse_idle({"--bfloat16": arguments.bfloat16}, "with ONNX Runtime: use --backend jax")
    dtype = jnp.bfloat16 if arguments.bfloat16 else jnp.float32
    detector = Detector.from_weights(arguments.detector, options=detection, dtype=dtype)
    log(f"detector: {arguments.detector}; {describe_options(detection, origin)}")
    if backend == "onnx":
        from ocrjax.onnx.runtime import with_onnxruntime

        detector = with_onnxruntime(detector)
        log("the networks run in ONNX Runtime")
    return Reader(
        detector,
        arguments.recognizer,
        charset=arguments.charset,
        options=options,
        backend=backend,
        log=log,
    )


def _check_outputs(
    arguments: argparse.Namespace,
    outputs: _Outputs,
    *,
    files: Sequence[Path],
    done: set[Path],
    go_on: bool,
) -> None:
    """Check before any work that outputs can be written and are not inputs."""
    weights = [find_weights(getattr(arguments, name)) for name in ("detector", "recognizer")]
    others = [arguments.operating_point, arguments.lexicon]
    roots = [root for root in map(Path, arguments.images) if root.is_dir()]
    inputs = [*files, *weights, *filter(None, others)]
    for name, folder in outputs.folders.items():
        check_apart(folder, roots, option=f"--{name}")
    # A resumed command may replace what it wrote before it was interrupted.
    places = [one for path in files if path not in done for one in outputs.of(path)]
    other = "--force replaces them, another folder keeps them"
    check_outputs(places, inputs=inputs, force=arguments.force or go_on, remedy=other)
    if arguments.json:
        check_outputs([arguments.json], inputs=inputs, force=arguments.force)
    if arguments.pdf:
        from ocrjax.pdf import check_reportlab

        check_reportlab()


def _draw(picture: Picture, page: Page, out: Path) -> None:
    from ocrcore.drawing import FIRST_CORNER, FOUND, draw_caption, draw_readings, grid

    image = draw_readings(load_image(picture), page)
    title = f"{picture_title(picture)}: {len(page.words)} words"
    caption = draw_caption(title, (("read", FOUND), FIRST_CORNER), width=image.shape[1])
    write_image(out, grid([image, caption], columns=1))


def _degrees(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",") if part)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r}: expected some of 90, 180 and 270, such as 90,270"
        ) from None
