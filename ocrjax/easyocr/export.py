"""A run's network as files for EasyOCR, with the samples to check it with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from ml_collections import ConfigDict

from craftjax.detector import Detector
from craftjax.evaluate import read_truth
from craftjax.options import DetectorOptions, describe_options, options_of
from crnnjax.crop_index import open_crops
from crnnjax.input_pipeline import InputOptions
from crnnjax.recognizer import Recognizer, load_recognizer
from crnnjax.report import open_sets
from crnnjax.resize import as_gray, read_gray
from ocrcore.data.readers.crops import Crop
from ocrcore.files import write_json
from ocrcore.images import ImageError, find_images, read_image
from ocrcore.options import from_section
from ocrcore.pages import ByteArray, LabelError, Sample
from ocrcore.training.run_folder import RunFolder
from ocrcore.weights.named import easyocr_model_folder
from ocrjax.easyocr import export_detector, export_recognizer
from ocrjax.easyocr.rules import ExportError, network_folder
from ocrjax.easyocr.runner import check_import
from ocrjax.weights import load_network

# Options that mean something for one network alone.
_OF = dict.fromkeys(("languages", "charset", "height", "crops", "accept_worse"), "recognizer")
_OF["photos"] = "detector"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """What to write, and what to check it with.

    Attributes:
        languages: of a recognizer: codes that a Reader may ask for.
        charset: of a recognizer: name or file; None for that of the run or the weights.
        height: of a recognizer's pictures; None as for `charset`.
        check: whether `Export.check` will be called; its samples are then read first.
        python: an interpreter that has EasyOCR; None for this one.
        count: most samples to check with; None for 200 crops or 20 photos.
        crops: of a recognizer, to check with: a labels.tsv, a folder with a labels.csv, or an LMDB;
            None for those that the run is judged on.
        photos: of a detector, to check with: pictures and folders; none as for `crops`.
        accept_worse: a Reader may read worse than the run does by itself.
    """

    languages: tuple[str, ...] = ("en",)
    charset: str | None = None
    height: int | None = None
    check: bool = False
    python: str | None = None
    count: int | None = None
    crops: str | None = None
    photos: tuple[str, ...] = ()
    accept_worse: bool = False


class Check(Protocol):
    """What a check in EasyOCR found."""

    def faults(self) -> list[str]:
        """Why the export is not good; empty if it is."""

    def table(self) -> str:
        """The comparison as text."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""


@dataclass(frozen=True, slots=True)
class Export:
    """Files that were written, and what may be done with them.

    Attributes:
        folder: where they are, with a README.txt.
        places: where each file goes in EasyOCR's folders.
        usage: lines of Python.
        compare: reads or detects with them in EasyOCR.
        note: writes the README with what a check found.
    """

    folder: Path
    places: dict[Path, Path]
    usage: str
    compare: Callable[[], Check]
    note: Callable[[str], None]

    def check(self) -> Check:
        """Compares in EasyOCR; writes `check.json`, and the verdict into the README.

        Raises:
            EasyOcrError: EasyOCR cannot be run, or cannot load the files.
            ExportError: there is nothing to check with.
        """
        found = self.compare()
        write_json(self.folder / "check.json", found.to_dict())
        self.note(f"Checked: {verdict(found)}.\n\n{found.table()}")
        return found


def verdict(found: Check) -> str:
    """One line about what a check found."""
    if faults := found.faults():
        return "NOT GOOD: " + "; ".join(faults)
    return "EasyOCR does the same as ours with the same input"


def export_network(
    source: str | Path,
    folder: str | Path,
    *,
    name: str,
    options: ExportOptions,
    log: Callable[[str], object] = print,
) -> Export:
    """Writes a detector or a recognizer as EasyOCR loads it.

    Args:
        source: the folder of a run, an Orbax checkpoint, a .pth or a .safetensors file.
        folder: takes the files; made as needed, files of the same names are replaced.
        name: of the network in EasyOCR.
        options: what to write, and what to check it with.
        log: called with each human-readable message.

    Raises:
        ExportError: EasyOCR cannot load such a network, or there is nothing to check with.
    """
    source, folder = Path(source), Path(folder)
    network, _, variables, _ = load_network(source)
    for field, default in asdict(ExportOptions()).items():
        if field in _OF and _OF[field] != network and getattr(options, field) != default:
            flag = f"--{field.replace('_', '-')}"
            raise ExportError(f"{flag} has no effect: {source} is a {network}")
    if network == "detector":
        return _export_detector(source, folder, variables, name, options, log)
    return _export_recognizer(source, folder, name, options, log)


