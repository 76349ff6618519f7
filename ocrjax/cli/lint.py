"""find faults in labeled images or crops before training; write a repaired copy."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ocrcore.outputs import OutputError, check_apart, check_outputs
from ocrjax.cli.arguments import (
    add_kind,
    add_label_arguments,
    add_networks,
    given_options,
    refuse_idle,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crnnjax.charset import Charset
    from ocrcore.data.readers.crops import Crop
    from ocrcore.evaluation.label_errors import Suspect
    from ocrjax.reader import Reader


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    from ocrjax.labels.convert import PICTURES
    from ocrjax.labels.crops import CROP_KINDS
    from ocrjax.labels.targets import TARGETS

    parser.add_argument(
        "data", metavar="DATA", help="a folder of labeled images or crops, or a label file"
    )
    parser.add_argument(
        "--report",
        metavar="DIR",
        help="write report.html, worst.jpg (drawings of the 32 worst findings) and findings.json",
    )
    parser.add_argument(
        "--fix",
        metavar="OUT",
        help="write a repaired copy into a new folder, with the list of changes in changes.tsv",
    )
    parser.add_argument(
        "--to",
        choices=tuple(TARGETS),
        metavar="FORMAT",
        help=f"format of the copy: {', '.join(TARGETS)} (default: that of DATA)",
    )
    parser.add_argument(
        "--pictures",
        choices=tuple(how for how in PICTURES if how != "none"),
        help="whether the repaired copy copies or links the images (default: copy)",
    )
    parser.add_argument("--force", action="store_true", help="replace an existing report")
    add_kind(parser, "DATA", crops=CROP_KINDS)
    add_label_arguments(parser)
    parser.add_argument(
        "--charset",
        metavar="NAME",
        help="report words with characters outside this charset, a name or a file",
    )
    parser.add_argument(
        "--canvas-size",
        type=int,
        help="the detector's canvas; words that become too small on it are reported",
    )
    parser.add_argument(
        "--mag-ratio", type=float, help="the detector's magnification, used like --canvas-size"
    )
    parser.add_argument(
        "--judge",
        action="store_true",
        help="report labels that a detector and a recognizer contradict; takes about as long as "
        "reading the images",
    )
    add_networks(parser, "--judge")


def run(arguments: argparse.Namespace) -> int:
    """Check the data; return 1 if there are findings worse than hints."""
    data = Path(arguments.data)
    inputs = [data, *filter(None, [arguments.images])]
    _check(arguments, inputs)

    from craftjax.options import DetectorOptions
    from crnnjax.charset import named
    from ocrjax.labels.lint import LintOptions, lint, open_parts
    from ocrjax.labels.lint_crops import find_crops
    from ocrjax.labels.lint_report import rare_characters, table, write_lint
    from ocrjax.labels.repair import CHANGES, advice, target_of, write_repaired

    given = {name: getattr(arguments, name) for name in ("canvas_size", "mag_ratio")}
    detector = replace(
        DetectorOptions(), **{name: value for name, value in given.items() if value is not None}
    )
    charset = named(arguments.charset) if arguments.charset else None
    if crops := find_crops(data, arguments.kind):
        return _run_crops(arguments, *crops, charset)
    parts, doubles = open_parts(
        data,
        kind=arguments.kind,
        images=arguments.images or "",
        layout=arguments.layout,
        dont_care=tuple(arguments.dont_care),
    )
    if arguments.fix and not arguments.to:
        for part in parts:
            target_of(part)  # raises for a format that cannot be written, before the long work
    found = lint(parts, LintOptions(detector, charset))
    found.findings += doubles
    found.sort()
    suspects: list[Suspect] = []
    if arguments.judge:
        from ocrjax.labels.doubts import find_doubts

        suspects = find_doubts(found, _reader(arguments))
    for part in found.parts:
        print("\n".join(part.audit.summary))
    if rare := rare_characters(found):
        print(rare)
    print("\n".join(table(found)))
    if arguments.report:
        files = write_lint(Path(arguments.report), str(data), found, suspects)
        print(f"written: {', '.join(map(str, files))}")
    if arguments.fix:
        out = Path(arguments.fix)
        done, lost = write_repaired(
            found, out, target=arguments.to or "", pictures=arguments.pictures or "copy"
        )
        print(f"repaired copy: {out}; {len(done):,} changes: {out / CHANGES}")
        if lost:
            print("lost, because its format cannot hold it:")
            print("\n".join(f"  {line}" for line in lost))
        print(f"to train on it: {advice(parts[0], out, arguments.to or '')}")
    return 1 if found.faulty else 0


def _check(arguments: argparse.Namespace, inputs: list[Path]) -> None:
    """Refuse arguments without effect and outputs that must not be overwritten."""
    if not arguments.fix:
        refuse_idle(given_options(arguments, ("to", "pictures")), "without --fix")
    if not arguments.judge:
        refuse_idle(given_options(arguments, ("detector", "recognizer")), "without --judge")
    if not arguments.report:
        refuse_idle({"--force": arguments.force}, "without --report")
    folders = [path if path.is_dir() else path.parent for path in map(Path, inputs)]
    if arguments.report:
        from ocrjax.labels.lint_report import JSON, PAGE, SHEET

        check_apart(arguments.report, inputs, option="--report")
        outputs = [Path(arguments.report) / name for name in (PAGE, JSON, SHEET)]
        check_outputs(outputs, inputs=folders, force=arguments.force)
    if arguments.fix:
        out = Path(arguments.fix)
        check_apart(out, inputs, option="--fix")
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise OutputError(f"{out}: already exists; name a new folder")
        check_outputs([out / "labels"], inputs=folders)


def _run_crops(
    arguments: argparse.Namespace, kind: str, crops: Sequence[Crop], charset: Charset | None
) -> int:
    """Lint crops with texts; return as `run`."""
    from ocrjax.labels.lint_crops import lint_crops, write_repaired_crops
    from ocrjax.labels.lint_report import rare_characters, table, write_lint

    names = ("to", "pictures", "images", "canvas_size", "mag_ratio", "detector")
    refuse_idle(given_options(arguments, names), "on crops")
    found, kept = lint_crops(crops, charset)
    suspects: list[Suspect] = []
    if arguments.judge:
        from ocrjax.labels.doubts import find_crop_doubts

        suspects = find_crop_doubts(found, kept, _reader(arguments))
    print(f"labels read as {kind}: {len(crops):,} crops, {len(kept):,} usable for training")
    if rare := rare_characters(found):
        print(rare)
    print("\n".join(table(found)))
    if arguments.report:
        files = write_lint(Path(arguments.report), arguments.data, found, suspects)
        print(f"written: {', '.join(map(str, files))}")
    if arguments.fix:
        out = Path(arguments.fix)
        count = write_repaired_crops(found, kept, out, kind)
        print(f"repaired copy: {out}, {len(kept):,} crops; {count:,} changes")
    return 1 if found.faulty else 0


def _reader(arguments: argparse.Namespace) -> Reader:
    from ocrcore.runtime.tuning import tune_process
    from ocrjax.reader import Reader

    tune_process()
    # Other weights bring their own charset; for the default ones `--charset` may choose one.
    return Reader(
        arguments.detector,
        arguments.recognizer,
        charset=None if arguments.recognizer else arguments.charset,
        log=print,
    )
