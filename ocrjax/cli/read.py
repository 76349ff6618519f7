"""read images: text, boxes as JSON, hOCR, ALTO, searchable PDFs, overlays."""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ocrcore.data.shards import Shard, Spread, parse_sharing
from ocrcore.files import json_line
from ocrcore.images import ImageError, find_images, name_files
from ocrcore.outputs import check_apart, check_outputs, check_suffix
from ocrcore.pages import Page
from ocrcore.progress import Progress, shown
from ocrcore.weights.named import WeightsNotFoundError, find_weights
from ocrjax.cli.arguments import add_beam_arguments, add_shard_arguments, beam_of, refuse_idle
from ocrjax.cli.pictures import (
    Picture,
    add_detection_arguments,
    check_detection_arguments,
    name_left_out,
    pages_of,
    read_detection_options,
    shrunk,
)
from ocrjax.cli.read_outputs import Outputs
from ocrjax.cli.read_parts import Parts, write_part
from ocrjax.cli.unfinished import Unfinished

if TYPE_CHECKING:
    from craftjax.options import DetectorOptions
    from ocrjax.reader import Reader
    from ocrjax.reader_options import ReaderOptions

_WEIGHTS = ("detector", "recognizer")
_SHOWN = 20  # errors that are named one by one
_TOGETHER = 64  # pages read together; their results are written before the next ones
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
        help="the detector: name of weights, a weights file, a run directory or a checkpoint "
        "(default: craft_mlt_25k)",
    )
    parser.add_argument(
        "--recognizer",
        metavar="WEIGHTS",
        help="the recognizer, in the same forms (default: ppocrv6_small)",
    )
    parser.add_argument(
        "--fast",
        action="store_true",
        help="use the small weights that come with ocrjax, where no others are named: the detector "
        "craft_compact; and the recognizer crnn_synth if ppocrv6_small is not installed",
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
    add_shard_arguments(parser)
    add_beam_arguments(parser)
    add_detection_arguments(parser, origin="the reader's")


def run(arguments: argparse.Namespace) -> int:
    """Read the images; return 1 if one could not be read."""
    check_detection_arguments(arguments)
    _choose_weights(arguments)
    files = find_images(arguments.images)
    pictures = {path: pages_of(path) for path in files}
    outputs = Outputs(arguments, pictures)
    target = Path(arguments.json) if arguments.json else None
    if target is not None:
        check_suffix(target, (".json", ".jsonl"), option="--json")
    shard, merge = parse_sharing(arguments.shard, arguments.merge)
    spread = beam_of(arguments)
    options, detection, origin = _options(arguments)
    shapes = _shapes(pictures, detection)
    if shard or merge or spread:
        if target is None:
            raise ValueError("give --json FILE: beside it is noted what the shares have read")
        refuse_idle({"--text": arguments.text}, "where shares read")
        settings = {**_settings(arguments, options, detection), **_all_of(files, shapes)}
        parts = Parts(target, settings, list(_together(files, pictures)), outputs.written)
        return _shares(arguments, parts, outputs, pictures, shapes, (shard, merge, spread))
    unfinished = None
    if target is not None:
        path = target.with_name(target.name + ".unfinished")
        settings = _settings(arguments, options, detection)
        unfinished = Unfinished(path, settings, force=arguments.force)
    done = {path for path in files if unfinished and unfinished.has(path) and outputs.written(path)}
    _check_outputs(
        arguments, outputs, files=files, done=done, go_on=bool(unfinished and unfinished.resumed)
    )
    alone = not (target or outputs.folders)
    printed = arguments.text or alone
    log = partial(print, file=sys.stderr) if printed else print
    reader = _load(arguments, options, detection, origin, log)
    reader.detector.expect(shapes)

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
                    unfinished.add(path, [page for _, page in read], [*errors.values()])
                words += sum(len(page.words) for _, page in read)
                pages += len(read)
                for picture, page in read:
                    _say(progress, picture, page, reader, quiet=printed)
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


def _choose_weights(arguments: argparse.Namespace) -> None:
    """Fill in the weights that are not named."""
    fast = arguments.fast
    arguments.detector = arguments.detector or ("craft_compact" if fast else "craft_mlt_25k")
    if arguments.recognizer is None:
        arguments.recognizer = "ppocrv6_small"
        if fast and not _installed("ppocrv6_small"):
            arguments.recognizer = "crnn_synth"
            print(
                "recognizer: crnn_synth, which comes with ocrjax; ppocrv6_small reads more words: "
                "pip install 'ocrjax[weights]'",
                file=sys.stderr,
            )


def _installed(weights: str) -> bool:
    """Return whether weights stored as ONNX can be loaded."""
    try:
        find_weights(weights)
    except WeightsNotFoundError:
        return False
    return importlib.util.find_spec("onnx") is not None


def _say(
    progress: Progress, picture: Picture, page: Page, reader: Reader, *, quiet: bool = False
) -> None:
    """Print how many words a page has, or why some are lost."""
    if warning := shrunk(page, reader.detector.options):
        progress.write(f"{picture}: {warning}", file=sys.stderr)
    elif not quiet:
        progress.write(f"{picture}: {len(page.words)} words")


@dataclass(frozen=True)
class _Task:
    """A group of images, with all that a worker elsewhere needs to know of it."""

    part: Path
    settings: Mapping[str, Any]
    files: Sequence[Path]
    pictures: Mapping[Path, Sequence[Picture]]
    outputs: Outputs


def _shares(
    arguments: argparse.Namespace,
    parts: Parts,
    outputs: Outputs,
    pictures: Mapping[Path, Sequence[Picture]],
    shapes: Sequence[tuple[int, int]],
    sharing: tuple[Shard | None, int | None, Spread | None],
) -> int:
    """Read the images of a share, or of all by an engine; or join what all have read."""
    shard, merge, spread = sharing
    groups = range(len(parts.groups))
    mine = groups if shard is None else shard.take(groups)
    missing = [] if merge else list(parts.missing(mine))
    todo = [path for group in missing for path in parts.groups[group]]
    files = [path for group in parts.groups for path in group]
    done = {*files} - {*todo}
    go_on = parts.folder.is_dir()
    _check_outputs(arguments, outputs, files=files, done=done, go_on=go_on)
    tasks = []
    for group in missing:
        own = {path: pictures[path] for path in parts.groups[group]}
        tasks.append(
            _Task(parts.path(group), parts.settings, [*own], own, outputs.of_files(own, pictures))
        )
    if spread is not None:
        with Progress("reading with Apache Beam"):
            spread(partial(_open_elsewhere, arguments, shapes), _read_elsewhere, tasks)
    elif not merge:
        bad = 0
        if tasks:
            reader = _open(arguments, shapes, print)
            left = sum(len(pictures[path]) for path in todo)
            with Progress("reading", unit="page", total=left) as bar:
                bad = sum(_read_task(reader, task, bar) for task in tasks)
        print(
            f"shard {shard}: {sum(len(parts.groups[group]) for group in mine):,} of {len(files):,} "
            f"image files are read; {bad} pages could not be read. When all shards are done, run "
            f"this with --merge {shard.count if shard else 1} instead of --shard"
        )
        return 1 if bad else 0
    entries = parts.join(merge or 1)
    errors = [error for entry in entries for error in entry["errors"]]
    for error in errors[:_SHOWN]:
        print(f"skipped {error}", file=sys.stderr)
    pages = [page for entry in entries for page in entry["pages"]]
    words = sum(len(page["words"]) for page in pages)
    total = len(pages) + len(errors)
    print(f"{words} words on {len(pages)} pages; {len(errors)} of {total} could not be read")
    name_left_out(arguments.images)
    return 1 if errors else 0


def _read_task(reader: Reader, task: _Task, progress: Progress, *, quiet: bool = False) -> int:
    """Read a group of images; return how many pages could not be read."""
    results = []
    for path, read, errors in _read(reader, task.files, task.pictures, progress):
        for error in errors.values():
            progress.write(f"skipped {error}", file=sys.stderr)
        task.outputs.write(path, read)
        for picture, page in read:
            _say(progress, picture, page, reader, quiet=quiet)
        results.append((path, [page for _, page in read], [*errors.values()]))
    write_part(task.part, task.settings, results)
    return sum(len(errors) for _, _, errors in results)


def _open(
    arguments: argparse.Namespace,
    shapes: Sequence[tuple[int, int]],
    log: Callable[[str], None],
) -> Reader:
    reader = _load(arguments, *_options(arguments), log)
    reader.detector.expect(shapes)
    return reader


def _open_elsewhere(
    arguments: argparse.Namespace, shapes: Sequence[tuple[int, int]]
) -> tuple[Reader, Progress]:
    """The tools of a worker; nobody sees what it prints."""
    return _open(arguments, shapes, lambda _: None), Progress("reading", unit="page")


def _read_elsewhere(tools: tuple[Reader, Progress], task: _Task) -> None:
    _read_task(tools[0], task, tools[1], quiet=True)


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
    pictures: Mapping[Path, Sequence[Picture]],
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


def _together(
    files: Sequence[Path], pictures: Mapping[Path, Sequence[Picture]]
) -> Iterator[list[Path]]:
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

    weights = {name: _digest(find_weights(getattr(arguments, name))) for name in _WEIGHTS}
    return {
        "version": __version__,
        **weights,
        "charset": arguments.charset,
        "bfloat16": arguments.bfloat16,
        "backend": _backend(arguments),
        "options": {**asdict(options), "lexicon": str(options.lexicon)},
        "detection": asdict(detection),
    }


def _digest(weights: Path) -> str:
    """Stands for the content of a file or a folder, wherever it lies."""
    digest = hashlib.blake2b(digest_size=8)
    inside = sorted(weights.rglob("*")) if weights.is_dir() else [weights]
    for path in filter(Path.is_file, inside):
        digest.update(str(path.relative_to(weights)).encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "blake2b").digest())
    return digest.hexdigest()


