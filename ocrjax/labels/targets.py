"""The label formats that can be written: what each can store, and its files."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from ocrcore.data.readers.label_lines import SCRIPTS
from ocrcore.pages import Page
from ocrjax.labels import json_files, other_files, text_files
from ocrjax.labels.carry import CTW_POINTS, Carries

Files = dict[str, bytes]
"""Contents of the files to write, by path relative to the output folder."""


class Target(NamedTuple):
    """A format to write.

    Attributes:
        title: displayed name.
        carries: what the format can store.
        pictures: folder of the images inside the output folder; "." for the folder itself.
        write: returns the label files. Its arguments are the pages, whose `path` is the path of the
            image relative to the output folder, the image files by that path, and the name of the
            output folder.
        kind: `kind` of a config's data set that reads it.
        layout: layout of a text file, if it may be ambiguous.
    """

    title: str
    carries: Carries
    pictures: str
    write: Callable[[Sequence[Page], Mapping[str, Path], str], Files]
    kind: str
    layout: str = ""


def _texts(
    make: Callable[[Page], str], place: str = "gt/gt_{stem}.txt"
) -> Callable[[Sequence[Page], Mapping[str, Path], str], Files]:
    """Files of a format with one text file per image."""
    return lambda pages, files, folder: {
        place.format(stem=_stem(page)): make(page).encode() for page in pages
    }


def _blobs(
    make: Callable[[Page], bytes], place: str
) -> Callable[[Sequence[Page], Mapping[str, Path], str], Files]:
    """Files of a format with one binary file per image."""
    return lambda pages, files, folder: {
        place.format(stem=_stem(page)): make(page) for page in pages
    }


def _json(
    make: Callable[[Sequence[Page]], Any], name: str, **more: str
) -> Callable[[Sequence[Page], Mapping[str, Path], str], Files]:
    """Files of a format with one JSON file."""
    others = {place.replace("__", "."): text.encode() for place, text in more.items()}
    return lambda pages, files, folder: {name: _encoded(make(pages)), **others}


def _encoded(value: Any) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode()


def _stem(page: Page) -> str:
    return PurePosixPath(str(page.path)).stem


def _labelme(pages: Sequence[Page], files: Mapping[str, Path], folder: str) -> Files:
    return {f"{_stem(page)}.json": _encoded(json_files.labelme(page)) for page in pages}


def _via(pages: Sequence[Page], files: Mapping[str, Path], folder: str) -> Files:
    return {"via_project.json": _encoded(json_files.via(pages, _sizes(pages, files)))}


def _via_csv(pages: Sequence[Page], files: Mapping[str, Path], folder: str) -> Files:
    return {"via_export_csv.csv": json_files.via_csv(pages, _sizes(pages, files)).encode()}


def _sizes(pages: Sequence[Page], files: Mapping[str, Path]) -> list[int]:
    """Sizes of the image files in bytes."""
    return [files[str(page.path)].stat().st_size for page in pages]


def _ppocr(pages: Sequence[Page], files: Mapping[str, Path], folder: str) -> Files:
    return {"Label.txt": json_files.ppocr(pages, folder).encode()}


def _doctr(pages: Sequence[Page], files: Mapping[str, Path], folder: str) -> Files:
    return {"labels.json": _encoded(json_files.doctr(pages, files))}


def _hiertext(pages: Sequence[Page], files: Mapping[str, Path], folder: str) -> Files:
    text = json.dumps(json_files.hiertext(pages), ensure_ascii=False)
    return {"gt/train.jsonl.gz": gzip.compress(text.encode(), mtime=0)}


def _cvat(pages: Sequence[Page], files: Mapping[str, Path], folder: str) -> Files:
    return {"annotations.xml": other_files.cvat(pages)}


def _synthtext(pages: Sequence[Page], files: Mapping[str, Path], folder: str) -> Files:
    return {"gt.mat": other_files.synthtext(pages)}


_MARKED = Carries(mark="###")
TARGETS = {
    "icdar2013": Target(
        "ICDAR 2013",
        replace(_MARKED, shape="box"),
        "images",
        _texts(text_files.icdar2013),
        "words",
        "box",
    ),
    "icdar2015": Target(
        "ICDAR 2015",
        replace(_MARKED, shape="quad"),
        "images",
        _texts(text_files.icdar2015),
        "words",
        "quad",
    ),
    "mlt": Target(
        "ICDAR 2017 MLT",
        replace(_MARKED, shape="quad", unknown=False, language=True, languages=SCRIPTS),
        "images",
        _texts(text_files.mlt),
        "words",
        "mlt",
    ),
    "art": Target(
        "ICDAR 2019 ArT",
        replace(_MARKED, unknown=False, language=True),
        "images",
        _json(json_files.art, "train_labels.json"),
        "art",
    ),
    "rctw": Target(
        "RCTW",
        replace(_MARKED, shape="quad", unknown=False),
        "images",
        _texts(text_files.rctw),
        "words",
        "rctw",
    ),
    "td500": Target(
        "MSRA-TD500 in DB's format",
        Carries(shape="quad", text=False),
        "images",
        _texts(text_files.td500),
        "words",
        "td500",
    ),
    "msra-td500": Target(
        "MSRA-TD500",
        Carries(shape="rectangle", text=False),
        "train",
        _texts(text_files.msra_td500, "train/{stem}.gt"),
        "words",
        "msra-td500",
    ),
    "total-text": Target(
        "Total-Text (text)",
        replace(_MARKED, mark="#"),
        "images",
        _texts(text_files.total_text),
        "words",
        "total-text",
    ),
    "total-text-mat": Target(
        "Total-Text (MATLAB)",
        replace(_MARKED, mark="#", unknown=False),
        "images",
        _blobs(other_files.total_text_mat, "gt/poly_gt_{stem}.mat"),
        "total-text-mat",
    ),
    "ctw1500": Target(
        "CTW1500 (text, as in its test set)",
        replace(_MARKED, points=CTW_POINTS, unknown=False),
        "images",
        _texts(text_files.ctw1500),
        "words",
        "polygon",
    ),
    "ctw1500-xml": Target(
        "CTW1500 (XML)",
        replace(_MARKED, points=CTW_POINTS, unknown=False, letters=True),
        "images",
        _blobs(other_files.ctw1500_xml, "gt/{stem}.xml"),
        "ctw1500-xml",
    ),
    "synthtext": Target(
        "SynthText (gt.mat)",
        Carries(shape="quad", marks=(), care=False, characters=True, lines=True),
        "images",
        _synthtext,
        "synthtext",
    ),
    "coco-text": Target(
        "COCO-Text v2",
        Carries(language=True),
        "images",
        _json(json_files.coco_text, "cocotext.v2.json"),
        "coco-text",
    ),
    "textocr": Target(
        "TextOCR",
        Carries(mark=".", unknown=False),
        "images",
        _json(json_files.textocr, "TextOCR_0.1_train.json"),
        "textocr",
    ),
    "hiertext": Target(
        "HierText",
        Carries(unknown=False, lines=True, paragraphs=True),
        "train",
        _hiertext,
        "hiertext",
    ),
    "doctr": Target(
        "docTR, detection",
        Carries(shape="quad", text=False, care=False),
        "images",
        _doctr,
        "doctr",
    ),
    "ppocr": Target(
        "PaddleOCR and PPOCRLabel",
        Carries(mark="###", marks=("###", "*"), unknown=False),
        ".",
        _ppocr,
        "ppocr",
    ),
    "label-studio": Target(
        "Label Studio (JSON)",
        Carries(),
        "images",
        _json(json_files.label_studio, "tasks.json", label_config__xml=json_files.LABEL_CONFIG),
        "label-studio",
    ),
    "label-studio-min": Target(
        "Label Studio (JSON-MIN)",
        Carries(unknown=False),
        "images",
        _json(json_files.label_studio_min, "tasks.json"),
        "label-studio-min",
    ),
    "cvat": Target("CVAT for images 1.1", Carries(letters=True), "images", _cvat, "cvat"),
    "cvat-icdar": Target(
        "CVAT's ICDAR export",
        _MARKED,
        "train/images",
        _texts(text_files.quoted, "train/gt_{stem}.txt"),
        "words",
        "quoted",
    ),
    "labelme": Target("labelme", Carries(empty=False), ".", _labelme, "labelme"),
    "via": Target("VGG Image Annotator", Carries(), ".", _via, "via"),
    "via-csv": Target("VGG Image Annotator (CSV)", Carries(), ".", _via_csv, "via-csv"),
    "datumaro": Target(
        "Datumaro",
        Carries(),
        "images/default",
        _json(json_files.datumaro, "annotations/default.json"),
        "datumaro",
    ),
}
"""Formats by their names for `ocrjax convert-labels --to`."""


def losses(lost: Counter[str]) -> list[str]:
    """Return lines on what a format could not store, the most frequent first."""
    return [f"{count:,} {what}" for what, count in lost.most_common() if count]
