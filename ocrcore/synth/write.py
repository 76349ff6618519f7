"""Writers of data sets: numbered samples in, files that other trainers can read out.

Every writer has `add(index, image, label)`, `commit()`, `finish()` and `close()`. `image` is an
encoded image, `label` a `Page` or a text. Samples survive a kill once `commit` has returned. A
writer that is opened with `done=N` continues after N committed samples and makes the same files as
one that was never interrupted.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import scipy.io
from array_record.python.array_record_module import ArrayRecordWriter

from ocrcore.data.readers.arrayrecord import SUFFIX, encode_record
from ocrcore.data.readers.crops import CSV_HEADER, CSV_NAME, import_lmdb
from ocrcore.data.readers.icdar import DONT_CARE, write_icdar
from ocrcore.files import replacing, system_errors, write_bytes
from ocrcore.pages import Page, Word

PAGE_FORMATS = ("icdar", "synthtext", "arrayrecord")
CROP_FORMATS = ("crops-lmdb", "crops-csv")
FORMATS = ("icdar", "synthtext", "crops-lmdb", "crops-csv", "arrayrecord")
MAX_SYNTHTEXT = 1_000_000
"""Maximum number of images in one `gt.mat`: its cell arrays are limited to 4 GB."""
PAGES = "pages.jsonl"
"""The file with all labels of `icdar` and `synthtext`, without loss."""
_MAP_SIZE = 64 << 20
_MAT_HEADER = b"MATLAB 5.0 MAT-file, labels in the layout of SynthText".ljust(116)


class Writer(Protocol):
    """The interface of all writers."""

    def add(self, index: int, image: bytes, label: Page | str) -> None:
        """Add a sample; indices come in order and without gaps."""

    def commit(self) -> None:
        """Make all added samples persistent."""

    def finish(self) -> None:
        """Write what needs all samples; called after the last commit."""

    def close(self) -> None:
        """Discard what was not committed."""


def open_writer(
    kind: str, folder: str | Path, *, count: int, records_per_file: int, suffix: str, done: int = 0
) -> Writer:
    """Open a writer.

    Args:
        kind: one of `FORMATS`.
        folder: the folder to write to.
        count: total number of samples.
        records_per_file: number of samples between two commits.
        suffix: suffix of the image files: ".jpg" or ".png".
        done: number of samples committed by an earlier run.

    Raises:
        ModuleNotFoundError: `crops-lmdb` without the package lmdb.
        ValueError: an unknown kind, or files of the earlier run are missing.
    """
    folder = Path(folder)
    if kind == "icdar":
        return IcdarWriter(folder, suffix=suffix, done=done)
    if kind == "synthtext":
        return SynthTextWriter(folder, suffix=suffix, done=done)
    if kind == "crops-lmdb":
        return LmdbWriter(folder, done=done)
    if kind == "crops-csv":
        return CsvWriter(folder, suffix=suffix)
    if kind == "arrayrecord":
        return RecordWriter(folder, count=count, records_per_file=records_per_file)
    raise ValueError(f"format {kind!r}: expected one of {', '.join(FORMATS)}")


class IcdarWriter:
    """`images/NNNNNNN.jpg`, `gt/gt_NNNNNNN.txt` (ICDAR 2015), and `pages.jsonl` with everything.

    The ICDAR format has no fractions, polygons and characters: corners are rounded to whole pixels,
    because most readers accept nothing else, and "don't care" words are written as `###`.
    """

    def __init__(
        self, folder: Path, *, suffix: str, done: int = 0, lines: Path | None = None
    ) -> None:
        self.folder, self.suffix = folder, suffix
        self._pages = _PageLines(folder / PAGES, done) if lines is None else _PieceLines(lines)

    def add(self, index: int, image: bytes, label: Page | str) -> None:
        """Write the two files of a page."""
        assert isinstance(label, Page)
        name = f"{index:07d}{self.suffix}"
        write_bytes(self.folder / "images" / name, image)
        write_icdar(self.folder / "gt" / f"gt_{index:07d}.txt", icdar_page(label))
        self._pages.add(replace(label, path=f"images/{name}"))

    def commit(self) -> None:
        """Append to `pages.jsonl`."""
        self._pages.commit()

    def finish(self) -> None:
        """Nothing is left to do."""

    def close(self) -> None:
        """Nothing is open."""


def icdar_page(page: Page) -> Page:
    """Return what an ICDAR 2015 file can hold of a page; a text `###` becomes "don't care"."""
    words = []
    for word in page.words:
        care = word.care and word.text not in DONT_CARE
        words.append(Word(quad=np.rint(word.quad), text=word.text if care else None, care=care))
    return page.with_words(words)


class SynthTextWriter:
    """`images/NNNN/NNNNNNN.jpg` and a `gt.mat` like SynthText's; and `pages.jsonl`.

    SynthText has no "don't care": such words are labeled like the others, because a trainer that
    mines hard negatives would punish the detector for every one that it finds. `pages.jsonl` marks
    them.
    """

    def __init__(
        self, folder: Path, *, suffix: str, done: int = 0, lines: Path | None = None
    ) -> None:
        self.folder, self.suffix = folder, suffix
        self._pages = _PageLines(folder / PAGES, done) if lines is None else _PieceLines(lines)

    def add(self, index: int, image: bytes, label: Page | str) -> None:
        """Write the image of a page."""
        assert isinstance(label, Page)
        name = f"images/{index // 1000:04d}/{index:07d}{self.suffix}"
        write_bytes(self.folder / name, image)
        self._pages.add(replace(label, path=name))

    def commit(self) -> None:
        """Append to `pages.jsonl`."""
        self._pages.commit()

    def finish(self) -> None:
        """Write `gt.mat` from `pages.jsonl`."""
        write_gt_mat(self.folder / "gt.mat", self._pages.read())

    def close(self) -> None:
        """Nothing is open."""


def write_gt_mat(path: str | Path, pages: Iterator[Page] | list[Page]) -> None:
    """Write labels in the layout of SynthText's `gt.mat`, atomically.

    An entry of `txt` is a line: its words separated by spaces. Boxes are float32. `charBB` has one
    box per code point: the box of a character with several code points is repeated.

    Args:
        path: the file to write.
        pages: pages with the paths of their images relative to the file's folder.

    Raises:
        ValueError: a page without path, a word without text or characters, or characters that do
            not spell the word.
    """
    names: list[str] = []
    texts, characters, words = [], [], []
    for page in pages:
        if page.path is None:
            raise ValueError(f"{path}: page {len(names)} has no path")
        lines: list[list[str]] = []
        before: Word | None = None
        quads = []
        for word in page.words:
            joined = "".join(c.text for c in word.characters)
            if word.text is None or joined != word.text or joined.split() != [joined]:
                raise ValueError(
                    f"{path}: {page.path}: word {word.text!r} has characters "
                    f"{[c.text for c in word.characters]}, expected those of a text without spaces"
                )
            if before is None or word.line is None or word.line != before.line:
                lines.append([])
            lines[-1].append(word.text)
            quads += [c.quad for c in word.characters for _ in c.text]
            before = word
        names.append(page.path)
        texts.append(np.array([" ".join(line) for line in lines], np.str_))
        characters.append(np.array(quads, np.float32).reshape(-1, 4, 2).transpose(2, 1, 0))
        words.append(page.quads.transpose(2, 1, 0))
    values: dict[str, list[Any]] = {
        "imnames": names,
        "txt": texts,
        "charBB": characters,
        "wordBB": words,
    }
    with replacing(path) as part, part.open("w+b") as file:
        scipy.io.savemat(file, {name: _cells(cells) for name, cells in values.items()})
        file.seek(0)
        file.write(_MAT_HEADER)  # scipy's header holds the date, so equal sets would differ


def _cells(values: list[Any]) -> np.ndarray:
    cells = np.empty((1, len(values)), object)
    for index, value in enumerate(values):
        cells[0, index] = value
    return cells


class LmdbWriter:
    """An LMDB in the layout of deep-text-recognition-benchmark (`ocrcore.data.readers.crops`)."""

    def __init__(self, folder: Path, *, done: int = 0, map_size: int = _MAP_SIZE) -> None:
        self._lmdb = import_lmdb()
        folder.mkdir(parents=True, exist_ok=True)
        self._environment = self._lmdb.open(str(folder), map_size=map_size)
        self._waiting: list[tuple[bytes, bytes]] = []
        self._count = done

    def add(self, index: int, image: bytes, label: Page | str) -> None:
        """Buffer a crop until the next commit."""
        assert isinstance(label, str)
        check_text(label)
        self._waiting.append((f"image-{index + 1:09d}".encode(), image))
        self._waiting.append((f"label-{index + 1:09d}".encode(), label.encode("utf-8")))
        self._count = index + 1

    def commit(self) -> None:
        """Write the buffered crops in one transaction; the file grows as needed."""
        while True:
            try:
                with self._environment.begin(write=True) as transaction:
                    for key, value in self._waiting:
                        transaction.put(key, value)
                    transaction.put(b"num-samples", str(self._count).encode())
                break
            except self._lmdb.MapFullError:
                self._environment.set_mapsize(2 * self._environment.info()["map_size"])
        self._waiting.clear()

    def finish(self) -> None:
        """Nothing is left to do."""

    def close(self) -> None:
        """Close the database."""
        self._environment.close()


class CsvWriter:
    """Folders `NNNNNNN/` of crops with a `labels.csv` each, as EasyOCR's trainer reads them.

    A folder is named after its first crop. The text follows the first comma verbatim, without
    quotes: the trainer splits there and does not parse quotes.

    Args:
        folder: the folder to write to.
        suffix: suffix of the image files.
        attempt: distinguishes the temporary files of writers that work at the same time; empty:
            there is only one, so leftovers of a killed one are removed.
    """

    def __init__(self, folder: Path, *, suffix: str, attempt: str = "") -> None:
        self.folder, self.suffix, self._attempt = folder, suffix, attempt
        self._target: Path | None = None
        self._lines: list[str] = []
        for part in [] if attempt else folder.glob("*.part"):
            if part.is_dir():
                shutil.rmtree(part)

    def add(self, index: int, image: bytes, label: Page | str) -> None:
        """Write the image of a crop."""
        assert isinstance(label, str)
        check_text(label)
        if self._target is None:
            self._target = self.folder / f"{index:07d}"
            self._part.mkdir(parents=True)
            self._lines = [CSV_HEADER]
        name = f"{index:07d}{self.suffix}"
        (self._part / name).write_bytes(image)
        self._lines.append(f"{name},{label}")

    def commit(self) -> None:
        """Write `labels.csv` and rename the folder to its final name."""
        if self._target is None:
            return
        (self._part / CSV_NAME).write_bytes("".join(f"{x}\n" for x in self._lines).encode("utf-8"))
        try:
            self._part.rename(self._target)
        except OSError:
            if not (self._target / CSV_NAME).is_file():
                raise
            shutil.rmtree(
                self._part
            )  # committed before, but killed before that was recorded; or by another
        self._target = None

    def finish(self) -> None:
        """Nothing is left to do."""

    def close(self) -> None:
        """Remove what was not committed."""
        if self._target is not None:
            shutil.rmtree(self._part, ignore_errors=True)
            self._target = None

    @property
    def _part(self) -> Path:
        assert self._target is not None
        return self._target.with_name(f"{self._target.name}{self._attempt}.part")


def records_name(number: int, files: int) -> str:
    """Return the name of a file of records."""
    return f"data-{number:05d}-of-{files:05d}{SUFFIX}"


class RecordWriter:
    """Files `data-NNNNN-of-NNNNN.arrayrecord`, read by `ocrcore.data.readers.arrayrecord`.

    Labels must be pages, not texts: a crop is a page of one word.

    Args:
        folder: the folder to write to.
        count: total number of samples.
        records_per_file: number of samples per file.
        attempt: as for `CsvWriter`.
    """

    def __init__(
        self, folder: Path, *, count: int, records_per_file: int, attempt: str = ""
    ) -> None:
        self.folder, self.records_per_file = folder, records_per_file
        self.files = -(-count // records_per_file)
        self._attempt = attempt
        self._file: RecordFile | None = None

    def add(self, index: int, image: bytes, label: Page | str) -> None:
        """Add a record to its file."""
        assert isinstance(label, Page)
        if self._file is None:
            name = records_name(index // self.records_per_file, self.files)
            self._file = RecordFile(self.folder / name, self._attempt)
        self._file.write(encode_record(image, label))

    def commit(self) -> None:
        """Close the file and rename it to its final name."""
        if self._file is not None:
            self._file.commit()
            self._file = None

    def finish(self) -> None:
        """Nothing is left to do."""

    def close(self) -> None:
        """Delete a file that was not committed."""
        if self._file is not None:
            self._file.close()
            self._file = None


class CropPiece:
    """Crops for `LmdbWriter` in a record file: for each crop its image, then its text."""

    def __init__(self, path: Path, attempt: str) -> None:
        self._file = RecordFile(path, attempt)

    def add(self, index: int, image: bytes, label: Page | str) -> None:
        """Add a crop."""
        assert isinstance(label, str)
        check_text(label)
        self._file.write(image)
        self._file.write(label.encode("utf-8"))

    def commit(self) -> None:
        """Close the file and rename it to its final name."""
        self._file.commit()

    def finish(self) -> None:
        """Nothing is left to do."""

    def close(self) -> None:
        """Delete a file that was not committed."""
        self._file.close()


class RecordFile:
    """An ArrayRecord file that is renamed to its final name when it is complete.

    Args:
        path: the file; its folder is created if needed.
        attempt: as for `CsvWriter`.
    """

    def __init__(self, path: Path, attempt: str = "") -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self._part = path, path.with_name(f"{path.name}{attempt}.part")
        self._writer: Any = None
        with system_errors(path):
            # One record per group makes single records readable. Images do not compress.
            self._writer = ArrayRecordWriter(str(self._part), "group_size:1,uncompressed")

    def write(self, record: bytes) -> None:
        """Add a record.

        Raises:
            OSError: the disk is full; some such errors are raised only by `commit`.
        """
        with system_errors(self.path):
            self._writer.write(record)

    def commit(self) -> None:
        """Close the file and rename it to its final name.

        Raises:
            OSError: the file could not be written completely.
        """
        with system_errors(self.path):
            self._writer.close()
        self._part.replace(self.path)
        self._writer = None

    def close(self) -> None:
        """Delete a file that was not committed."""
        if self._writer is not None:
            with suppress(RuntimeError):  # a full disk, which was raised before
                self._writer.close()
            self._part.unlink(missing_ok=True)
            self._writer = None


class _PageLines:
    """`pages.jsonl`, which grows with every commit."""

    def __init__(self, path: Path, done: int) -> None:
        self.path = path
        self._waiting: list[str] = []
        size = 0
        if done:
            if not path.exists():
                raise ValueError(f"{path}: missing, but {done} samples were written: start over")
            with path.open("rb") as file:
                found = 0
                for line in file:
                    size += len(line)
                    found += line.endswith(b"\n")
                    if found == done:
                        break
            if found < done:
                raise ValueError(f"{path}: has {found} lines, expected {done}: start over")
        if path.exists():  # lines that were written, but not recorded as committed
            os.truncate(path, size)

    def add(self, page: Page) -> None:
        self._waiting.append(page.to_json() + "\n")

    def commit(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            file.write("".join(self._waiting).encode("utf-8"))
            file.flush()
            os.fsync(file.fileno())
        self._waiting.clear()

    def read(self) -> Iterator[Page]:
        with self.path.open(encoding="utf-8") as lines:
            for line in lines:
                yield Page.from_json(line)


class _PieceLines:
    """The lines of `pages.jsonl` of one piece, in a file of their own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines: list[str] = []

    def add(self, page: Page) -> None:
        self._lines.append(page.to_json() + "\n")

    def commit(self) -> None:
        write_bytes(self.path, "".join(self._lines).encode("utf-8"))

    def read(self) -> Iterator[Page]:
        return map(Page.from_json, self._lines)


def check_text(text: str) -> None:
    """Check that a text would be read back unchanged.

    Raises:
        ValueError: the text is empty, has line breaks, or white space around it.
    """
    if not text or text != text.strip() or "\n" in text or "\r" in text:
        raise ValueError(f"text {text!r}: expected one line, not empty, without spaces around it")
