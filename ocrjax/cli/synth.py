"""generate data sets of synthetic text, with exact boxes of words and characters."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from ocrcore.data.shards import Shard, parse_sharing
from ocrcore.drawing import contact_sheet
from ocrcore.images import write_image
from ocrcore.outputs import check_apart, check_outputs, check_suffix
from ocrcore.progress import Progress
from ocrcore.synth.config import PRESETS, SPLITS
from ocrcore.synth.job import Job
from ocrcore.synth.make import MANIFEST, Summary, make_set, samples
from ocrcore.synth.pages import SynthError
from ocrcore.synth.pieces import make_shard, merge_set
from ocrcore.synth.text import font_remedy
from ocrcore.synth.write import FORMATS
from ocrjax.cli.arguments import (
    add_beam_arguments,
    add_shard_arguments,
    beam_of,
    given_options,
    refuse_idle,
)

_MAX_SHEET = 200
_SHEETS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
_SHOWN = 20  # most problems printed one by one


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "--preset",
        choices=tuple(PRESETS),
        default="scene",
        help="kind of samples (default: %(default)s)",
    )
    parser.add_argument("--out", metavar="DIR", help="folder of the data set to write")
    parser.add_argument(
        "--sheet", metavar="FILE", help="write a contact sheet of samples instead of a data set"
    )
    parser.add_argument(
        "--force", action="store_true", help="replace an existing sheet; never a data set"
    )
    parser.add_argument(
        "--count", type=int, help="number of pages or crops (default for a sheet: 12)"
    )
    parser.add_argument("--format", choices=FORMATS, help="format of the data set")
    parser.add_argument(
        "--workers",
        type=int,
        help="worker processes; 0 draws in this process; the data set does not depend on it "
        "(default: 0)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of the samples (default: %(default)s)"
    )
    parser.add_argument(
        "--split",
        choices=SPLITS,
        help="use only the fonts and --backgrounds of this split (default: all)",
    )
    parser.add_argument(
        "--fonts",
        nargs="+",
        default=(),
        metavar="DIR",
        help="folders of fonts to use in addition to the bundled ones",
    )
    parser.add_argument("--no-bundled-fonts", action="store_true", help="use only --fonts")
    parser.add_argument(
        "--without-weights",
        nargs="+",
        default=(),
        metavar="WEIGHT",
        help="leave out fonts of these weights: thin, light, ..., black",
    )
    parser.add_argument(
        "--backgrounds",
        nargs="+",
        default=(),
        metavar="DIR",
        help="folders of images to draw the text on",
    )
    parser.add_argument(
        "--words", metavar="FILE", help="file of texts to draw, one per line, UTF-8"
    )
    parser.add_argument(
        "--config",
        nargs="+",
        default=(),
        metavar="NAME=VALUE",
        help="change settings of the preset, such as height=512 'words=(3, 8)' text.max_length=12",
    )
    parser.add_argument(
        "--crops",
        choices=("cut", "drawn"),
        help="for crops: cut from pages, or drawn word by word (default of the preset words: "
        "drawn)",
    )
    parser.add_argument("--crop-height", type=int, help="height of crops in pixels (default: 32)")
    parser.add_argument(
        "--image",
        choices=("jpg", "png"),
        help="format of the image files; png is lossless (default: jpg)",
    )
    parser.add_argument("--quality", type=int, help="quality of JPEG files (default: 95)")
    parser.add_argument(
        "--records-per-file",
        type=int,
        help="samples per record file or folder; if the process is killed, only the unfinished one "
        "is lost; shares consist of whole ones (default: 1000)",
    )
    add_shard_arguments(parser)
    add_beam_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write the data set or the sheet; return 130 if interrupted."""
    if bool(arguments.out) == bool(arguments.sheet):
        raise ValueError("give either --out DIR for a data set or --sheet FILE for a contact sheet")
    if arguments.out and not (arguments.count and arguments.format):
        raise ValueError("--out needs --count and --format")
    shard, merge = parse_sharing(arguments.shard, arguments.merge)
    changes = []
    for text in arguments.config:
        name, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"--config {text}: expected NAME=VALUE")
        changes.append((name.strip(), value.strip()))
    _refuse_idle(arguments)
    cut = None if arguments.crops is None else arguments.crops == "cut"
    kind = arguments.format or ("arrayrecord" if arguments.crops is None else "crops-csv")
    # Options that are not given keep the defaults of `Job`.
    given = {
        name: getattr(arguments, name) for name in ("crop_height", "quality", "records_per_file")
    }
    given = {name: value for name, value in given.items() if value is not None}
    spread = beam_of(arguments)
    job = Job(
        preset=arguments.preset,
        format=kind,
        count=12 if arguments.count is None else arguments.count,
        seed=arguments.seed,
        split=arguments.split,
        fonts=tuple(arguments.fonts),
        without_weights=tuple(arguments.without_weights),
        bundled_fonts=not arguments.no_bundled_fonts,
        backgrounds=tuple(arguments.backgrounds),
        words=arguments.words,
        changes=tuple(changes),
        cut=cut,
        suffix="." + (arguments.image or "jpg"),
        **given,
    )
    if job.unit == "page":
        refuse_idle({"--crop-height": arguments.crop_height}, "on pages")
    if note := job.unused_texts():
        print(note, file=sys.stderr)
    inputs = [*job.fonts, *job.backgrounds, *filter(None, [job.words])]
    if arguments.sheet:
        check_suffix(arguments.sheet, _SHEETS, option="--sheet")
        check_outputs([arguments.sheet], inputs=inputs, force=arguments.force)
    else:
        check_apart(arguments.out, inputs, option="--out")
        # `make_set` decides whether it may continue a data set that exists.
        check_outputs([Path(arguments.out, MANIFEST)], force=True)
    try:
        if arguments.sheet:
            return _sheet(job, Path(arguments.sheet))
        if merge is not None:
            return _merge(job, Path(arguments.out), merge)
        if spread is not None:
            with Progress("drawing with Apache Beam"):
                make_shard(job, arguments.out, Shard(0, 1), spread=spread)
            return _merge(job, Path(arguments.out), 1)
        return _set(job, Path(arguments.out), arguments.workers or 0, shard)
    except (SynthError, ModuleNotFoundError, OSError) as error:
        raise ValueError(str(error)) from error


