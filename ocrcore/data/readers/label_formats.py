"""Label files of all formats: detects the format of a file or folder, and reads it.

`find_formats` detects the format from the content of the files; `read_labels` reads what one or
many files of a format say about images. Text files with one word per line, like ICDAR's, are not
among these formats: their layouts are detected by `ocrcore.data.readers.layouts`, from whole
folders.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ocrcore.data.readers.alto import read_alto
from ocrcore.data.readers.art import read_art
from ocrcore.data.readers.coco_text import read_coco_text, read_textocr
from ocrcore.data.readers.ctw1500 import read_ctw1500
from ocrcore.data.readers.cvat import read_cvat
from ocrcore.data.readers.datumaro import read_datumaro
from ocrcore.data.readers.doctr import read_doctr
from ocrcore.data.readers.documents import (
    LabeledPicture,
    read_json,
    read_text,
    read_xml,
)
from ocrcore.data.readers.hiertext import read_hiertext
from ocrcore.data.readers.hocr import read_hocr
from ocrcore.data.readers.label_studio import read_label_studio, read_label_studio_min
from ocrcore.data.readers.labelme import read_labelme
from ocrcore.data.readers.mat import read_cells
from ocrcore.data.readers.page_xml import read_page_xml
from ocrcore.data.readers.ppocr import read_ppocr
from ocrcore.data.readers.total_text import VARIABLES, read_total_text
from ocrcore.data.readers.via import read_via, read_via_csv
from ocrcore.files import check_regular
from ocrcore.pages import LabelError

Reader = Callable[[Path, Any, Counter[str]], Iterator[LabeledPicture]]


class Format(NamedTuple):
    """A format of label files.

    Attributes:
        title: the name shown to users.
        form: "json", "xml", "text", "csv" or "mat": how a file is parsed before `read` gets it.
        read: yields the labels of each image in a file.
        unit: what a file contains, in the plural.
        single: whether there is one file per image.
    """

    title: str
    form: str
    read: Reader
    unit: str = "images"
    single: bool = False


FORMATS = {
    "label-studio": Format("Label Studio export (JSON)", "json", read_label_studio, "tasks"),
    "label-studio-min": Format(
        "Label Studio export (JSON-MIN)", "json", read_label_studio_min, "tasks"
    ),
    "cvat": Format("CVAT for images 1.1 (XML)", "xml", read_cvat),
    "labelme": Format("labelme", "json", read_labelme, single=True),
    "via": Format("VGG Image Annotator", "json", read_via),
    "via-csv": Format("VGG Image Annotator (CSV)", "csv", read_via_csv),
    "datumaro": Format("Datumaro", "json", read_datumaro, "items"),
    "ppocr": Format("PaddleOCR or PPOCRLabel (Label.txt)", "text", read_ppocr),
    "coco-text": Format("COCO-Text v2", "json", read_coco_text),
    "textocr": Format("TextOCR", "json", read_textocr),
    "hiertext": Format("HierText", "json", read_hiertext),
    "doctr": Format("docTR, detection", "json", read_doctr),
    "art": Format("ICDAR 2019 ArT", "json", read_art),
    "ctw1500-xml": Format("CTW1500 (XML)", "xml", read_ctw1500, single=True),
    "total-text-mat": Format("Total-Text (MATLAB)", "mat", read_total_text, single=True),
    "hocr": Format("hOCR", "text", read_hocr, "pages", single=True),
    "alto": Format("ALTO", "xml", read_alto, "pages", single=True),
    "page": Format("PAGE XML", "xml", read_page_xml, "pages", single=True),
}
"""Formats by the name that configs and commands use."""
_SUFFIXES = {
    "json": (".json", ".jsonl", ".gz"),
    "xml": (".xml",),
    "text": (".txt", ".hocr", ".html", ".htm", ".xhtml"),
    "csv": (".csv",),
    "mat": (".mat",),
}
_DEPTH = 2  # depth of the search for label files in subfolders
_LOOKED_AT = 3  # files of a folder that are read to detect the format of all
_ROOTS = {"annotations": "cvat", "Annotations": "ctw1500-xml", "alto": "alto", "PcGts": "page"}


@dataclass(slots=True)
class Labels:
    """The content of label files.

    Attributes:
        format: name of the format.
        pictures: the labels of each image.
        files: the files that were read.
        bad: errors of files that cannot be read.
        notes: counts of skipped items, by description.
    """

    format: str
    pictures: list[LabeledPicture] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    bad: list[LabelError] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        """Return a description for the user: the format, and counts."""
        words = [word for one in self.pictures for word in one.words]
        silent = sum(word.care and not word.text for word in words)
        ignored = sum(not word.care for word in words)
        parts = [
            f"{len(words):,} words",
            *([f"{silent:,} without text"] if silent else []),
            *([f"{ignored:,} don't care"] if ignored else []),
        ]
        known = FORMATS[self.format]
        files = f" in {len(self.files):,} files" if len(self.files) > 1 else ""
        text = f"{known.title}, {len(self.pictures):,} {known.unit}{files}, {'; '.join(parts)}"
        notes = [f"{count:,} {what}" for what, count in self.notes.items() if count]
        return "; ".join([text, *notes])


class FoundFormat(NamedTuple):
    """A detected format, its files, and the parsed content of the first file."""

    name: str
    files: list[Path]
    data: Any


def find_formats(path: Path, *, wanted: str = "auto") -> list[FoundFormat]:
    """Detect which formats a file, or the files of a folder, have.

    Args:
        path: a file, or a folder; subfolders are searched two levels deep.
        wanted: only this format; "auto": all.

    Returns:
        The formats found, each with its files; empty if none was found. In formats with many
        images per file, each file is a candidate of its own.

    Raises:
        LabelError: a file given as `path` cannot be read.
    """
    if path.is_file():
        name, data = format_of(path)
        if not name and wanted != "auto" and _may_be(path, FORMATS[wanted]):
            name = wanted  # a file without words does not reveal its format
        return [FoundFormat(name, [path], data)] if name and wanted in ("auto", name) else []
    found: list[FoundFormat] = []
    vague: list[Path] = []
    for files in _candidates(path):
        single = [_tried(one) for one in _sample(files)]
        names = {name for name, _ in single if name}
        for name in sorted(names):
            if wanted not in ("auto", name):
                continue
            if FORMATS[name].single:
                found.append(FoundFormat(name, files, None))
                continue
            for one in files:
                got, data = _tried(one)
                if got == name:
                    found.append(FoundFormat(name, [one], data))
        if not names and wanted != "auto":
            vague += [one for one in files if _may_be(one, FORMATS[wanted])]
    if vague and not found and (len(vague) == 1 or FORMATS[wanted].single):
        return [FoundFormat(wanted, vague, None)]
    return _merged(found)


def _may_be(path: Path, known: Format) -> bool:
    return path.suffix.lower() in _SUFFIXES[known.form]


def _merged(found: list[FoundFormat]) -> list[FoundFormat]:
    """Join the files of formats with one file per image, also across folders."""
    out: list[FoundFormat] = []
    for one in found:
        place = next((i for i, other in enumerate(out) if other.name == one.name), None)
        if place is not None and FORMATS[one.name].single:
            out[place] = FoundFormat(one.name, [*out[place].files, *one.files], None)
        else:
            out.append(one)
    return out


def _sample(files: list[Path]) -> list[Path]:
    step = max(1, -(-len(files) // _LOOKED_AT))
    return files if len(files) <= 2 * _LOOKED_AT else files[::step]


def _tried(path: Path) -> tuple[str, Any]:
    with contextlib.suppress(LabelError, OSError):
        return format_of(path)
    return "", None


def _candidates(root: Path) -> Iterator[list[Path]]:
    """Yield groups of files of one folder and type that may hold labels, sorted by name."""
    level = [root]
    for _ in range(_DEPTH + 1):
        inside: list[Path] = []
        for folder in level:
            groups: dict[str, list[Path]] = {}
            try:
                with os.scandir(folder) as entries:
                    for entry in sorted(entries, key=lambda one: one.name):
                        if entry.name.startswith("."):
                            continue
                        if entry.is_dir():
                            inside.append(folder / entry.name)
                            continue
                        suffix = Path(entry.name).suffix.lower()
                        form = next((k for k, v in _SUFFIXES.items() if suffix in v), "")
                        if form == "text" and suffix == ".txt":
                            form = "lines"
                        if form:
                            groups.setdefault(form, []).append(folder / entry.name)
            except OSError:
                continue
            # Text files with words are many; PaddleOCR's list is a single file among few.
            if len(groups.get("lines", ())) > 2 * _LOOKED_AT:
                lines = groups.pop("lines")
                groups["lines"] = [one for one in lines if one.name == "Label.txt"]
            yield from (files for files in groups.values() if files)
        level = inside


def format_of(path: Path) -> tuple[str, Any]:
    """Detects the format of one file from its content, and parses it; "" if unknown.

    Raises:
        LabelError: the file cannot be parsed as its name or its first bytes suggest.
        OSError: the file cannot be read.
    """
    check_regular(path)
    with path.open("rb") as file:
        head = file.read(4096)
    suffix = path.suffix.lower()
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if suffix == ".mat":
        known = read_cells(path, (*VARIABLES, "imnames"))
        return ("total-text-mat" if known.keys() & set(VARIABLES) else "", None)
    if suffix in (".hocr", ".html", ".htm", ".xhtml") or b"ocr_page" in head:
        text = read_text(path)
        return ("hocr" if "ocr_page" in text else "", text)
    if start.startswith(b"<"):
        tree = read_xml(path)
        if tree.tag == "html":
            text = read_text(path)
            return ("hocr" if "ocr_page" in text else "", text)
        return _ROOTS.get(tree.tag, ""), tree
    if suffix in _SUFFIXES["json"] or start[:1] in (b"{", b"["):
        data = read_json(path)
        return _json_format(data), data
    if start.removeprefix(b"#").startswith(b"filename,file_size,"):
        return "via-csv", read_text(path)
    if b'\t[{"' in head or b"\t[]" in head or b"\t[{'" in head:
        return "ppocr", read_text(path)
    return "", None


def _json_format(data: Any) -> str:
    if isinstance(data, list):
        first = next((one for one in data if isinstance(one, dict)), None)
        if first is None:
            return ""
        if isinstance(first.get("data"), dict) and (
            {"annotations", "completions", "predictions"} & first.keys()
        ):
            return "label-studio"
        if "annotation_id" in first or any(_has_regions(one) for one in data[:100]):
            return "label-studio-min"
        return ""
    if not isinstance(data, dict):
        return ""
    if "shapes" in data and ("imagePath" in data or "imageData" in data):
        return "labelme"
    if "_via_img_metadata" in data:
        return "via"
    if "items" in data and "categories" in data:
        return "datumaro"
    if "imgs" in data and "anns" in data:
        words = data["anns"].values() if isinstance(data["anns"], dict) else ()
        first = next((one for one in words if isinstance(one, dict)), None)
        if first is None:
            return ""
        return "textocr" if "points" in first else "coco-text"
    if isinstance(data.get("annotations"), list):
        first = next((one for one in data["annotations"] if isinstance(one, dict)), {})
        return "hiertext" if "paragraphs" in first else ""
    if isinstance(data.get("data"), dict) and "annotations" in data:
        return "label-studio"
    return _by_values(list(data.values())[:100])


def _by_values(values: list[Any]) -> str:
    """Detect the format of an object with an entry for each image."""
    objects = [one for one in values if isinstance(one, dict)]
    if objects and all("polygons" in one or "typed_words" in one for one in objects):
        return "doctr"
    if objects and all("regions" in one and "filename" in one for one in objects):
        return "via"
    lists = [one for one in values if isinstance(one, list)]
    words = [word for one in lists for word in one[:1]]
    if words and all(isinstance(one, dict) and "points" in one for one in words):
        return "art"
    return ""


def _has_regions(task: Any) -> bool:
    return isinstance(task, dict) and any(
        isinstance(value, list)
        and bool(value)
        and isinstance(value[0], dict)
        and "original_width" in value[0]
        for value in task.values()
    )


def read_labels(found: FoundFormat) -> Labels:
    """Read the label files of a format.

    If there are several files, one that cannot be read is recorded as bad; if it is the only one,
    its error is raised.

    Raises:
        LabelError: the only file cannot be read.
        OSError: a file cannot be read.
    """
    known = FORMATS[found.name]
    labels = Labels(found.name)
    for place, path in enumerate(found.files):
        try:
            data = found.data if place == 0 and found.data is not None else _data(path, known.form)
            labels.pictures += known.read(path, data, labels.notes)
            labels.files.append(path)
        except LabelError as error:
            if len(found.files) == 1:
                raise
            labels.bad.append(error)
    return labels


def _data(path: Path, form: str) -> Any:
    readers: dict[str, Callable[[Path], Any]] = {
        "json": read_json,
        "xml": read_xml,
        "text": read_text,
        "csv": read_text,
    }
    read = readers.get(form)
    return None if read is None else read(path)
