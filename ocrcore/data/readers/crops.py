r"""Crops with their texts, for training recognizers.

Three layouts, each with random access to `Crop`:

* LMDB, as in deep-text-recognition-benchmark: `num-samples` is a decimal number, `image-%09d` an
  image file, `label-%09d` its text in UTF-8; numbers start at 1.
* `labels.csv` next to the images, as in EasyOCR's trainer: a first line `filename,words`, then a
  file name, a comma, and the text: everything after the *first* comma, verbatim. Quotes have no
  meaning, so a text may hold commas and quotes, but no line breaks.
* `labels.tsv`: a path, a tab and the text on each line; no header.

If the first line is `filename,photo,words` (with tabs instead of commas in `labels.tsv`), each line
also names the photo that the crop was cut from, before the text.

White space around a text is stripped. Paths must stay below their folder, unless the caller allows
them to lead elsewhere.
"""

from __future__ import annotations

import codecs
import logging
import os
import re
import struct
import threading
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ocrcore.files import check_regular, stays_below
from ocrcore.images import SUFFIXES, decode_image, name_files, read_image
from ocrcore.pages import ByteArray, LabelError

_log = logging.getLogger(__name__)

CSV_NAME = "labels.csv"
CSV_HEADER = "filename,words"
PHOTO_HEADER = "filename,photo,words"
"""Header of files that name the photo of each crop; with tabs in a `labels.tsv`."""
MAX_TEXT_BYTES = 1 << 16
"""Longer texts are treated as an error in the file."""
MAX_FILE_BYTES = 4 << 30
"""Larger label files are rejected."""

# Names that programs use for the columns of paths and texts.
_COLUMNS = re.compile(
    r"(?P<path>(file|image|img|picture|crop)?[ _]?(path|name|file|image|img|picture))s?"
    r"|(?P<text>(.*[ _])?(text|label|word|transcription|truth|gt))s?"
)

_OPEN: weakref.WeakValueDictionary[tuple[int, str], Any] = weakref.WeakValueDictionary()
_LOCK = threading.Lock()


@dataclass(frozen=True, slots=True)
class Crop:
    """An image of a word or a line, and its text.

    Attributes:
        name: path of the image; for an LMDB record, the path of the LMDB and the key.
        text: the text in the image.
        data: the encoded image, if it does not have a file of its own.
        photo: the photo it was cut from, if the labels say so; otherwise empty.
    """

    name: str
    text: str
    data: bytes | None = None
    photo: str = ""

    def image(self) -> ByteArray:
        """Decode the image, `(H, W, 3)` uint8, RGB.

        Raises:
            ImageError: the file is missing or is not an image.
        """
        return (
            read_image(self.name) if self.data is None else decode_image(self.data, name=self.name)
        )


def read_labels_csv(folder: str | Path, *, outside: bool = False) -> list[Crop]:
    """Read a folder with a `labels.csv`, or the folders below it that have one.

    Args:
        folder: holds a `labels.csv` and its images; otherwise it is searched recursively.
        outside: whether file names may lead out of the folder.

    Returns:
        The crops by folder, in the order of their files. The images are not opened.

    Raises:
        LabelError: there is no such file, the header is wrong, a line has no file name, or a name
            leads out of the folder.
    """
    folder = Path(folder)
    files = [folder / CSV_NAME]
    if not files[0].is_file():
        files = sorted(path for path in folder.rglob(CSV_NAME) if path.is_file())
    elif others := [path for path in sorted(folder.glob(f"*/{CSV_NAME}")) if path.is_file()]:
        _log.warning(
            "%s: not used, because %s exists: %s", folder, files[0].name, name_files(others)
        )
    if not files:
        raise LabelError(
            folder, 0, str(folder), f"a folder with a {CSV_NAME} in it or below{_alike(folder)}"
        )
    crops: list[Crop] = []
    for path in files:
        lines = _lines(path)
        number, header = next(lines, (1, ""))
        if header not in (CSV_HEADER, PHOTO_HEADER):
            raise LabelError(path, number, header, f"the header {CSV_HEADER}{_mend(header)}")
        photos = header == PHOTO_HEADER
        for number, line in lines:
            crops.append(_crop(path, number, line, ",", photos=photos, outside=outside))
    _warn_of_others(files, crops)
    return crops


def _alike(folder: Path) -> str:
    """Names a file that was probably meant to be `labels.csv`."""
    found = [path for path in folder.glob("*") if path.suffix.lower() == ".csv"]
    same = [path for path in found if path.name.lower() == CSV_NAME]
    return f" ({(same or found)[0].name} exists: rename it to {CSV_NAME})" if found else ""


def _mend(header: str) -> str:
    """Return how to fix a header that a spreadsheet or script wrote in another way."""
    names = [name.strip(" '\"\t").lower() for name in re.split("[,;\t]", header)]
    if names == CSV_HEADER.split(","):
        return (
            ", exactly so: commas between the fields, and no quotes, spaces or capitals, which "
            "spreadsheets and scripts add"
        )
    if set(CSV_HEADER.split(",")) <= set(names):
        return " and only these two columns, in this order"
    return ""


