"""train a reader on labeled photos: audit, split, train, evaluate, export; stages resume."""

from __future__ import annotations

import argparse
import os
from dataclasses import fields

from ocrcore.command import INTERRUPTED
from ocrjax.cli.arguments import add_layout
from ocrjax.fitting.options import FitOptions, parse_budget


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("data", metavar="DATA", help="folder of photos and their word labels")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for all results")
    parser.add_argument("--name", default="", help="name of the reader (default: that of --out)")
    parser.add_argument(
        "--budget",
        default="45m",
        help="time for all stages together, such as 45m or 1h30m (default: %(default)s)",
    )
    parser.add_argument(
        "--charset",
        default="",
        metavar="FILE",
        help="characters to read: the name of a charset or a file",
    )
    parser.add_argument(
        "--split",
        default="",
        metavar="FILE",
        help="file whose lines are train, validation or test, a tab, and the name of an image "
        "(default: keep a test set found in DATA; otherwise split so that near-duplicates stay in "
        "the same part)",
    )
    add_layout(parser)
    parser.add_argument(
        "--detector", default="craft_mlt_25k", help="pretrained weights (default: %(default)s)"
    )
    parser.add_argument(
        "--recognizer", default="ppocrv6_small", help="pretrained weights (default: %(default)s)"
    )
    for network in ("detector", "recognizer"):
        parser.add_argument(
            f"--{network}-steps",
            type=int,
            metavar="N",
            help=f"training steps of the {network} (default: as many as the budget allows; "
            "0: none)",
        )
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of the sample order (default: %(default)s)"
    )
    parser.add_argument(
        "--accept-warnings", action="store_true", help="continue despite warnings of the audit"
    )
    parser.add_argument(
        "--easyocr-python",
        metavar="PATH",
        default=os.environ.get("EASYOCR_PYTHON", ""),
        help="Python interpreter with EasyOCR installed, to check the exported networks "
        "(default: $EASYOCR_PYTHON)",
    )
    parser.add_argument(
        "--stage", nargs="+", default=[], metavar="NAME", help="repeat these stages only"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="print the plan and its estimated time, then stop"
    )


def run(arguments: argparse.Namespace) -> int:
    """Fit; return 130 if a signal stopped a training."""
    budget = parse_budget(arguments.budget)
    names = [one.name for one in fields(FitOptions) if one.name != "budget"]
    values = {name: getattr(arguments, name) for name in names}
    options = FitOptions(budget=budget, **values)

    from ocrcore.runtime.tuning import tune_process

    if arguments.dry_run:
        from ocrjax.fitting.dry_run import describe_plan

        tune_process()
        print("\n".join(describe_plan(options)))
        return 0

    from ocrcore.training.full_disk import silence_orbax
    from ocrjax.fitting.run import fit

    silence_orbax()
    tune_process(one_arena=True)
    data, out = values.pop("data"), values.pop("out")
    found = fit(data, out, stages=arguments.stage, budget=options.budget, **values)
    return INTERRUPTED if found is None else 0
