"""make a run's network one that EasyOCR or ONNX Runtime loads, and check it there."""

from __future__ import annotations

import argparse
from pathlib import Path

from ocrcore.outputs import check_outputs
from ocrcore.weights.named import find_weights
from ocrjax.cli import export_onnx
from ocrjax.cli.arguments import refuse_idle
from ocrjax.easyocr.install import install, uninstall


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("target", choices=("easyocr", "onnx"), help="the program to export to")
    parser.add_argument(
        "source",
        metavar="RUN",
        nargs="?",
        help="the folder of a run of crnnjax or craftjax, an Orbax checkpoint, a .pth or "
        ".safetensors file, or a name",
    )
    parser.add_argument("--name", help="of the network in EasyOCR (default: that of RUN)")
    parser.add_argument("--out", metavar="DIR", help="default: exp/easyocr/NAME, exp/onnx/NAME")
    parser.add_argument(
        "--force", action="store_true", help="replace files that are there, also with --install"
    )
    parser.add_argument(
        "--install", action="store_true", help="put the files into EasyOCR's folders, too"
    )
    parser.add_argument(
        "--uninstall",
        metavar="NAME",
        help="instead: remove the files that --install has put into EasyOCR's folders",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="load the files in a real EasyOCR, or in ONNX Runtime, and compare; exit status 1 and "
        "no installation, or no file, if it does not give the same, or reads worse than the run",
    )
    parser.add_argument(
        "--easyocr-python", metavar="PATH", help="interpreter that has EasyOCR (default: this one)"
    )
    parser.add_argument(
        "--count", type=int, help="crops or photos to check with (default: 200 or 20)"
    )
    group = parser.add_argument_group("recognizer")
    group.add_argument(
        "--languages",
        default="en",
        help="that a Reader may ask for, with commas (default: %(default)s)",
    )
    group.add_argument("--charset", help="name or file; default: that of the run or the weights")
    group.add_argument("--height", type=int, help="of the pictures; default: as for --charset")
    group.add_argument(
        "--crops",
        metavar="PATH",
        help="to check with: a labels.tsv, a folder with a labels.csv, or an LMDB (default: those "
        "that the run is judged on)",
    )
    group.add_argument(
        "--accept-worse",
        action="store_true",
        help="a Reader may read worse than the run does by itself, if only it gives the same with "
        "the same input",
    )
    group = parser.add_argument_group("detector")
    group.add_argument(
        "--photos",
        metavar="PATH",
        nargs="+",
        default=(),
        help="to check with: pictures and folders (default: those that the run is judged on)",
    )
    export_onnx.add_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Exports; returns 1 if the other program does not give the same as ours, or reads worse."""
    if arguments.target == "onnx":
        return export_onnx.run(arguments)
    export_onnx.refuse(arguments)
    if arguments.uninstall is not None:
        return _uninstall(arguments)
    if arguments.source is None:
        raise ValueError("name what to export: ocrjax export easyocr RUN")
    source = find_weights(arguments.source)
    name = arguments.name or source.resolve().stem
    folder = Path(arguments.out or Path("exp/easyocr") / name)
    files = (f"{name}.pth", f"{name}.yaml", f"{name}.py", "README.txt", "check.json")
    given = (arguments.charset, arguments.crops, *arguments.photos)
    check_outputs(
        [folder / file for file in files],
        inputs=[source, *filter(None, given)],
        force=arguments.force,
        remedy="--force replaces, --out DIR takes another folder",
    )

    from ocrcore.runtime.tuning import tune_process
    from ocrjax.easyocr.export import ExportOptions, export_network, verdict

    if not arguments.check:
        names = ("crops", "photos", "count", "accept_worse", "easyocr_python")
        checks = {f"--{name.replace('_', '-')}": getattr(arguments, name) for name in names}
        refuse_idle(checks, "without --check")
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
            remedy="--force replaces, --name NAME takes another name",
        )
    if arguments.check:
        print("reading the same with EasyOCR and with ours ...", flush=True)
        found = export.check()
        print(found.table())
        print(verdict(found))
        if found.faults():
            print("not installed" if arguments.install else "do not use it")
            return 1
    if arguments.install:
        install(export.places, name=name, force=arguments.force)
        print("installed:", *map(str, export.places.values()), sep="\n  ")
    print(export.usage)
    return 0


def _uninstall(arguments: argparse.Namespace) -> int:
    given = ["name", "out", "force", "install", "check", "easyocr_python", "count", "charset"]
    given += ["height", "crops", "accept_worse", "photos"]
    options = {f"--{name.replace('_', '-')}": getattr(arguments, name) for name in given}
    refuse_idle({"RUN": arguments.source, **options}, "with --uninstall")
    removed = uninstall(arguments.uninstall)
    print("removed:", *(map(str, removed) if removed else ["nothing was left"]), sep="\n  ")
    return 0
