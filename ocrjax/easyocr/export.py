"""Export of a run's network to EasyOCR, with the samples to check it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from craftjax.detector import Detector
from craftjax.options import DetectorOptions, describe_options, options_of
from crnnjax.recognizer import Recognizer, load_recognizer
from ocrcore.files import write_json
from ocrcore.options import from_section
from ocrcore.training.run_folder import RunFolder
from ocrcore.weights.named import easyocr_model_folder
from ocrjax.easyocr import export_detector, export_recognizer
from ocrjax.easyocr.rules import ExportError, network_folder
from ocrjax.easyocr.runner import check_import
from ocrjax.samples import crop_sets, read_crops, read_photos
from ocrjax.weights import load_network

# Options that apply to one network only.
_OF = dict.fromkeys(("languages", "charset", "height", "crops", "accept_worse"), "recognizer")
_OF["photos"] = "detector"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """What to write, and what to check it with.

    Attributes:
        languages: for a recognizer: language codes that an `easyocr.Reader` may ask for.
        charset: for a recognizer: name or file; None: that of the run or the weights.
        height: for a recognizer: height of its crops in pixels; None as for `charset`.
        check: whether `Export.check` will be called; its samples are then read first.
        python: a Python interpreter with EasyOCR; None: this one.
        count: most samples to check with; None: 200 crops or 20 photos.
        crops: for a recognizer: crops to check with, a labels.tsv, a folder with a labels.csv, or
            an LMDB; None: the run's evaluation set.
        photos: for a detector: images and folders to check with; empty: the run's evaluation set.
        accept_worse: accept a lower accuracy in EasyOCR than that of the run.
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
    """The result of a check in EasyOCR."""

    def faults(self) -> list[str]:
        """Return why the export is not good; empty if it is."""

    def table(self) -> str:
        """Return the comparison as text."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""


@dataclass(frozen=True, slots=True)
class Export:
    """The files of an export, and what can be done with them.

    Attributes:
        folder: their folder, with a README.txt.
        places: the target path of each file in EasyOCR's folders.
        usage: lines of Python that use the network.
        compare: runs the files in EasyOCR and compares.
        note: rewrites the README with the result of a check.
    """

    folder: Path
    places: dict[Path, Path]
    usage: str
    compare: Callable[[], Check]
    note: Callable[[str], None]

    def check(self) -> Check:
        """Compare in EasyOCR; write `check.json`, and the verdict into the README.

        Raises:
            EasyOcrError: EasyOCR cannot be run, or cannot load the files.
            ExportError: there are no samples to check with.
        """
        found = self.compare()
        write_json(self.folder / "check.json", found.to_dict())
        self.note(f"Checked: {verdict(found)}.\n\n{found.table()}")
        return found


def verdict(found: Check) -> str:
    """Return the result of a check in one line."""
    if faults := found.faults():
        return "NOT GOOD: " + "; ".join(faults)
    return "EasyOCR and ocrjax agree on the same input"


def export_network(
    source: str | Path,
    folder: str | Path,
    *,
    name: str,
    options: ExportOptions,
    log: Callable[[str], object] = print,
) -> Export:
    """Write a detector or a recognizer as files that EasyOCR loads.

    Args:
        source: a run directory, an Orbax checkpoint, a .pth or a .safetensors file.
        folder: folder for the files; created if needed, files of the same names are replaced.
        name: name of the network in EasyOCR.
        options: what to write, and what to check it with.
        log: called with each human-readable message.

    Raises:
        ExportError: EasyOCR cannot load such a network, or there are no samples to check with.
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
    # Read the samples before writing: files left by a failure would block the next call.
    crops = []
    if options.check:
        sets = crop_sets(options.crops, RunFolder.of(source))
        crops = read_crops(sets, 200 if options.count is None else options.count, log)
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
        photos = read_photos(options.photos, config, source, count)
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
