"""correct labels in the browser, the most doubtful first."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ocrcore.outputs import check_apart, check_outputs
from ocrcore.pages import Page
from ocrjax.cli.arguments import (
    add_kind,
    add_label_arguments,
    add_networks,
    given_options,
    refuse_idle,
)

if TYPE_CHECKING:
    from ocrjax.reader import Reader
    from ocrjax.review.session import Item

_NEW, _CROPS = "icdar2015", "easyocr-csv"  # default formats for images and crops without labels
_SHOWN = 20  # most lines about what is left out


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    from ocrjax.labels.convert import PICTURES
    from ocrjax.labels.crops import CROP_TARGETS
    from ocrjax.labels.targets import TARGETS

    parser.add_argument("data", metavar="DATA", help="labeled images; with --predict any images")
    parser.add_argument(
        "--out",
        required=True,
        metavar="OUT",
        help="a new folder for the corrected labels; changes are kept next to it in OUT.jsonl, "
        "from which the same command continues",
    )
    parser.add_argument(
        "--predict", action="store_true", help="images without labels: a reader predicts them"
    )
    parser.add_argument(
        "--crops", action="store_true", help="with --predict: each image is one word or line"
    )
    parser.add_argument("--count", type=int, metavar="N", help="review only the first N words")
    parser.add_argument(
        "--shuffle", action="store_true", help="random order instead of the most doubtful first"
    )
    parser.add_argument(
        "--judge", action="store_true", help="also review labels that the networks contradict"
    )
    parser.add_argument(
        "--every", action="store_true", help="also review all other words, after the doubtful ones"
    )
    add_networks(parser, "--judge and --predict")
    parser.add_argument(
        "--charset", metavar="NAME", help="characters that the default recognizer may read"
    )
    parser.add_argument(
        "--to",
        choices=(*TARGETS, *CROP_TARGETS),
        metavar="FORMAT",
        help=f"format of OUT: {', '.join(TARGETS)} (default: that of DATA; with --predict {_NEW}); "
        f"with --crops: {', '.join(CROP_TARGETS)} (default: {_CROPS})",
    )
    parser.add_argument(
        "--pictures",
        choices=PICTURES,
        default="copy",
        help="copy or link the images into OUT, or leave them out (default: %(default)s)",
    )
    add_kind(parser, "DATA")
    add_label_arguments(parser)
    parser.add_argument(
        "--port", type=int, default=0, help="port of the page (default: a free one)"
    )
    parser.add_argument(
        "--save",
        action="store_true",
        help="write OUT with the changes so far, without serving the page",
    )


def run(arguments: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C; return 1 if parts of DATA were left out or repaired."""
    from ocrjax.labels.crops import CROP_TARGETS
    from ocrjax.review.prepare import shuffled
    from ocrjax.review.saving import check_place, save, save_crops
    from ocrjax.review.server import ReviewServer
    from ocrjax.review.session import Session

    if arguments.count is not None and arguments.count < 1:
        raise ValueError(f"--count is {arguments.count}, expected 1 or more")
    crops = arguments.crops
    if crops and not arguments.predict:
        raise ValueError("--crops needs --predict; ocrjax lint --judge checks labeled crops")
    if arguments.to and (arguments.to in CROP_TARGETS) != crops:
        wanted = "of crops" if crops else "of images (ocrjax convert-labels cuts crops)"
        raise ValueError(f"--to is {arguments.to!r}, expected a format {wanted}")
    out = Path(arguments.out)
    journal = out.with_name(f"{out.name}.jsonl")
    inputs = [arguments.data, *filter(None, [arguments.images])]
    if not 0 <= arguments.port < 1 << 16:
        raise ValueError(f"--port is {arguments.port}, expected 1 to 65535, or 0 for a free one")
    check_apart(out, inputs, option="--out")
    check_place(out, journal)
    check_outputs([out / "labels"])
    if arguments.predict:
        refuse_idle(given_options(arguments, ("judge", "every", "images")), "with --predict")
        refuse_idle({"--detector": crops and arguments.detector}, "with --crops")
    elif not arguments.judge:
        networks = ("detector", "recognizer", "charset")
        refuse_idle(given_options(arguments, networks), "without --judge or --predict")
    labels = _Predicted(arguments) if arguments.predict else _Labeled(arguments)
    for line in labels.notes[:_SHOWN]:
        print(line)
    if len(labels.notes) > _SHOWN:
        print(f"and {len(labels.notes) - _SHOWN:,} more; `ocrjax lint DATA` lists those of labels")

    def prepare() -> tuple[Sequence[Page], Sequence[Item]]:
        pages, items = labels.prepare()
        if arguments.shuffle:
            items = shuffled(items)
        return pages, items[: arguments.count]

    session = Session(labels.pages, journal, prepare)
    done = sum(state["done"] for state in session.states())
    print(f"{len(session.items):,} words to review, {done:,} done; changes: {journal}")

    def write() -> str:
        if crops:
            return save_crops(session, out, arguments.to or _CROPS)
        return save(session, out, labels.parts, pictures=arguments.pictures)

    if arguments.save:
        print(write())
        return 1 if labels.bad else 0
    with ReviewServer(session, write, port=arguments.port, title=str(arguments.data)) as server:
        print(f"open in a browser on this machine: {server.address}")
        print("Ctrl-C ends it; no changes are lost")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print(f"\n{session.edits:,} changes with {session.keys:,} key presses; {write()}")
    return 1 if labels.bad else 0


