"""`ocrjax export onnx`: files for ONNX Runtime and RapidOCR."""

from __future__ import annotations

import argparse
from pathlib import Path

from ocrcore.outputs import check_outputs
from ocrcore.weights.named import find_weights
from ocrjax.cli.arguments import given_options, refuse_idle

_PRECISIONS = ("float32", "float16", "int8")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments that `ocrjax export easyocr` does not have."""
    group = parser.add_argument_group("onnx")
    group.add_argument(
        "--precision",
        nargs="+",
        choices=_PRECISIONS,
        help="precision of the weights; writes one file for each (default: float32)",
    )
    group.add_argument(
        "--rapidocr", action="store_true", help="also write a recognizer's file for RapidOCR"
    )
    group.add_argument(
        "--calibrate",
        metavar="PATH",
        nargs="+",
        default=(),
        help="calibration data for int8 convolutions: images and folders, of crops for a "
        "recognizer and of photos for a detector",
    )


def refuse(arguments: argparse.Namespace) -> None:
    """Refuse these arguments if the target is not ONNX."""
    names = ("precision", "rapidocr", "calibrate")
    refuse_idle(given_options(arguments, names), "without onnx")


def run(arguments: argparse.Namespace) -> int:
    """Export; return 1 and write nothing if ONNX Runtime's output differs from ours."""
    own = ("install", "uninstall", "easyocr_python", "accept_worse")
    given = given_options(arguments, own)
    given["--languages"] = None if arguments.languages == "en" else arguments.languages
    refuse_idle(given, "with onnx")
    if not arguments.check:
        checks = ("crops", "photos", "count")
        refuse_idle(given_options(arguments, checks), "without --check")
    if arguments.source is None:
        raise ValueError("no RUN is given; name what to export: ocrjax export onnx RUN")
    source = find_weights(arguments.source)
    name = arguments.name or source.resolve().stem
    folder = Path(arguments.out or Path("exp/onnx") / name)

    from ocrcore.runtime.tuning import tune_process
    from ocrjax.onnx.export import OnnxOptions, export_onnx, file_names

    options = OnnxOptions(
        precisions=tuple(dict.fromkeys(arguments.precision or ("float32",))),
        rapidocr=arguments.rapidocr,
        charset=arguments.charset,
        height=arguments.height,
        calibrate=tuple(arguments.calibrate),
        check=arguments.check,
        count=arguments.count,
        crops=arguments.crops,
        photos=tuple(arguments.photos),
    )
    read = (source, arguments.charset, arguments.crops, *arguments.photos, *arguments.calibrate)
    check_outputs(
        [folder / file for file in file_names(name, options)],
        inputs=list(filter(None, read)),
        force=arguments.force,
        remedy="--force replaces them, --out DIR names another folder",
    )
    tune_process()
    exported = export_onnx(source, folder, name=name, options=options)
    if exported.check is not None:
        print(exported.check.table())
        for fault in exported.check.faults:
            print(f"NOT GOOD: {fault}")
        if exported.check.faults:
            print("nothing was written")
            return 1
    print("written:", *map(str, exported.files), sep="\n  ")
    if exported.notice:
        print(exported.notice)
    return 0
