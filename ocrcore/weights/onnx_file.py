"""Reads arrays and metadata of an ONNX file, without executing anything in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

_MAX_BYTES = 1 << 30
_MAX_METADATA = 1 << 24  # total characters of all values


class OnnxFileError(ValueError):
    """A file is not an ONNX model, or is damaged; the message names it."""


class OtherNetworkError(ValueError):
    """Arrays of another network than expected; the message names the first difference."""


class OnnxFile(NamedTuple):
    """The content of an ONNX file.

    Attributes:
        arrays: float32 weights with at least one axis, by name, in the order of their first use in
            the graph.
        metadata: the metadata of the file.
    """

    arrays: dict[str, np.ndarray]
    metadata: dict[str, str]


def load_onnx(path: str | Path) -> OnnxFile:
    """Read the weights of an ONNX file in the order of its graph.

    Nothing is executed, and no other file is opened: external weights are rejected.

    Raises:
        OnnxFileError: no such file, a damaged one, one of more than 1 GiB, or one whose weights are
            in other files.
        ImportError: the package `onnx` is missing; names the extra.
    """
    path = Path(path)
    try:
        import onnx
        from google.protobuf.message import DecodeError
        from onnx import numpy_helper
    except ImportError as error:
        raise ImportError(
            f'{path}: reading ONNX files needs the package onnx: pip install "ocrjax[weights]"'
        ) from error
    try:
        size = path.stat().st_size
        if size > _MAX_BYTES:
            raise OnnxFileError(f"{path}: {size:,} bytes, expected at most {_MAX_BYTES:,}")
        model = onnx.load_model_from_string(path.read_bytes())
    except OSError as error:
        raise OnnxFileError(f"{path}: {error.strerror or error}") from error
    except (DecodeError, ValueError) as error:
        if isinstance(error, OnnxFileError):
            raise
        raise OnnxFileError(f"{path}: not an ONNX file, or a damaged one: {error}") from error
    if not model.graph.node:
        raise OnnxFileError(f"{path}: not an ONNX model: its graph has no nodes")

    tensors: dict[str, Any] = {one.name: one for one in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and len(node.output) == 1:
            tensors.update((node.output[0], one.t) for one in node.attribute if one.name == "value")
    arrays: dict[str, np.ndarray] = {}
    for node in model.graph.node:
        for name in node.input:
            tensor = tensors.get(name)
            if tensor is None or name in arrays or tensor.data_type != onnx.TensorProto.FLOAT:
                continue
            if not len(tensor.dims):
                continue
            if tensor.external_data or tensor.data_location == onnx.TensorProto.EXTERNAL:
                raise OnnxFileError(
                    f"{path}: the weights {name!r} are in another file, expected them in this file"
                )
            try:
                arrays[name] = np.array(numpy_helper.to_array(tensor), np.float32)
            except (ValueError, TypeError) as error:
                raise OnnxFileError(f"{path}: weights {name!r} are damaged: {error}") from error
    metadata = {one.key: one.value for one in model.metadata_props}
    if sum(map(len, metadata.values())) > _MAX_METADATA:
        raise OnnxFileError(f"{path}: more than {_MAX_METADATA:,} characters of metadata")
    return OnnxFile(arrays, metadata)


def take(left: Iterator[tuple[str, np.ndarray]], shape: tuple[int, ...], what: str) -> np.ndarray:
    """Take the next array, whatever its name; exporters name them differently.

    Args:
        left: arrays with their names, in the order of the graph.
        shape: shape of the result; the array has as many values, and as its first axis the same
            or 1, since exporters lay biases out as `(1, C, 1, 1)`.
        what: the layer that the array belongs to, for the message.

    Raises:
        OtherNetworkError: the next array has another shape, or none is left.
    """
    name, array = next(left, ("nothing", np.zeros(0)))
    if array.size != np.prod(shape, dtype=int) or array.shape[:1] not in (shape[:1], (1,)):
        raise OtherNetworkError(f"{name} has shape {list(array.shape)}, expected {what}")
    return array.reshape(shape)


def expect_end(left: Iterator[tuple[str, np.ndarray]]) -> None:
    """Refuse arrays that no layer has taken.

    Raises:
        OtherNetworkError: an array is left.
    """
    if (more := next(left, None)) is not None:
        raise OtherNetworkError(f"{more[0]} is left over")
