"""Reads the two formats of `torch.save`: from an open file to plain values and arrays.

Every size that a file states is checked against the file before it is used, so that memory is
bounded by the size of the file. The entry point is `ocrcore.weights.pth.load_pth`.
"""

from __future__ import annotations

import io
import math
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from ocrcore.weights.pth_pickle import MAX_PICKLE_BYTES, Machine, Storage, Tensor, TorchFileError

MAX_DEPTH = 64
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # torch/serialization.py: MAGIC_NUMBER
_LEGACY_VERSION = 1001
_MAX_MEMBERS = 1 << 17
_MAX_NODES = 1 << 18


def read_tree(file: BinaryIO, size: int, max_bytes: int | None) -> Any:
    """Read the saved object; see `ocrcore.weights.pth.load_pth`.

    Args:
        file: seekable and buffered.
        size: size of the file in bytes.
        max_bytes: maximum total size of all tensors; None for a multiple of `size`.

    Raises:
        TorchFileError: the message lacks the file's name.
    """
    head = file.read(512)
    file.seek(0)
    if _is_safetensors(head, size) or not head.startswith((b"PK", b"\x80")):
        raise TorchFileError(f"not a PyTorch file: {_looks_like(head, size)}")
    tree, read = _load_zip(file, size) if head.startswith(b"PK") else _load_legacy(file, size)
    if max_bytes is None:
        max_bytes = 4 * size + (1 << 24)
    return _Builder(read, max_bytes).build(tree, 0)


def check_bool(array: np.ndarray) -> None:
    """Reject bools that are neither 0 nor 1, with which NumPy gives wrong results."""
    if array.size and array.view(np.uint8).max() > 1:
        raise TorchFileError("a bool tensor has values other than 0 and 1: damaged")


def _is_safetensors(head: bytes, size: int) -> bool:
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= size - 8


def _looks_like(head: bytes, size: int) -> str:
    """Says what a file is, judged by its first bytes."""
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:20].lower()
    if not size:
        return "the file is empty"
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "this is a web page; download the file that the page links to"
    if head.startswith(b"version https://git-lfs"):
        return "this is a Git LFS pointer; `git lfs pull` downloads the file itself"
    if _is_safetensors(head, size):
        return "this is a safetensors file; rename it to .safetensors"
    if head[257:262] == b"ustar":
        return "this is a tar archive (PyTorch's format before 0.1.10 is not supported)"
    for start, what in (
        (b"\x1f\x8b", "a gzip archive; unpack it first"),
        (b"\x89HDF", "an HDF5 file, as Keras writes; only PyTorch weights are supported"),
        (b"\x93NUMPY", "a NumPy .npy file"),
    ):
        if head.startswith(start):
            return f"this is {what}"
    return f"it begins with {head[:16]!r}, expected a zip archive or a pickle"


@dataclass(frozen=True, slots=True)
class _Member:
    """An entry of a zip archive; `header` is the offset of its local header."""

    header: int
    size: int
    crc: int


def _read_at(file: BinaryIO, start: int, count: int) -> bytes:
    """Read exactly `count` bytes; the caller has checked that the file is large enough."""
    file.seek(start)
    data = file.read(count)
    if len(data) != count:
        raise TorchFileError("it ends too early: truncated")
    return data


def _zip_members(file: BinaryIO, size: int) -> dict[str, _Member]:
    """Read the directory of a zip archive (APPNOTE.TXT 4.3.12 to 4.3.16, 4.5.3).

    Python's zipfile is not used for reading: it does not bound the number of entries, and raises a
    dozen kinds of errors.
    """
    tail = _read_at(file, max(0, size - 65_557), min(size, 65_557))
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < 22:
        raise TorchFileError(
            f"a zip archive without its end: truncated at {size} bytes, download it again"
        )
    count, length, start = struct.unpack("<10xHII2x", tail[at : at + 22])
    locator = tail[at - 20 : at] if at >= 20 else b""
    if locator.startswith(b"PK\x06\x07"):
        (end,) = struct.unpack("<8xQ4x", locator)
        if end + 56 > size:
            raise TorchFileError("a zip archive with a damaged end")
        count, length, start = struct.unpack("<32xQQQ", _read_at(file, end, 56))
    if count > _MAX_MEMBERS or length > MAX_PICKLE_BYTES:
        raise TorchFileError(
            f"a zip archive of {count} entries in {length} bytes, expected at most {_MAX_MEMBERS}"
        )
    if start + length > size:
        raise TorchFileError("a zip archive with a damaged end")
    directory = _read_at(file, start, length)
    members: dict[str, _Member] = {}
    at = 0
    for _ in range(count):
        if directory[at : at + 4] != b"PK\x01\x02" or at + 46 > length:
            raise TorchFileError("a zip archive with a damaged directory")
        flags, method, crc, packed, unpacked, n_name, n_extra, n_comment, header = struct.unpack(
            "<8xHH4xIIIHHH8xI", directory[at : at + 46]
        )
        name = directory[at + 46 : at + 46 + n_name].decode("utf-8", "replace")
        extra = directory[at + 46 + n_name : at + 46 + n_name + n_extra]
        at += 46 + n_name + n_extra + n_comment
        if 0xFFFFFFFF in (packed, unpacked, header):
            unpacked, packed, header = _zip64(extra, unpacked, packed, header)
        if method or packed != unpacked or flags & 1:
            raise TorchFileError(
                f"its entry {name[:80]!a} is compressed or encrypted, which torch.save never does"
            )
        if name in members:
            raise TorchFileError(f"it has two entries {name[:80]!a}: damaged")
        members[name] = _Member(header, unpacked, crc)
    return members


