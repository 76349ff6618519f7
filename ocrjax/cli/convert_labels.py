"""convert labels of images or crops from one tool's format to another's."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ocrcore.data.readers.crops import Crop
from ocrcore.data.readers.label_formats import find_formats
from ocrcore.data.readers.words import has_text_files
from ocrcore.outputs import OutputError, check_apart, check_outputs
from ocrcore.pages import LabelError
from ocrjax.cli.arguments import add_kind, add_label_arguments, refuse_idle
from ocrjax.labels.convert import PICTURES, Conversion, read_pages, write_labels
from ocrjax.labels.targets import TARGETS, losses

_SHOWN = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    from ocrjax.labels.crops import CROP_KINDS, CROP_TARGETS

    parser.add_argument("source", metavar="IN", help="a label file, or a folder of labels")
    parser.add_argument("target", metavar="OUT", help="a new folder")
    parser.add_argument(
        "--to",
        required=True,
        choices=(*TARGETS, *CROP_TARGETS),
        metavar="FORMAT",
        help=f"format to write; for images: {', '.join(TARGETS)}; for crops: "
        f"{', '.join(CROP_TARGETS)}",
    )
    add_kind(parser, "IN", more=("synthtext",), crops=CROP_KINDS)
    add_label_arguments(parser)
    parser.add_argument(
        "--pictures",
        choices=PICTURES,
        default="copy",
        help="what to do with the images: copy or link them into OUT, or leave them out "
        "(default: %(default)s)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Convert the labels; return 1 if some of them could not be read."""
    from ocrjax.labels.crops import CROP_TARGETS, cut_crops, write_crops

    source, out = Path(arguments.source), Path(arguments.target)
    folder = source if source.is_dir() else source.parent
    check_apart(out, [source, *filter(None, [arguments.images])], option="OUT")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"{out}: already exists; name a new folder")
    check_outputs([out / "labels"], inputs=[folder])
    lost: Counter[str] = Counter()
    if arguments.to in CROP_TARGETS and (crops := _crops(source, arguments)):
        found, title = crops
        refuse_idle({"--images": arguments.images}, "on crops")
        done = Conversion(title)
        count = write_crops(found, out, arguments.to, done.bad)
        what = f"{count:,} crops"
    else:
        pages, done = read_pages(
            source,
            kind=arguments.kind,
            images=arguments.images or "",
            layout=arguments.layout,
            dont_care=tuple(arguments.dont_care),
        )
        if arguments.to in CROP_TARGETS:
            made = cut_crops(pages, lost, done.bad)
            count = write_crops(made, out, arguments.to, done.bad)
            what = f"{count:,} crops of {len(pages):,} pictures"
        else:
            count, lost = write_labels(pages, out, arguments.to, pictures=arguments.pictures)
            what = f"{count:,} words on {len(pages):,} pictures"
    print(f"read {source}: {done.source}")
    for note in done.notes:
        print(f"  {note}")
    title = (TARGETS | CROP_TARGETS)[arguments.to].title
    print(f"wrote {out}: {title}, {what}")
    if lines := losses(lost):
        print("lost, because this format cannot hold it:")
        print("\n".join(f"  {line}" for line in lines))
    if done.bad:
        print(f"{len(done.bad):,} unreadable labels or images were left out:")
        print("\n".join(f"  {error}" for error in done.bad[:_SHOWN]))
        if len(done.bad) > _SHOWN:
            print(f"  and {len(done.bad) - _SHOWN:,} more")
    if arguments.pictures != "none":
        print(f"to train on it: {_advice(arguments.to, out)}")
    return 1 if done.bad else 0


def _advice(to: str, out: Path) -> str:
    """The config fields that read the written files."""
    from ocrjax.labels.crops import CROP_TARGETS

    if to in CROP_TARGETS:
        crops = CROP_TARGETS[to]
        path = out / crops.path if crops.path else out
        return f"kind='{crops.kind}', path='{path}' in a recognizer's data set"
    target = TARGETS[to]
    layout = f", layout='{target.layout}'" if target.layout else ""
    return f"kind='{target.kind}', path='{out}'{layout} in a detector's data set"


def _crops(source: Path, arguments: argparse.Namespace) -> tuple[Iterator[Crop], str] | None:
    """The crops of a source and its description; None for a source of labeled images."""
    from crnnjax.crop_index import kind_of
    from ocrjax.labels.crops import CROP_KINDS, read_crops

    kind = arguments.kind
    if kind == "auto":
        try:
            if find_formats(source) or (source.is_dir() and has_text_files(source)):
                return None
        except OSError as error:
            raise LabelError(source, 0, str(error.strerror or error), "labels") from error
        kind = kind_of(source)
    if kind not in CROP_KINDS or (kind == "doctr" and find_formats(source)):
        return None
    crops, count = read_crops(source, kind)
    return crops, f"{kind}, {count:,} crops"