def _warn_of_others(files: list[Path], crops: list[Crop]) -> None:
    """Warn about images next to the label files that are in no line."""
    used = {os.path.normpath(crop.name) for crop in crops}
    others = [
        entry.path
        for path in files
        for entry in os.scandir(path.parent)
        if entry.name.lower().endswith(SUFFIXES) and os.path.normpath(entry.path) not in used
    ]
    if others:
        _log.warning(
            "%s images next to %s are in none of its lines and are not used: %s",
            f"{len(others):,}",
            name_files(files, most=1),
            name_files(list(map(Path, sorted(others)))),
        )


def read_labels_tsv(
    path: str | Path, *, root: str | Path | None = None, outside: bool = False
) -> list[Crop]:
    """Read lines with a path, a tab and a text.

    A first line with two column names is skipped, with a warning. Paths with backslashes, as
    Windows writes them, are read if such a file exists.

    Args:
        path: path of the file.
        root: the folder that paths are relative to; None uses the folder of the file. PaddleOCR's
            lists often lie elsewhere.
        outside: whether paths may lead out of that folder.

    Returns:
        The crops in the order of the file. The images are not opened.

    Raises:
        LabelError: a line has no tab or path, the first line has more than two columns, or a path
            leads out of the folder.
        OSError: the file cannot be read.
    """
    path = Path(path)
    folder = path.parent if root is None else Path(root)
    crops: list[Crop] = []
    photos = False
    for number, line in _lines(path):
        if number == 1 and line == PHOTO_HEADER.replace(",", "\t"):
            photos = True
        elif number == 1 and _is_header(path, line, folder):
            _log.warning("%s:1: %r is skipped as a line of column names", path, line)
        else:
            crop = _crop(path, number, line, "\t", photos=photos, folder=folder, outside=outside)
            crops.append(crop)
    return crops


def _is_header(path: Path, line: str, folder: Path) -> bool:
    """Return whether a first line names two columns.

    Raises:
        LabelError: there are more columns, or they are in another order.
    """
    columns = [column.strip(" #'\"").lower() for column in line.split("\t")]
    if "\0" in line or len(columns) == 1 or _is_there(folder / line.partition("\t")[0]):
        return False
    if len(columns) > 2:
        raise LabelError(
            path, 1, line, f"two columns, path and text, not {len(columns)}: remove the others"
        )
    paths, texts = (_COLUMNS.fullmatch(column) for column in columns)
    if paths and texts and (paths["text"] or texts["path"]):
        raise LabelError(path, 1, line, "the path first, then a tab and the text")
    return bool(paths and texts)


def import_lmdb() -> Any:
    """Return the module `lmdb`.

    Raises:
        ModuleNotFoundError: it is not installed; the message says what to do.
    """
    try:
        import lmdb
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "LMDB data sets need the package lmdb: pip install 'ocrjax[lmdb]'"
        ) from error
    return lmdb


