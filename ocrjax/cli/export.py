"""make a run's network one that EasyOCR loads, check it there, and install it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ocrcore.data.readers.crops import Crop
from ocrcore.data.readers.icdar import LabelError
from ocrcore.images import ImageError, find_images, read_image
from ocrcore.options import from_section
from ocrcore.pages import ByteArray, Sample
from ocrcore.weights.named import easyocr_model_folder, find_weights
from ocrjax.easyocr.install import install
from ocrjax.easyocr.rules import network_folder


class ExportError(ValueError):
    """What cannot be exported as asked; the message says what to do."""


class Check(Protocol):
    """What a check in EasyOCR found."""

    def faults(self) -> list[str]:
        """Why the export is not good; empty if it is."""

    def table(self) -> str:
        """For people."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""


@dataclass(frozen=True, slots=True)
class Export:
    """Files that are written, and what may be done with them.

    Attributes:
        places: where each file goes in EasyOCR's folders.
        check: reads or finds with them in EasyOCR.
        note: writes the README anew with what a check found.
        usage: lines of Python.
    """

    places: dict[Path, Path]
    check: Callable[[], Check]
    note: Callable[[str], None]
    usage: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("target", choices=("easyocr",), help="the program to export to")
    parser.add_argument(
        "source",
        metavar="RUN",
        help="the folder of a run of crnnjax or craftjax, an Orbax checkpoint, a .pth or "
        ".safetensors file, or a name",
    )
    parser.add_argument("--name", help="of the network in EasyOCR (default: that of RUN)")
    parser.add_argument("--out", metavar="DIR", help="default: exp/easyocr/NAME")
    parser.add_argument(
        "--force", action="store_true", help="replace files that are there, also with --install"
    )
    parser.add_argument(
        "--install", action="store_true", help="put the files into EasyOCR's folders, too"
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="load the files in a real EasyOCR and compare; exit status 1 and no installation if "
        "it does not give the same, or reads worse than the run does by itself",
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
        help="to check with: a picture or a folder (default: those that the run is judged on)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Exports; returns 1 if EasyOCR does not give the same as ours, or reads worse."""
    source = find_weights(arguments.source)
    name = arguments.name or source.resolve().stem
    folder = Path(arguments.out or Path("exp/easyocr") / name)
    if not arguments.force:
        files = (f"{name}.pth", f"{name}.yaml", f"{name}.py", "README.txt", "check.json")
        taken = [str(folder / file) for file in files if (folder / file).exists()]
        if taken:
            raise ExportError(
                f"{', '.join(taken)}: there already; --force replaces, --out DIR takes another "
                "folder"
            )
    variables = _load(source)
    if "basenet" in variables["params"] or "conv_cls" in variables["params"]:
        export = _export_detector(arguments, source, variables, name, folder)
    else:
        export = _export_recognizer(arguments, source, variables, name, folder)
    written = ", ".join(path.name for path in export.places)
    print(f"{folder}: {written}, README.txt")
    if arguments.check:
        print("reading the same with EasyOCR and with ours ...", flush=True)
        found = export.check()
        print(found.table())
        _write_json(folder / "check.json", found.to_dict())
        faults = found.faults()
        verdict = (
            "EasyOCR does the same as ours with the same input"
            if not faults
            else "NOT GOOD: " + "; ".join(faults)
        )
        export.note(f"Checked: {verdict}.\n\n{found.table()}")
        print(verdict)
        if faults:
            print("not installed" if arguments.install else "do not use it")
            return 1
    if arguments.install:
        install(export.places, force=arguments.force)
        print("installed:", *map(str, export.places.values()), sep="\n  ")
    print(export.usage)
    return 0


def _load(source: Path) -> dict[str, Any]:
    from ocrcore.training.checkpoints import load_variables
    from ocrcore.weights.pth import load_weights

    if source.is_dir():
        return load_variables(source)
    state = load_weights(source)
    if any(key.startswith("basenet.") for key in state):
        from craftjax import convert as craft

        return craft.from_state_dict(state)
    from crnnjax import convert as crnn

    return crnn.from_state_dict(state)[0]


def _export_recognizer(
    arguments: argparse.Namespace,
    source: Path,
    variables: Mapping[str, Any],
    name: str,
    folder: Path,
) -> Export:
    from crnnjax.recognizer import Recognizer
    from ocrjax.easyocr.export_recognizer import check_plugin, write_plugin, write_readme

    config, workdir = _settings(source)
    recognizer = Recognizer.from_weights(source, charset=arguments.charset, height=arguments.height)
    # Before anything is written: the next call would find it in its way.
    crops = []
    if arguments.check:
        sets = _crop_sets(arguments.crops, config, workdir)
        crops = _read_crops(sets, 200 if arguments.count is None else arguments.count)
    plugin = write_plugin(
        folder,
        variables,
        name=name,
        charset=recognizer.charset,
        height=recognizer.height,
        languages=tuple(code for code in arguments.languages.replace(" ", "").split(",") if code),
    )
    networks = network_folder()
    places = {plugin.weights: easyocr_model_folder() / plugin.weights.name}
    places |= {path: networks / path.name for path in plugin.network}

    def check() -> Check:
        return check_plugin(
            plugin,
            recognizer,
            crops,
            python=arguments.easyocr_python,
            accept_worse=arguments.accept_worse,
        )

    return Export(
        places,
        check,
        lambda found: write_readme(plugin, height=recognizer.height, checked=found),
        f'  reader = easyocr.Reader({list(plugin.languages)}, recog_network="{name}")\n'
        '  reader.readtext("photo.jpg")',
    )


def _settings(source: Path) -> tuple[dict[str, Any], Path]:
    """The config of the run that a folder, a checkpoint or a file of weights is of; and its folder.

    Returns:
        An empty config if it is of none.
    """
    for folder in (source, *source.resolve().parents[:2]):
        file = folder / "config.json"
        if not file.is_file():
            continue
        try:
            config = json.loads(file.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise ExportError(f"{file}: not the config of a run: {error}") from error
        # Many programs leave a file of this name.
        if isinstance(config, dict) and isinstance(config.get("data"), dict):
            return config, folder
    return {}, source


def _crop_sets(path: str | None, config: dict[str, Any], workdir: Path) -> list[Sequence[Crop]]:
    """Crops with their texts: of `--crops`, else those by which the run chose its checkpoint."""
    from ml_collections import ConfigDict

    from crnnjax.crop_index import open_crops
    from crnnjax.input_pipeline import InputOptions
    from crnnjax.report import open_sets

    if path is not None:
        place = Path(path)
        if not place.exists():
            raise ExportError(f"--crops {path}: no such file or folder")
        kind = "tsv" if place.is_file() else "lmdb" if (place / "data.mdb").is_file() else "csv"
        return [open_crops(kind, place)]
    sections = (config.get("eval") or {}).get("sets")
    if not sections:
        raise ExportError(f"{workdir}: name crops to check with (--crops PATH)")
    config = {**config, "data": {**config["data"], "charset": str(workdir / "charset.json")}}
    options = InputOptions.from_config(ConfigDict(config))
    return list(open_sets(sections, field="config.eval.sets", options=options).values())


def _read_crops(sets: Sequence[Sequence[Crop]], count: int) -> list[tuple[ByteArray, str]]:
    """Gray crops, evenly from all there are; those that cannot be read are left out."""
    from crnnjax.resize import as_gray, read_gray

    places = [(crops, index) for crops in sets for index in range(len(crops))]
    out = []
    for at in _spread(len(places), count):
        crops, index = places[at]
        try:
            crop = crops[index]
            # Of a file the gray values that EasyOCR reads.
            gray = read_gray(crop.name) if crop.data is None else as_gray(crop.image())
            out.append((gray, crop.text))
        except (ImageError, LabelError) as error:
            print(f"left out: {error}")
    return out


def _export_detector(
    arguments: argparse.Namespace,
    source: Path,
    variables: Mapping[str, Any],
    name: str,
    folder: Path,
) -> Export:
    from craftjax.detector import Detector
    from craftjax.options import DetectorOptions, load_operating_point, operating_point_path
    from ocrjax.easyocr.export_detector import check_detector, write_detector, write_readme

    config, _ = _settings(source)
    options = from_section(DetectorOptions, config.get("detector", {}), "config.detector")
    if operating_point_path(source).is_file():
        options = load_operating_point(operating_point_path(source))
    photos = []
    if arguments.check:
        count = 20 if arguments.count is None else arguments.count
        photos = _photos(arguments.photos, config, source, count)
    weights = write_detector(folder, variables, name=name, options=options)

    def check() -> Check:
        detector = Detector(variables, options=options)
        return check_detector(weights, detector, photos, python=arguments.easyocr_python)

    return Export(
        {weights: easyocr_model_folder() / weights.name},
        check,
        lambda found: write_readme(weights, options, checked=found),
        f"how to use it: {folder / 'README.txt'}",
    )


def _photos(
    path: str | None, config: Mapping[str, Any], source: Path, count: int
) -> list[tuple[str, ByteArray]]:
    """Photos by name, evenly from all there are."""
    from craftjax.evaluate import read_truth

    if path is not None:
        files = find_images([path])
        return [(files[at].name, read_image(files[at])) for at in _spread(len(files), count)]
    if "test" not in config:
        raise ExportError(f"{source}: name photos to check with (--photos PATH)")
    truth = read_truth(config["test"])
    out = []
    for index in _spread(len(truth), count):
        item = truth[index]
        if isinstance(item, Sample):
            out.append((f"page {index}", item.image))
        else:
            out.append((Path(str(item.path)).name, read_image(str(item.path))))
    return out


def _spread(total: int, count: int) -> Sequence[int]:
    """`count` indices of `total`, evenly."""
    if count < 1:
        raise ExportError(f"--count {count}: expected 1 or more")
    return [index * total // min(count, total) for index in range(min(count, total))]


def _write_json(path: Path, value: Any) -> None:
    part = path.with_suffix(".part")
    part.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    part.replace(path)
