"""Labeled crops in the formats of recognizers: read, written, or cut from pages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from crnnjax.crop_index import KINDS, PPOCR_NAME, open_crops
from ocrcore.data.readers.crops import CSV_HEADER, CSV_NAME, Crop, import_lmdb
from ocrcore.files import json_line, new_folder, write_bytes, write_text
from ocrcore.image_headers import kind_of
from ocrcore.images import ImageError, encode_image, read_bytes, read_image
from ocrcore.pages import LabelError, Page
from ocrcore.progress import shown
from ocrcore.synth.crops import cut

CROP_KINDS = tuple(kind for kind in KINDS if kind != "auto")


class CropTarget(NamedTuple):
    """A format of crops to write.

    Attributes:
        title: displayed name.
        pictures: folder of the crop files inside the output folder.
        kind: `kind` of a config's data set that reads it.
        path: the file to read; "" for the folder.
    """

    title: str
    pictures: str
    kind: str
    path: str = ""


CROP_TARGETS = {
    "easyocr-csv": CropTarget("EasyOCR's labels.csv", ".", "csv"),
    "ppocr-rec": CropTarget("PaddleOCR's rec_gt.txt", "crop_img", "tsv", PPOCR_NAME),
    "doctr-rec": CropTarget("docTR, recognition", "images", "doctr"),
    "trdg": CropTarget("TextRecognitionDataGenerator", ".", "trdg"),
    "lmdb": CropTarget("LMDB of deep-text-recognition-benchmark", "", "lmdb"),
}
"""Formats by their names for `ocrjax convert-labels --to`."""
_MAP = 1 << 40  # largest size of an LMDB in bytes; the file only takes the size of its content
_BATCH = 1000


def read_crops(path: Path, kind: str) -> tuple[Iterator[Crop], int]:
    """Open a set of crops; see `crnnjax.crop_index.open_crops`."""
    crops = open_crops(kind, path, outside=False)
    return iter(crops[index] for index in range(len(crops))), len(crops)


def cut_crops(pages: Sequence[Page], lost: Counter[str], bad: list[Exception]) -> Iterator[Crop]:
    """Cut crops of the words that count and have a text.

    Args:
        pages: pages with the paths of their images.
        lost: counts the words that are not cut, by reason.
        bad: collects the errors of images that cannot be read.
    """
    for page in shown(pages, "cutting words", unit="page"):
        try:
            image = read_image(str(page.path))
        except ImageError as error:
            bad.append(error)
            continue
        for place, word in enumerate(page.words):
            if not (word.care and word.text):
                lost["words without text or don't care"] += 1
                continue
            low, high = word.quad.min(axis=0), word.quad.max(axis=0)
            sides = word.quad[3] - word.quad[0]
            tall = max(1, round(float((sides**2).sum() ** 0.5)))
            if (high <= 0).any() or (low >= (page.width, page.height)).any() or tall > page.height:
                lost["words outside the image"] += 1
                continue
            lost["polygons cut as their enclosing rectangle"] += word.polygon is not None
            crop = cut(image, word.quad, height=tall)
            yield Crop(
                f"{Path(str(page.path)).stem}_{place}.png",
                word.text,
                encode_image(crop, suffix=".png"),
            )


def write_crops(crops: Iterable[Crop], out: Path, target: str, bad: list[Exception]) -> int:
    """Write crops in a format into a new folder, atomically.

    Args:
        crops: the labeled crops.
        out: the folder; it must not exist, or be empty.
        target: one of `CROP_TARGETS`.
        bad: collects the errors of unreadable crops and of texts that the format cannot store.

    Returns:
        The number of crops written.

    Raises:
        ModuleNotFoundError: the package lmdb is not installed.
        OSError: the folder cannot be written.
    """
    form = CROP_TARGETS[target]
    if out.is_dir() and not any(out.iterdir()):
        out.rmdir()
    with new_folder(out, marker=form.path or CSV_NAME) as part:
        part.chmod(0o755)
        if target == "lmdb":
            return _write_lmdb(_readable(crops, bad), part)
        lines: list[tuple[str, str]] = []
        for number, (crop, data) in enumerate(_readable(crops, bad)):
            text = crop.text.strip()
            if any(letter in text for letter in "\r\n") or (target == "trdg" and not text):
                bad.append(LabelError(crop.name, 0, text, f"a single-line text for {target}"))
                continue
            name = f"{number:08d}{_suffix(data)}"
            write_bytes(part / form.pictures / name, data)
            lines.append((name, text))
        _write_list(lines, part, target)
        return len(lines)


def _readable(crops: Iterable[Crop], bad: list[Exception]) -> Iterator[tuple[Crop, bytes]]:
    for crop in crops:
        try:
            data = crop.data if crop.data is not None else read_bytes(crop.name)
        except (ImageError, LabelError) as error:
            bad.append(error)
            continue
        yield crop, data


def _suffix(data: bytes) -> str:
    kind = kind_of(data[:16])
    return {"jpeg": ".jpg", "": ".png"}.get(kind or "", f".{kind}")


def _write_list(lines: list[tuple[str, str]], part: Path, target: str) -> None:
    makers: dict[str, Callable[[], tuple[str, str]]] = {
        "easyocr-csv": lambda: (
            CSV_NAME,
            f"{CSV_HEADER}\n" + "".join(f"{name},{text}\n" for name, text in lines),
        ),
        "ppocr-rec": lambda: (
            PPOCR_NAME,
            "".join(f"crop_img/{name}\t{text}\n" for name, text in lines),
        ),
        "doctr-rec": lambda: ("labels.json", json_line(dict(lines)) + "\n"),
        "trdg": lambda: ("labels.txt", "".join(f"{name} {text}\n" for name, text in lines)),
    }
    name, text = makers[target]()
    write_text(part / name, text)


def _write_lmdb(crops: Iterator[tuple[Crop, bytes]], part: Path) -> int:
    """Write records `image-000000001` and `label-000000001`, and `num-samples`."""
    count = 0
    with import_lmdb().open(str(part), map_size=_MAP) as environment:
        cache: list[tuple[bytes, bytes]] = []
        for crop, data in crops:
            count += 1
            cache += [
                (f"image-{count:09d}".encode(), data),
                (f"label-{count:09d}".encode(), crop.text.strip().encode()),
            ]
            if count % _BATCH == 0:
                _put(environment, cache)
                cache = []
        _put(environment, [*cache, (b"num-samples", str(count).encode())])
    (part / "lock.mdb").unlink(missing_ok=True)
    return count


def _put(environment: object, records: list[tuple[bytes, bytes]]) -> None:
    with environment.begin(write=True) as transaction:  # type: ignore[attr-defined]
        for key, value in records:
            transaction.put(key, value)
