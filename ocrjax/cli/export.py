"""export a trained network to EasyOCR or ONNX Runtime, and compare the outputs there."""

from __future__ import annotations

import argparse
from pathlib import Path

from ocrcore.outputs import check_outputs
from ocrcore.weights.named import find_weights
from ocrjax.cli import export_onnx
from ocrjax.cli.arguments import given_options, refuse_idle
from ocrjax.easyocr.install import install, uninstall


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("target", choices=("easyocr", "onnx"), help="the program to export to")
    parser.add_argument(
        "source",
        metavar="RUN",
        nargs="?",
        help="a run directory of crnnjax or craftjax, an Orbax checkpoint, a .pth or "
        ".safetensors file, or the name of weights",
    )
    parser.add_argument("--name", help="name of the exported network (default: that of RUN)")
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="folder for the files (default: exp/easyocr/NAME or exp/onnx/NAME)",
    )
    parser.add_argument(
        "--force", action="store_true", help="replace existing files, also those of --install"
    )
    parser.add_argument(
        "--install", action="store_true", help="also copy the files into EasyOCR's folders"
    )
    parser.add_argument(
        "--uninstall",
        metavar="NAME",
        help="instead of exporting, remove the files that --install put into EasyOCR's folders",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="load the files in a real EasyOCR, or in ONNX Runtime, and compare; if the output "
        "differs or accuracy drops, the exit status is 1 and nothing is installed (easyocr) or "
        "written (onnx)",
    )
    parser.add_argument(
        "--easyocr-python",
        metavar="PATH",
        help="Python interpreter with EasyOCR installed (default: this one)",
    )
    parser.add_argument(
        "--count",
        type=int,
        help="number of samples to check with (default: 200 crops or 20 photos)",
    )
    group = parser.add_argument_group("recognizer")
    group.add_argument(
        "--languages",
        default="en",
        help="language codes that an easyocr.Reader may ask for, separated by commas "
        "(default: %(default)s)",
    )
    group.add_argument(
        "--charset", help="name or file of the charset (default: that of the run or the weights)"
    )
    group.add_argument(
        "--height",
        type=int,
        help="height of the crops in pixels (default: that of the run or the weights)",
    )
    group.add_argument(
        "--crops",
        metavar="PATH",
        help="crops to check with: a labels.tsv, a folder with a labels.csv, or an LMDB (default: "
        "the run's evaluation set)",
    )
    group.add_argument(
        "--accept-worse",
        action="store_true",
        help="accept a lower accuracy in EasyOCR, as long as outputs match on the same input",
    )
    group = parser.add_argument_group("detector")
    group.add_argument(
        "--photos",
        metavar="PATH",
        nargs="+",
        default=(),
        help="photos to check with: images and folders (default: the run's evaluation set)",
    )
    export_onnx.add_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Export; return 1 if the other program's output differs from ours, or is worse."""
    if arguments.target == "onnx":
        return export_onnx.run(arguments)
    export_onnx.refuse(arguments)
    if arguments.uninstall is not None:
        return _uninstall(arguments)
    if arguments.source is None:
        raise ValueError("no RUN is given; name what to export: ocrjax export easyocr RUN")
    source = find_weights(arguments.source)
    name = arguments.name or source.resolve().stem
    folder = Path(arguments.out or Path("exp/easyocr") / name)
    files = (f"{name}.pth", f"{name}.yaml", f"{name}.py", "README.txt", "check.json")
    given = (arguments.charset, arguments.crops, *arguments.photos)
    check_outputs(
        [folder / file for file in files],
        inputs=[source, *filter(None, given)],
        force=arguments.force,
        remedy="--force replaces them, --out DIR names another folder",
    )

    from ocrcore.runtime.tuning import tune_process
    from ocrjax.easyocr.export import ExportOptions, export_network, verdict

    if not arguments.check:
        names = ("crops", "photos", "count", "accept_worse", "easyocr_python")
        refuse_idle(given_options(arguments, names), "without --check")
    tune_process()
    options = ExportOptions(
        languages=tuple(code for code in arguments.languages.replace(" ", "").split(",") if code),
        charset=arguments.charset,
        height=arguments.height,
        check=arguments.check,
        python=arguments.easyocr_python,
        count=arguments.count,
        crops=arguments.crops,
        photos=tuple(arguments.photos),
        accept_worse=arguments.accept_worse,
    )
    export = export_network(source, folder, name=name, options=options)
    written = ", ".join(path.name for path in export.places)
    print(f"{folder}: {written}, README.txt")
    if arguments.install:
        check_outputs(
            export.places.values(),
            inputs=[source],
            force=arguments.force,
            remedy="--force replaces them, --name NAME chooses another name",
        )
    if arguments.check:
        print("running EasyOCR and ocrjax on the same input ...", flush=True)
        found = export.check()
        print(found.table())
        print(verdict(found))
        if found.faults():
            print("not installed" if arguments.install else "do not use this export")
            return 1
    if arguments.install:
        install(export.places, name=name, force=arguments.force)
        print("installed:", *map(str, export.places.values()), sep="\n  ")
    print(export.usage)
    return 0


def _uninstall(arguments: argparse.Namespace) -> int:
    given = ["name", "out", "force", "install", "check", "easyocr_python", "count", "charset"]
    given += ["height", "crops", "accept_worse", "photos"]
    options = {"RUN": arguments.source, **given_options(arguments, given)}
    refuse_idle(options, "with --uninstall")
    removed = uninstall(arguments.uninstall)
    print("removed:", *(map(str, removed) if removed else ["nothing was left"]), sep="\n  ")
    return 0