class LmdbCrops(Sequence[Crop]):
    """The crops of an LMDB in the layout of deep-text-recognition-benchmark, by index from 0.

    It can be pickled (the file is reopened in each process), and read from threads.

    Args:
        path: the folder with `data.mdb`.

    Raises:
        ModuleNotFoundError: the package lmdb is not installed.
        LabelError: not such a database, one that is shorter than it says, or one without a valid
            `num-samples`.

    Attributes:
        note: which records are not used, for the user; empty if all are.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._environment: Any = None
        value = self._get([b"num-samples"])[0] or b""
        if not re.fullmatch(rb"[0-9]{1,9}", value.strip()):
            raise LabelError(
                self.path, 0, f"num-samples: {value[:40]!r}", "a number of up to nine digits"
            )
        self._count = int(value)
        records = _environment(import_lmdb(), self.path).stat()["entries"]
        # Checked before an index of all these crops is made.
        if self._count > records:
            raise LabelError(
                self.path,
                0,
                f"num-samples: {self._count}",
                f"at most the number of records, {records}: was it copied completely?",
            )
        self.note = ""
        if self._get([f"image-{self._count + 1:09d}".encode()])[0] is not None:
            self.note = (
                f"num-samples says {self._count:,}, but there are further crops: they are not used "
                f"({records:,} records; increase num-samples to use them)"
            )

    def __len__(self) -> int:
        return self._count

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_environment": None}

    def __getitem__(self, index: int) -> Crop:  # type: ignore[override]
        """Return the crop at an index.

        Raises:
            IndexError: the index is not in `[0, len)`.
            LabelError: a record is missing, or its text is too long or not UTF-8.
        """
        if not 0 <= index < self._count:
            raise IndexError(f"crop {index} of {self._count}")
        key = f"{index + 1:09d}"
        image, label = self._get([f"image-{key}".encode(), f"label-{key}".encode()])
        if image is None or label is None:
            lost = "image" if image is None else "label"
            raise LabelError(
                self.path,
                0,
                f"no {lost}-{key}",
                f"keys up to number {self._count}, as num-samples says",
            )
        if len(label) > MAX_TEXT_BYTES:
            raise LabelError(
                self.path, 0, f"label-{key}: {len(label)} bytes", f"at most {MAX_TEXT_BYTES}"
            )
        try:
            text = label.decode("utf-8").strip()
        except UnicodeDecodeError as error:
            raise LabelError(self.path, 0, f"label-{key}: {label[:100]!r}", "UTF-8") from error
        return Crop(name=f"{self.path}:image-{key}", text=text, data=image)

    def _get(self, keys: list[bytes]) -> list[bytes | None]:
        lmdb = import_lmdb()
        try:
            if self._environment is None:
                self._environment = _environment(lmdb, self.path)
            with self._environment.begin() as transaction:
                return [transaction.get(key) for key in keys]
        except lmdb.Error as error:
            raise LabelError(self.path, 0, str(error), "an undamaged LMDB") from error


def _environment(lmdb: Any, path: Path) -> Any:
    """Open a database once per process, as LMDB requires."""
    if not (path / "data.mdb").is_file():
        raise LabelError(path, 0, str(path), "a folder with a data.mdb")
    _check_length(path / "data.mdb")
    key = (os.getpid(), str(path.resolve()))
    with _LOCK:
        environment = _OPEN.get(key)
        if environment is None:
            _OPEN[key] = environment = lmdb.open(
                str(path), readonly=True, lock=False, readahead=False, max_readers=32
            )
    return environment


def _check_length(path: Path) -> None:
    """Compare the length of an LMDB with its header: reading past the end kills the process.

    Two headers alternate; the one of the later transaction counts (`MDB_meta` in LMDB's mdb.c).
    """
    size = check_regular(path)
    with path.open("rb") as file:
        head = file.read(160)
        if len(head) < 160 or head[16:20] != b"\xde\xc0\xef\xbe":
            raise LabelError(path, 0, f"{size} bytes, {head[16:20]!r}", "an undamaged LMDB")
        (page,) = struct.unpack_from("<I", head, 40)
        file.seek(page)
        second = file.read(160)
    if page < 256 or page & (page - 1) or len(second) < 160:
        raise LabelError(path, 0, f"{size} bytes", "an LMDB with two headers: is the copy cut off?")
    _, last = max(struct.unpack_from("<QQ", one, 136)[::-1] for one in (head, second))
    if size < (last + 1) * page:
        raise LabelError(
            path,
            0,
            f"{size:,} bytes",
            f"{(last + 1) * page:,} bytes as its header says: the copy is cut off; copy it again",
        )


def _crop(
    path: Path,
    number: int,
    line: str,
    separator: str,
    *,
    photos: bool,
    folder: Path | None = None,
    outside: bool,
) -> Crop:
    """Read one line of two fields, or of three if `photos`."""
    name, found, text = line.partition(separator)
    photo = ""
    if photos:
        photo, found, text = text.partition(separator)
    if not name or not found or (photos and not photo):
        first = "a file name, a comma (csv) or tab,"
        rest = " its photo, another separator," if photos else ""
        raise LabelError(path, number, line, f"{first}{rest} and a text")
    if "\0" in name:
        raise LabelError(path, number, line, "a file name without a zero byte")
    folder = path.parent if folder is None else folder
    if "\\" in name and not _is_there(folder / name):
        other = name.replace("\\", "/")
        name = other if _is_there(folder / other) else name
    if not outside and not stays_below(folder, name):
        raise LabelError(
            path,
            number,
            line,
            f"a path that stays below {folder} (outside=True of the data set allows others)",
        )
    return Crop(name=str(folder / name), text=text.strip(), photo=photo)


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # name too long
        return False


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines that are not blank, with their numbers."""
    size = check_regular(path)
    if size > MAX_FILE_BYTES:
        raise LabelError(path, 0, f"{size} bytes", f"a label file of at most {MAX_FILE_BYTES}")
    with path.open("rb") as file:
        number = 0
        # A file without a line break within this limit is not a label file.
        while raw := file.readline(MAX_TEXT_BYTES + 1):
            number += 1
            if number == 1 and raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                raise LabelError(
                    path, 0, "UTF-16 (Unicode text from Excel)", "UTF-8: save it as CSV UTF-8"
                )
            if len(raw) > MAX_TEXT_BYTES:
                raise LabelError(path, number, "a long line", f"at most {MAX_TEXT_BYTES} bytes")
            try:
                line = raw.decode("utf-8")
            except UnicodeDecodeError as error:
                shown = raw.decode("utf-8", "backslashreplace").strip()
                raise LabelError(path, number, shown, "UTF-8") from error
            line = line.removeprefix("\ufeff").rstrip("\r\n")
            if line.strip():
                yield number, line