def _zip64(extra: bytes, *fields: int) -> list[int]:
    """Replace fields that do not fit into 32 bits by their 64-bit values."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        if kind == 1:
            values = iter(
                struct.unpack_from(f"<{min(length, len(extra) - at - 4) // 8}Q", extra, at + 4)
            )
            return [next(values, field) if field == 0xFFFFFFFF else field for field in fields]
        at += 4 + length
    return list(fields)


def _load_zip(file: BinaryIO, size: int) -> tuple[Any, Callable[[str], np.ndarray]]:
    members = _zip_members(file, size)
    root = next(iter(members), "").partition("/")[0] + "/"
    if root + "constants.pkl" in members:
        raise TorchFileError(
            "a TorchScript archive, which holds a program. Open it with torch.jit.load "
            "and save its state_dict()"
        )
    if root + "data.pkl" not in members:
        what = "a NumPy .npz file" if any(m.endswith(".npy") for m in members) else "a zip archive"
        raise TorchFileError(f"not a PyTorch file: {what} without data.pkl")
    budget = size

    def read(name: str, limit: int) -> np.ndarray:
        nonlocal budget
        member = members[root + name]
        fixed = _read_at(file, member.header, 30) if member.header + 30 <= size else b""
        if not fixed.startswith(b"PK\x03\x04"):
            raise TorchFileError(f"the entry {name[:80]!a} is not where it should be: damaged")
        n_name, n_extra = struct.unpack("<26xHH", fixed)
        start = member.header + 30 + n_name + n_extra
        # Overlapping entries would multiply the file: in total they must not exceed its size.
        budget -= member.size
        if start + member.size > size or budget < 0 or member.size > limit:
            raise TorchFileError(f"the entry {name[:80]!a} is larger than possible: damaged")
        data = _read_array(file, start, member.size)
        # Zero means "not computed": torch.serialization.set_crc32_options(False).
        if member.crc and zlib.crc32(data.data) != member.crc:
            raise TorchFileError(
                f"the entry {name[:80]!a} has a wrong checksum: damaged, get the file again"
            )
        return data

    if root + "byteorder" in members and read("byteorder", 16).tobytes() != b"little":
        raise TorchFileError("it was written on a big-endian machine, which is not supported")
    program = read("data.pkl", MAX_PICKLE_BYTES).tobytes()
    machine = Machine(io.BytesIO(program), size=len(program))
    tree = machine.load()
    for key, nbytes in machine.storages.items():
        member = members.get(f"{root}data/{key}")
        if member is None or member.size != nbytes:
            found = "nothing" if member is None else f"{member.size} bytes"
            raise TorchFileError(f"storage {key[:80]!a} has {found}, expected {nbytes} bytes")
    return tree, lambda key: read(f"data/{key}", size)


def _load_legacy(file: BinaryIO, size: int) -> tuple[Any, Callable[[str], np.ndarray]]:
    machine = Machine(file, size=size)
    magic = machine.load()
    if type(magic) is not int or magic != _LEGACY_MAGIC:
        raise TorchFileError(
            "not a PyTorch file: a pickle of something else, which is not read because a pickle "
            "can run any program"
        )
    version = machine.load()
    if type(version) is not int or version != _LEGACY_VERSION:
        raise TorchFileError(f"PyTorch's format in another version, expected {_LEGACY_VERSION}")
    machine.load()  # sizes of C types on the writer's machine
    tree = machine.load()
    keys = machine.load()
    if type(keys) is not list or any(type(key) is not str for key in keys):
        raise TorchFileError("the list of its storages is not a list of names: damaged")
    if len(set(keys)) != len(keys) or set(keys) != set(machine.storages):
        raise TorchFileError("the list of its storages does not match its tensors: damaged")
    places: dict[str, tuple[int, int]] = {}
    at = file.tell()
    for key in keys:
        nbytes = machine.storages[key]
        if at + 8 + nbytes > size:
            raise TorchFileError(
                f"it ends in the middle of its data: truncated at {size} bytes, download it again"
            )
        # The number of elements: redundant, but a wrong one shows that the file is damaged.
        (count,) = struct.unpack("<q", _read_at(file, at, 8))
        if not (count == nbytes == 0 or (0 < count <= nbytes and nbytes % count == 0)):
            raise TorchFileError(f"storage {key[:80]!a} has {count} elements in {nbytes} bytes")
        places[key] = (at + 8, nbytes)
        at += 8 + nbytes
    return tree, lambda key: _read_array(file, *places[key])


def _read_array(file: BinaryIO, start: int, count: int) -> np.ndarray:
    data = np.empty(count, np.uint8)
    file.seek(start)
    if file.readinto(data.data) != count:  # type: ignore[attr-defined]
        raise TorchFileError("it ends too early: truncated")
    return data


class _Builder:
    """Builds the tree for the caller: plain values and arrays, no container twice."""

    def __init__(self, read: Callable[[str], np.ndarray], max_bytes: int) -> None:
        self._read = read
        self._max_bytes = max_bytes
        self._left = max_bytes
        self._nodes = _MAX_NODES
        self._data: dict[str, np.ndarray] = {}
        self._arrays: dict[int, np.ndarray] = {}

    def build(self, value: Any, depth: int) -> Any:
        self._nodes -= 1
        if self._nodes < 0 or depth > MAX_DEPTH:
            raise TorchFileError(
                f"it is nested deeper than {MAX_DEPTH} levels, contains itself, or has more than "
                f"{_MAX_NODES:,} values: not a file of weights"
            )
        kind = type(value)
        if kind is dict:
            return {key: self.build(item, depth + 1) for key, item in value.items()}
        if kind in (list, tuple):
            return kind(self.build(item, depth + 1) for item in value)
        if kind in (Tensor, Storage):
            # By identity: the tree keeps the value alive, so its id stays unique.
            if id(value) not in self._arrays:
                self._arrays[id(value)] = self._array(value)
            return self._arrays[id(value)]
        if value is None or kind in (bool, int, float, str) or isinstance(value, np.dtype):
            return value
        raise TorchFileError("it holds a class or function of torch as a value; not supported")

    def _array(self, value: Tensor | Storage) -> np.ndarray:
        if isinstance(value, Storage):
            count = value.nbytes // value.dtype.itemsize
            value = Tensor(value, value.dtype, 0, (count,), (1,))
        storage, dtype = value.storage, value.dtype
        if 0 in value.shape:
            return _array_of(value, None)
        self._left -= math.prod(value.shape) * dtype.itemsize
        if self._left < 0:
            raise TorchFileError(
                f"its tensors have more than {self._max_bytes:,} bytes in total, far more than the "
                "file: hostile; if you trust it, pass max_bytes"
            )
        if storage.key not in self._data:
            self._data[storage.key] = self._read(storage.key)
        array = _array_of(
            value, self._data[storage.key][storage.start : storage.start + storage.nbytes]
        )
        if dtype == np.bool_:
            check_bool(array)
        return array


def _array_of(value: Tensor, buffer: np.ndarray | None) -> np.ndarray:
    """Return a tensor as a view of its storage; a new array if it has no elements."""
    size = value.dtype.itemsize
    try:
        if buffer is None:
            return np.empty(value.shape, value.dtype)
        # NumPy checks again that the view lies inside the buffer.
        return np.ndarray(
            value.shape,
            value.dtype,
            buffer=buffer,
            offset=value.offset * size,
            # The stride of an axis with one element is never used; it may be any number.
            strides=[
                (step if side > 1 or step < 1 << 32 else 1) * size
                for side, step in zip(value.shape, value.strides, strict=True)
            ],
        )
    except (ValueError, OverflowError) as error:
        raise TorchFileError(
            f"a tensor of shape {_shown(value.shape)} and strides {_shown(value.strides)} that "
            f"NumPy cannot hold: {error}"
        ) from error


def _shown(numbers: tuple[int, ...]) -> str:
    """Format the first numbers of a long tuple."""
    return f"{str(numbers[:8])[:-1]}, ...)" if len(numbers) > 8 else str(numbers)
