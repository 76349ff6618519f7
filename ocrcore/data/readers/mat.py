"""Cell arrays in MATLAB files of level 5 (versions 5 to 7), read on demand.

Supports only what label files consist of: cells of real numbers and of texts. Every length is
checked against the file, so that a damaged file gives an error (`scipy.io.loadmat` crashes the
interpreter on some). Source: MathWorks, "MAT-File Format", sections on level 5.
"""

from __future__ import annotations

import math
import mmap
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ocrcore.files import check_regular
from ocrcore.pages import LabelError

_MAX_UNPACKED = 8 << 30
_MAX_RATIO = 200  # labels compress less; a file that claims more is meant to fill the memory
_MATRIX, _COMPRESSED = 14, 15
_CELL, _CHAR = 1, 4
_NUMBERS = {
    1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8",
}  # fmt: skip
_TEXTS = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}


class _Element(NamedTuple):
    """A data element: its type, the range of its data, and where the next one begins."""

    kind: int
    start: int
    end: int
    following: int


class _Matrix(NamedTuple):
    """Header of an array: its class, shape and name, and where its data begins."""

    kind: int
    shape: tuple[int, ...]
    name: str
    start: int
    end: int


class Cells(Sequence[Any]):
    """The cells of one variable, each a list of texts or an array of numbers, read on demand.

    Args:
        path: path of the file, for error messages.
        data: bytes of the file, or what was decompressed from it.
        order: byte order, "<" or ">".
        matrix: the variable.

    Attributes:
        shape: shape of the array; its cells are indexed column by column.
    """

    def __init__(self, path: Path, data: Any, order: str, matrix: _Matrix) -> None:
        self.path, self.name, self.shape = path, matrix.name, matrix.shape
        self._data, self._order = data, order
        count = math.prod(matrix.shape)
        if count * 8 > matrix.end - matrix.start:
            raise LabelError(path, 0, f"{self.name}: {count} cells", "at most what fits the file")
        self._starts = np.zeros(count, np.int64)
        at = matrix.start
        for index in range(count):
            self._starts[index] = at
            at = self._element(at, matrix.end).following
        self._end = matrix.end

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, index: int) -> Any:  # type: ignore[override]
        """Return a cell: the rows of a text without trailing spaces, or an array.

        Raises:
            IndexError: the index is not in `[0, len)`.
            LabelError: the cell holds neither.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"cell {index} of {len(self)}")
        found = self._element(int(self._starts[index]), self._end)
        if found.start == found.end:
            return np.zeros((0, 0))
        matrix = _matrix(self.path, self._data, self._order, found)
        return self._texts(matrix) if matrix.kind == _CHAR else self._numbers(matrix)

    def _element(self, at: int, end: int) -> _Element:
        found = _element(self.path, self._data, self._order, at, end)
        if found.kind != _MATRIX:
            raise self._error(f"an element of type {found.kind}", "an array in each cell")
        return found

    def _numbers(self, matrix: _Matrix) -> np.ndarray:
        if not 6 <= matrix.kind <= 15:
            raise self._error(f"an array of class {matrix.kind}", "numbers or text in each cell")
        found = _element(self.path, self._data, self._order, matrix.start, matrix.end)
        kind = _NUMBERS.get(found.kind)
        count = math.prod(matrix.shape)
        if kind is None or count * int(kind[1]) != found.end - found.start:
            raise self._error(
                f"type {found.kind}, {found.end - found.start} bytes", f"{count} numbers"
            )
        raw = bytes(self._data[found.start : found.end])
        try:
            return np.frombuffer(raw, self._order + kind).reshape(matrix.shape, order="F")
        except ValueError as error:  # dimensions that overflow although one of them is 0
            raise self._error(f"shape {matrix.shape}", f"{count} numbers") from error

    def _texts(self, matrix: _Matrix) -> list[str]:
        count = math.prod(matrix.shape)
        if count == 0:
            return []
        found = _element(self.path, self._data, self._order, matrix.start, matrix.end)
        coding = _TEXTS.get(found.kind, "")
        raw = bytes(self._data[found.start : found.end])
        if coding[:4] == "utf-" and coding != "utf-8":
            coding += "-le" if self._order == "<" else "-be"
        try:
            text = raw.decode(coding)
        except (UnicodeDecodeError, LookupError) as error:
            raise self._error(f"type {found.kind}: {raw[:40]!r}", "text") from error
        if len(text) != count or len(matrix.shape) != 2:
            raise self._error(f"{len(text)} characters", f"a text of shape {matrix.shape}")
        rows = matrix.shape[0]
        return [text[row::rows].rstrip(" \0") for row in range(rows)]

    def _error(self, value: str, expected: str) -> LabelError:
        return LabelError(self.path, 0, f"{self.name}: {value}", expected)


def read_cells(path: str | Path, names: Sequence[str]) -> dict[str, Cells]:
    """Find cell arrays in a file.

    Args:
        path: path of the file.
        names: the variables to return; others are skipped.

    Returns:
        The variables found, by name. For variables stored without compression, only the cells that
        are accessed are read.

    Raises:
        LabelError: not a MATLAB file of level 5, a damaged file, or one of the variables is not a
            cell array.
        FileNotFoundError: there is no such file.
    """
    path = Path(path)
    check_regular(path)
    with path.open("rb") as file:
        head = file.read(128)
        if head.startswith((b"MATLAB 7.3", b"\x89HDF")):
            raise LabelError(
                path, 0, "MATLAB 7.3 (HDF5)", "version 5 to 7: save it again with save(NAME, '-v7')"
            )
        order = {b"IM": "<", b"MI": ">"}.get(head[126:128])
        if order is None:
            raise LabelError(path, 0, f"{head[:20]!r}", "a MATLAB file of version 5 to 7")
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    found = {}
    for source, element in _variables(path, data, order):
        matrix = _matrix(path, source, order, element)
        if matrix.name not in names:
            continue
        if matrix.kind != _CELL:
            raise LabelError(path, 0, f"{matrix.name} of class {matrix.kind}", "a cell array")
        found[matrix.name] = Cells(path, source, order, matrix)
    return found


def _variables(path: Path, data: Any, order: str) -> Iterator[tuple[Any, _Element]]:
    at = 128
    while at < len(data):
        found = _element(path, data, order, at, len(data))
        at = found.following
        if found.kind == _COMPRESSED:
            packed = data[found.start : found.end]
            most = min(_MAX_UNPACKED, _MAX_RATIO * len(packed))
            try:
                unpacked = zlib.decompressobj().decompress(packed, most)
            except zlib.error as error:
                raise LabelError(path, 0, str(error), "an undamaged file") from error
            inner = _element(path, unpacked, order, 0, len(unpacked))
            if inner.kind == _MATRIX:
                yield unpacked, inner
        elif found.kind == _MATRIX:
            yield data, found


def _element(path: Path, data: Any, order: str, at: int, end: int) -> _Element:
    """Read the tag of the element at a position; the element must end before `end`."""
    if at + 8 > end:
        raise LabelError(path, 0, f"ends at byte {end}", "an undamaged file")
    kind, size = struct.unpack_from(order + "II", data, at)
    if kind >> 16:  # a small element: up to four bytes of data within the tag
        kind, size, start, following = kind & 0xFFFF, kind >> 16, at + 4, at + 8
        if size > 4:
            raise LabelError(path, 0, f"{size} bytes in the tag at byte {at}", "at most 4")
    else:
        start = at + 8
        following = start + size + (-size % 8 if kind != _COMPRESSED else 0)
    if start + size > end:
        raise LabelError(
            path, 0, f"{size} bytes at byte {start} of {end}", "a file that is not cut off"
        )
    return _Element(kind, start, start + size, following)


def _matrix(path: Path, data: Any, order: str, element: _Element) -> _Matrix:
    flags = _element(path, data, order, element.start, element.end)
    shape = _element(path, data, order, flags.following, element.end)
    name = _element(path, data, order, shape.following, element.end)
    count, rest = divmod(shape.end - shape.start, 4)
    if flags.end - flags.start != 8 or shape.kind != 5 or rest or not 2 <= count <= 8:
        raise LabelError(path, 0, f"no array at byte {element.start}", "an undamaged file")
    (bits,) = struct.unpack_from(order + "I", data, flags.start)
    sides = struct.unpack_from(f"{order}{count}i", data, shape.start)
    if min(sides) < 0 or bits & 0x800:  # complex
        raise LabelError(path, 0, f"an array of shape {sides}, flags {bits:#x}", "real numbers")
    text = bytes(data[name.start : name.end]).decode("latin-1")
    return _Matrix(bits & 0xFF, sides, text, name.following, element.end)