def _refuse_idle(arguments: argparse.Namespace) -> None:
    """Refuse options without effect on a sheet or on PNG files."""
    if arguments.sheet:
        names = ("workers", "image", "quality", "records_per_file", "shard", "merge", "beam_runner")
        refuse_idle(given_options(arguments, names), "on a sheet")
    if arguments.merge:
        refuse_idle({"--workers": arguments.workers}, "where shares are joined")
    if arguments.beam_runner:
        refuse_idle({"--workers": arguments.workers}, "with --beam-runner, whose options say it")
    if arguments.image == "png":
        refuse_idle({"--quality": arguments.quality}, "on PNG files")


def _set(job: Job, out: Path, workers: int, shard: Shard | None) -> int:
    start = time.perf_counter()
    first: int | None = None
    with Progress(f"drawing {job.unit}s", unit=job.unit, total=job.count) as bar:

        def progress(done: int, of: int = job.count) -> None:
            nonlocal first
            first = done if first is None else first
            bar.update(done, of)

        try:
            if shard is None:
                summary = make_set(job, out, workers=workers, progress=progress)
            else:
                summary = make_shard(job, out, shard, workers=workers, progress=progress)
        except KeyboardInterrupt:
            bar.write("stopped; the same command continues", file=sys.stderr)
            return 130
    made = summary.done - (summary.done if first is None else first)
    seconds = time.perf_counter() - start
    line = f"{summary.done} {job.unit}s in {out} ({job.format})"
    if shard is not None and first is not None:
        line = f"shard {shard}: {summary.done} of {job.count} {job.unit}s in {out} ({job.format})"
    if made:
        line += f"; {made} drawn now in {seconds:.1f} s, {made / seconds:.1f} per second"
    print(line)
    if shard is not None and first is not None:
        if not summary.done:
            print(
                f"there is nothing for it to do: {job.count} {job.unit}s are "
                f"{-(-job.count // job.records_per_file)} pieces; --records-per-file makes more"
            )
        print(f"when all are done: the same with --merge {shard.count} in place of --shard")
    _report(summary)
    return 0


def _merge(job: Job, out: Path, shards: int) -> int:
    summary = merge_set(job, out, shards)
    print(f"{summary.done} {job.unit}s in {out} ({job.format}), joined")
    _report(summary)
    return 0


def _report(summary: Summary) -> None:
    if summary.undrawable:
        found = summary.undrawable.most_common(_SHOWN)
        shown = ", ".join(f"{c!r} (U+{ord(c[0]):04X}) {n}" for c, n in found)
        more = len(summary.undrawable) - len(found)
        print(
            "characters that no font has, with the number of texts given up for each: "
            + shown
            + (f" and {more} more" if more else "")
            + f"; {font_remedy(summary.undrawable)}"
        )
    if summary.problems:
        print(f"{len(summary.problems)} fonts and images cannot be used:")
        for path, reason in list(summary.problems.items())[:_SHOWN]:
            print(f"  {reason if path in reason else f'{path}: {reason}'}")
        if len(summary.problems) > _SHOWN:
            print(f"  and {len(summary.problems) - _SHOWN} more")


def _sheet(job: Job, path: Path) -> int:
    if job.count > _MAX_SHEET:
        raise ValueError(f"--count {job.count}: a sheet has at most {_MAX_SHEET}")
    cells = samples(job, job.count)
    small = max(max(sample.image.shape[:2]) for sample in cells) <= 320
    write_image(path, contact_sheet(cells, side=240 if small else 480))
    print(f"{job.count} {job.unit}s drawn in {path}")
    return 0