def _export_recognizer(
    source: Path,
    folder: Path,
    name: str,
    options: ExportOptions,
    log: Callable[[str], object],
) -> Export:
    loaded = load_recognizer(source, charset=options.charset, height=options.height)
    recognizer = Recognizer(
        loaded.variables, charset=loaded.charset, height=loaded.height, options=loaded.options
    )
    # Before anything is written: the next call would find it in its way.
    crops = []
    if options.check:
        sets = _crop_sets(options.crops, RunFolder.of(source))
        crops = _read_crops(sets, 200 if options.count is None else options.count, log)
        check_import(options.python)
    files = export_recognizer.write_recognizer(
        folder,
        loaded.variables,
        name=name,
        charset=recognizer.charset,
        height=recognizer.height,
        languages=options.languages,
    )
    places = {files.weights: easyocr_model_folder() / files.weights.name}
    places |= {path: network_folder() / path.name for path in files.network}
    return Export(
        folder,
        places,
        f'  reader = easyocr.Reader({list(files.languages)}, recog_network="{name}")\n'
        '  reader.readtext("photo.jpg")',
        lambda: export_recognizer.check_recognizer(
            files,
            recognizer,
            crops,
            python=options.python,
            accept_worse=options.accept_worse,
        ),
        lambda found: export_recognizer.write_readme(
            files, height=recognizer.height, checked=found
        ),
    )


def _export_detector(
    source: Path,
    folder: Path,
    variables: Mapping[str, Any],
    name: str,
    options: ExportOptions,
    log: Callable[[str], object],
) -> Export:
    config = RunFolder.of(source).read_config()
    own = from_section(DetectorOptions, config.get("detector", {}), "config.detector")
    where = str(RunFolder.of(source).config) if config else "EasyOCR's"
    thresholds, where = options_of(source, own, where)
    log(describe_options(thresholds, where))
    photos = []
    if options.check:
        count = 20 if options.count is None else options.count
        photos = _photos(options.photos, config, source, count)
        check_import(options.python)
    weights = export_detector.write_detector(folder, variables, name=name, options=thresholds)
    return Export(
        folder,
        {weights: easyocr_model_folder() / weights.name},
        f"how to use it: {folder / 'README.txt'}",
        lambda: export_detector.check_detector(
            weights, Detector(variables, options=thresholds), photos, python=options.python
        ),
        lambda found: export_detector.write_readme(weights, thresholds, checked=found),
    )


def _crop_sets(path: str | None, run: RunFolder) -> list[Sequence[Crop]]:
    """Crops with their texts: of `--crops`, else those by which the run chose its checkpoint."""
    if path is not None:
        place = Path(path)
        if not place.exists():
            raise ExportError(f"--crops {path}: no such file or folder")
        kind = "tsv" if place.is_file() else "lmdb" if (place / "data.mdb").is_file() else "csv"
        return [open_crops(kind, place)]
    config = run.read_config()
    sections = (config.get("eval") or {}).get("sets")
    if not sections:
        raise ExportError(f"{run.path}: name crops to check with (--crops PATH)")
    config = {**config, "data": {**config["data"], "charset": str(run.charset)}}
    options = InputOptions.from_config(ConfigDict(config))
    return list(open_sets(sections, field="config.eval.sets", options=options).values())


def _read_crops(
    sets: Sequence[Sequence[Crop]], count: int, log: Callable[[str], object]
) -> list[tuple[ByteArray, str]]:
    """Gray crops, evenly from all there are; those that cannot be read are left out."""
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
            log(f"left out: {error}")
    return out


def _photos(
    paths: Sequence[str], config: Mapping[str, Any], source: Path, count: int
) -> list[tuple[str, ByteArray]]:
    """Photos by name, evenly from all there are."""
    if paths:
        files = find_images(list(paths))
        return [(files[at].name, read_image(files[at])) for at in _spread(len(files), count)]
    if not config.get("test"):
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