class _Labeled:
    """Labeled images, with the findings of the lint as items to review."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        from ocrjax.labels.findings import KINDS
        from ocrjax.labels.lint import lint, open_parts
        from ocrjax.labels.repair import target_of

        parts, doubles = open_parts(
            arguments.data,
            kind=arguments.kind,
            images=arguments.images or "",
            layout=arguments.layout,
            dont_care=tuple(arguments.dont_care),
        )
        self._arguments = arguments
        self._found = lint(parts)
        # Labels that cannot be read are missing in OUT; labels that are repaired while reading
        # are written as repaired.
        self.bad = doubles + [
            one
            for one in self._found.findings
            if one.word is None and one.severity == "error" and KINDS[one.kind].repair
        ]
        self.notes = [f"{one.kind}, {KINDS[one.kind].repair}: {one}" for one in self.bad]
        self.pages = [page for part in parts for page in part.pages]
        self.parts = [
            (part.name, len(part.pages), arguments.to or target_of(part)) for part in parts
        ]

    def prepare(self) -> tuple[Sequence[Page], Sequence[Item]]:
        from ocrjax.review.prepare import items_of

        suspects = []
        if self._arguments.judge:
            from ocrjax.labels.doubts import find_doubts

            suspects = find_doubts(self._found, _reader(self._arguments))
        return self.pages, items_of(self._found, suspects, every=self._arguments.every)


class _Predicted:
    """Images without labels, with a reader's predictions as items to review."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        from ocrjax.review.prepare import empty_pages

        self._arguments = arguments
        self.pages, self.bad = empty_pages(arguments.data)
        self.notes = [f"left out: {error}" for error in self.bad]
        self.parts = [("train", len(self.pages), arguments.to or _NEW)]

    def prepare(self) -> tuple[Sequence[Page], Sequence[Item]]:
        from ocrjax.review.prepare import predicted, predicted_crops

        read = predicted_crops if self._arguments.crops else predicted
        return read(self.pages, _reader(self._arguments))


def _reader(arguments: argparse.Namespace) -> Reader:
    from ocrcore.runtime.tuning import tune_process
    from ocrjax.reader import Reader

    tune_process()
    return Reader(arguments.detector, arguments.recognizer, charset=arguments.charset, log=print)
