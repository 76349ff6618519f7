"""`tf.train.Example`, the record of TensorFlow Datasets, without TensorFlow or protobuf.

Only the part of protobuf's wire format that this message needs is implemented: an example holds
`features` (1), a map (1) from a name (1) to a feature (2), which is a list of bytes (1), float32
(2) or int64 (3), whose values are field 1 of the list. Lists of numbers are written packed; both
packed and unpacked lists are read.

Source: tensorflow/core/example/{example,feature}.proto and protobuf.dev/programming-guides/encoding
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ocrcore.pages import LabelError

Feature = list[bytes] | NDArray[np.float32] | NDArray[np.int64]
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types
_ONE_BYTE = [bytes([number]) for number in range(128)]
_LISTS = {1: "bytes", 2: "float32", 3: "int64"}


def encode_example(features: Mapping[str, Sequence[bytes] | NDArray]) -> bytes:
    """Encode features deterministically: equal features give equal bytes.

    Args:
        features: by name: lists of bytes, or arrays of floats (stored as float32), integers or
            booleans. Arrays may have any shape; they are stored flat.
    """
    entries = []
    for name in sorted(features):
        value = features[name]
        if isinstance(value, np.ndarray):
            if value.dtype.kind == "f":
                kind, values = 2, _field(1, value.astype("<f4").tobytes()) if value.size else b""
            else:
                packed = b"".join(_varint(one) for one in value.reshape(-1).tolist())
                kind, values = 3, _field(1, packed) if packed else b""
        else:
            kind, values = 1, b"".join(_field(1, one) for one in value)
        feature = _field(kind, values)
        entries.append(_field(1, _field(1, name.encode()) + _field(2, feature)))
    return _field(1, b"".join(entries))


def decode_example(record: bytes, *, name: str = "record") -> dict[str, Feature]:
    """Decode the features of a record; arrays are flat.

    Raises:
        LabelError: not such a record; the message begins with `name`.
    """
    view = memoryview(record)
    features: dict[str, Feature] = {}
    try:
        for body in _messages(view, 1):
            for entry in _messages(body, 1):
                key, feature = "", memoryview(b"")
                for number, _, value in _fields(entry):
                    if number == 1 and isinstance(value, memoryview):
                        key = str(value, "utf-8")
                    elif number == 2 and isinstance(value, memoryview):
                        feature = value
                features[key] = _feature(feature)
    except (ValueError, IndexError) as error:
        raise LabelError(name, 0, str(error), "a tf.train.Example record") from error
    return features


def _field(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | _BYTES) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    if 0 <= value < 128:
        return _ONE_BYTE[value]
    value &= (1 << 64) - 1  # negative numbers are stored as two's complement
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_varint(view: memoryview, at: int) -> tuple[int, int]:
    """Return a number and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        byte = view[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & (1 << 64) - 1, at
    raise ValueError("a number of more than ten bytes")


def _fields(view: memoryview) -> Iterator[tuple[int, int, memoryview | int]]:
    """Yield number, wire type and value of the fields of a message."""
    at = 0
    while at < len(view):
        tag = view[at]  # most tags have one byte
        at += 1
        if tag > 127:
            tag, at = _read_varint(view, at - 1)
        wire = tag & 7
        value: memoryview | int
        if wire == _VARINT:
            value, at = _read_varint(view, at)
        else:
            if wire == _BYTES:
                size = view[at]
                at += 1
                if size > 127:
                    size, at = _read_varint(view, at - 1)
            elif wire in (_FIXED32, _FIXED64):
                size = 4 if wire == _FIXED32 else 8
            else:
                raise ValueError(f"a field of wire type {wire}")
            if size > len(view) - at:
                raise ValueError(f"a field of {size} bytes, but only {len(view) - at} are left")
            value = view[at : at + size]
            at += size
        yield tag >> 3, wire, value


def _messages(view: memoryview, number: int) -> Iterator[memoryview]:
    for found, _, value in _fields(view):
        if found == number and isinstance(value, memoryview):
            yield value


def _feature(view: memoryview) -> Feature:
    kind, body = 1, memoryview(b"")
    for number, wire, value in _fields(view):
        if number in _LISTS and wire == _BYTES and isinstance(value, memoryview):
            kind, body = number, value
    values = [(wire, value) for number, wire, value in _fields(body) if number == 1]
    if kind == 1:
        return [bytes(value) for _, value in values if isinstance(value, memoryview)]
    if kind == 2:
        # A packed list and single values consist of the same bytes.
        joined = b"".join(value for _, value in values if isinstance(value, memoryview))
        return np.frombuffer(joined, "<f4").astype(np.float32, copy=False)
    numbers: list[int] = []
    for _, value in values:
        if isinstance(value, int):
            numbers.append(value)
        elif max(value, default=0) < 128:  # fast path: one byte each, as nearly all are
            numbers += value
        else:
            at = 0
            while at < len(value):
                one, at = _read_varint(value, at)
                numbers.append(one)
    return np.array(numbers, np.uint64).view(np.int64)
