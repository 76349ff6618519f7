"""Pages with their images in ArrayRecord files: one record per sample, random access.

A record consists of, in this order:

* 4 bytes: `OJX1`;
* 4 bytes: length N of the labels, unsigned, little endian;
* N bytes: the page as `ocrcore.pages.Page.to_json` writes it, UTF-8;
* the rest: the image file (JPEG, PNG ...), whose size must be that of the page.

A record is self-contained, so files can be shuffled, split and joined at will.
"""

from __future__ import annotations

import io
import struct
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from array_record.python.array_record_module import ArrayRecordReader
from PIL import Image

from ocrcore.images import ImageError, decode_image
from ocrcore.pages import LabelError, Page, PageError, Sample

SUFFIX = ".arrayrecord"
MAGIC = b"OJX1"
MAX_PIXELS = 1 << 28
"""Larger images are rejected before they are decoded."""
_HEAD = struct.Struct("<4sI")


def encode_record(image: bytes, page: Page) -> bytes:
    """Join an encoded image and its labels to a record."""
    labels = page.to_json().encode("utf-8")
    return _HEAD.pack(MAGIC, len(labels)) + labels + image


def decode_record(record: bytes, *, name: str = "record") -> tuple[bytes, Page]:
    """Inverse of `encode_record`; the image is not decoded.

    Raises:
        LabelError: not such a record; the message begins with `name`.
    """
    if len(record) < _HEAD.size or record[:4] != MAGIC:
        raise LabelError(name, 0, f"{record[:8]!r}", f"a record that begins with {MAGIC!r}")
    _, length = _HEAD.unpack_from(record)
    end = _HEAD.size + length
    if end > len(record):
        raise LabelError(
            name, 0, f"labels of {length} bytes", f"at most {len(record) - _HEAD.size} bytes"
        )
    try:
        page = Page.from_json(record[_HEAD.size : end].decode("utf-8"))
    except (PageError, UnicodeDecodeError, RecursionError) as error:
        reason = "coordinates" if "finite" in str(error) else "labels"
        raise LabelError(name, 0, str(error), "a page as JSON in UTF-8", reason=reason) from error
    return record[end:], page


def decode_sample(record: bytes, *, name: str = "record") -> Sample:
    """Decode the labels and the image of a record.

    Raises:
        LabelError: not such a record, or the size of the image is not that of its page.
        ImageError: the image cannot be decoded.
    """
    data, page = decode_record(record, name=name)
    size = (page.height, page.width)
    if page.height * page.width > MAX_PIXELS:
        raise LabelError(name, 0, f"{page.height}x{page.width}", f"at most {MAX_PIXELS} pixels")
    # Check the header first: decoding an image larger than its page says could fill the memory.
    try:
        with Image.open(io.BytesIO(data)) as image:
            header = (image.height, image.width)
    except (OSError, ValueError, SyntaxError, TypeError, Image.DecompressionBombError) as error:
        raise ImageError(f"{name}: not an image that Pillow can read: {error}") from error
    if header not in (size, size[::-1]):  # EXIF may rotate it
        raise LabelError(name, 0, f"an image of {header}", f"(height, width) of the page: {size}")
    decoded = decode_image(data, name=name)
    if decoded.shape[:2] != size:
        raise LabelError(name, 0, f"an image of {decoded.shape[:2]}", f"{size}, the page's size")
    return Sample(image=decoded, page=page)


class RecordFiles:
    """The records of several ArrayRecord files, by index.

    It can be pickled (files are reopened), and read from threads.

    Args:
        paths: the files, in order.
        counts: number of records in each file; None reads it from the files.

    Raises:
        LabelError: a file has no readable record.
    """

    def __init__(self, paths: Sequence[Path], counts: Sequence[int] | None = None) -> None:
        self.paths = list(paths)
        self._readers: list[Any] = [None] * len(self.paths)
        if counts is None:
            counts = [self._reader(which).num_records() for which in range(len(self.paths))]
        self._ends = list(accumulate(counts))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_readers": [None] * len(self.paths)}

    def __getitem__(self, index: int) -> bytes:
        """Return the record at an index.

        Raises:
            IndexError: the index is not in `[0, len)`.
            LabelError: the file is damaged; the message names it.
        """
        which, number = self._place(index)
        try:
            record: bytes = self._reader(which).read([number])[0]
        except (RuntimeError, IndexError) as error:
            name = self.name(index)
            raise LabelError(name, 0, str(error), "an undamaged ArrayRecord file") from error
        return record

    def name(self, index: int) -> str:
        """Return the file of the record at an index, and its number in that file."""
        which, number = self._place(index)
        return f"{self.paths[which]}, record {number}"

    def _place(self, index: int) -> tuple[int, int]:
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        which = bisect_right(self._ends, index)
        return which, index - (self._ends[which - 1] if which else 0)

    def _reader(self, which: int) -> Any:
        reader = self._readers[which]
        if reader is None:
            path = self.paths[which]
            try:
                reader = ArrayRecordReader(str(path))
                fine = reader.ok() and reader.num_records() > 0
            except RuntimeError as error:
                raise LabelError(path, 0, str(error), "an ArrayRecord file") from error
            if not fine:
                raise LabelError(
                    path, 0, f"no record in {path.stat().st_size} bytes", "an ArrayRecord file"
                )
            self._readers[which] = reader
        return reader


class ArrayRecords(Sequence[Sample]):
    """The samples of one or several ArrayRecord files, by index.

    A data source for Grain: it can be pickled (files are reopened), and read from threads.

    Args:
        paths: files, in order, and folders, whose `*.arrayrecord` files are read by name.

    Raises:
        LabelError: a path does not exist, a folder has no such file, or a file has no readable
            record.
    """

    def __init__(self, paths: str | Path | Sequence[str | Path]) -> None:
        self.paths: list[Path] = []
        for path in [Path(paths)] if isinstance(paths, str | Path) else map(Path, paths):
            inside = sorted(path.glob("*" + SUFFIX)) if path.is_dir() else [path]
            if not inside or not all(one.is_file() for one in inside):
                raise LabelError(path, 0, str(path), f"a {SUFFIX} file or a folder with some")
            self.paths += inside
        self._records = RecordFiles(self.paths)

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]
        """Return the sample at an index.

        Raises:
            IndexError: the index is not in `[0, len)`.
            LabelError: the file or record is damaged; the message names it.
            ImageError: the image cannot be decoded.
        """
        return decode_sample(self._records[index], name=self.name(index))

    def name(self, index: int) -> str:
        """Return the file of the sample at an index, and its number in that file."""
        return self._records.name(index)

    def label_files(self, index: int) -> tuple[Path, ...]:
        """Return nothing: labels are in the records."""
        return ()

    def encoded(self, index: int) -> tuple[bytes, Page]:
        """Return the encoded image at an index, and its page."""
        return decode_record(self._records[index], name=self.name(index))