def _all_of(files: Sequence[Path], shapes: Sequence[tuple[int, int]]) -> dict[str, str]:
    """What shares must agree on to read the same groups of images in the same way."""
    names = json_line([[os.fspath(path) for path in files], [list(shape) for shape in shapes]])
    return {"list of images": hashlib.blake2b(names.encode(), digest_size=8).hexdigest()}


def _shapes(
    pictures: Mapping[Path, Sequence[Picture]], detection: DetectorOptions
) -> list[tuple[int, int]]:
    """Sizes of inputs that do not depend on the order in which images are read."""
    from craftjax.detector import plan_inputs

    each = [picture for pages in pictures.values() for picture in pages]
    if len(each) <= _TOGETHER:  # they are planned when they are read, at once
        return []
    return plan_inputs(shown(each, "looking at the sizes", unit="page"), detection)


def _backend(arguments: argparse.Namespace) -> str:
    from ocrjax.reader import choose_backend

    only_jax = arguments.backend == "auto" and arguments.bfloat16
    return "jax" if only_jax else choose_backend(arguments.backend)


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
    from ocrjax.reader import Reader

    tune_process()
    backend = _backend(arguments)
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
    outputs: Outputs,
    *,
    files: Sequence[Path],
    done: set[Path],
    go_on: bool,
) -> None:
    """Check before any work that outputs can be written and are not inputs."""
    weights = [find_weights(getattr(arguments, name)) for name in _WEIGHTS]
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


def _degrees(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",") if part)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r}: expected some of 90, 180 and 270, such as 90,270"
        ) from None
