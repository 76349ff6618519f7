"""Builder of ONNX graphs: nodes and weights, one method per operation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ocrcore.layers import BATCH_NORM_EPSILON

OPSET = 18
_IR = 8  # the IR version of opset 18; older runtimes do not read newer ones
_SMALL = 1 << 10  # values; smaller weights gain nothing by float16


class OnnxError(ValueError):
    """A network that cannot be exported, or an invalid ONNX file; the message says why."""


def import_onnx() -> Any:
    """Import and return the package `onnx`.

    Raises:
        ImportError: it is not installed; the message names the extra.
    """
    try:
        import onnx
    except ImportError as error:
        raise ImportError(
            'writing ONNX files needs the package onnx: pip install "ocrjax[onnx]"'
        ) from error
    return onnx


class Graph:
    """An ONNX graph. Methods add nodes in execution order; they take and return value names.

    Attributes:
        half: store large weights as float16. They are cast to float32 before use, which a runtime
            does once while it loads the file: half the size, with all products in float32.
    """

    def __init__(self, *, half: bool = False) -> None:
        self.half = half
        self._onnx = import_onnx()
        self._nodes: list[Any] = []
        self._weights: dict[str, Any] = {}
        self._cast: dict[str, str] = {}

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output; an input "" is omitted."""
        name = f"{kind.lower()}_{len(self._nodes)}"
        self._nodes.append(
            self._onnx.helper.make_node(kind, list(inputs), [name], name=name, **attributes)
        )
        return name

    def name(self, value: str, name: str) -> None:
        """Give a value the name of a graph output."""
        self._nodes.append(self._onnx.helper.make_node("Identity", [value], [name], name=name))

    def weights(self, name: str, array: ArrayLike) -> str:
        """Add weights under a name; weights that were already added are reused."""
        if name in self._cast:
            return self._cast[name]
        values = np.ascontiguousarray(array, np.float32)
        half = self.half and values.size >= _SMALL
        stored = self._tensor(name, values.astype(np.float16) if half else values)
        self._cast[name] = self.op("Cast", stored, to=1) if half else stored
        return self._cast[name]

    def whole(self, *values: int) -> str:
        """Add an int64 constant with one axis."""
        return self._tensor("whole_" + "_".join(map(str, values)), np.array(values, np.int64))

    def scalar(self, value: float) -> str:
        """Add a float32 scalar constant."""
        return self._tensor(f"number_{value!r}", np.array(value, np.float32))

    def _tensor(self, name: str, array: np.ndarray) -> str:
        if name not in self._weights:
            self._weights[name] = self._onnx.numpy_helper.from_array(array, name)
        return name

    def conv(
        self,
        x: str,
        name: str,
        kernel: ArrayLike,
        bias: ArrayLike | None = None,
        *,
        stride: tuple[int, int] = (1, 1),
        pads: Sequence[int] = (0, 0, 0, 0),
        dilation: int = 1,
        depthwise: bool = False,
    ) -> str:
        """Add a convolution.

        Args:
            x: `(B, C, H, W)`.
            name: name of the weights.
            kernel: `(height, width, in, out)`, as in Flax.
            bias: `(out,)`, or None.
            stride: vertical and horizontal stride.
            pads: zeros above, left, below and right.
            dilation: dilation of the kernel.
            depthwise: whether each channel has its own kernel.
        """
        kernel = np.asarray(kernel)
        inputs = [x, self.weights(f"{name}.kernel", kernel.transpose(3, 2, 0, 1))]
        if bias is not None:
            inputs.append(self.weights(f"{name}.bias", bias))
        return self.op(
            "Conv",
            *inputs,
            kernel_shape=list(kernel.shape[:2]),
            strides=list(stride),
            pads=list(pads),
            dilations=[dilation, dilation],
            group=kernel.shape[3] if depthwise else 1,
        )

    def scaled(self, x: str, name: str, factor: ArrayLike, shift: ArrayLike) -> str:
        """Add `x * factor + shift`, with one factor and shift per channel of `(B, C, H, W)`."""
        shape = (1, -1, 1, 1)
        x = self.op("Mul", x, self.weights(f"{name}.factor", np.reshape(factor, shape)))
        return self.op("Add", x, self.weights(f"{name}.shift", np.reshape(shift, shape)))

    def linear(self, x: str, name: str, layer: Mapping[str, Any]) -> str:
        """Add a dense layer with bias over the last axis."""
        x = self.op("MatMul", x, self.weights(f"{name}.kernel", layer["kernel"]))
        return self.op("Add", x, self.weights(f"{name}.bias", layer["bias"]))

    def relu(self, x: str) -> str:
        """Add a ReLU."""
        return self.op("Relu", x)

    def max_pool(
        self,
        x: str,
        window: tuple[int, int] = (2, 2),
        *,
        stride: tuple[int, int] | None = None,
        pads: Sequence[int] = (0, 0, 0, 0),
    ) -> str:
        """Add max-pooling; incomplete windows are dropped, padding never wins."""
        return self.op(
            "MaxPool",
            x,
            kernel_shape=list(window),
            strides=list(stride or window),
            pads=list(pads),
        )

    def size(self, x: str, axis: int) -> str:
        """Add the size of one axis, int64 `(1,)`."""
        return self.op("Shape", x, start=axis, end=axis + 1)

    def count(self, x: str, axis: int) -> str:
        """Add the indices 0, 1, ..., n - 1 along an axis of size n, int64 `(n,)`."""
        end = self.op("Squeeze", self.size(x, axis), self.whole(0))
        zero = self._tensor("zero", np.array(0, np.int64))
        one = self._tensor("one", np.array(1, np.int64))
        return self.op("Range", zero, end, one)

    def inside(self, x: str, axis: int, widths: str) -> str:
        """Add a mask of the indices along an axis that are below `widths` `(B,)`: `(B, n)`."""
        columns = self.op("Unsqueeze", widths, self.whole(1))
        return self.op("Cast", self.op("Less", self.count(x, axis), columns), to=1)

    def finish(
        self,
        inputs: Mapping[str, tuple[str, Sequence[int | str]]],
        outputs: Mapping[str, tuple[str, Sequence[int | str]]],
        *,
        metadata: Mapping[str, str],
        about: str,
    ) -> Any:
        """Return the model after a check by onnx.

        Args:
            inputs: type (`uint8`, `int32`, `float32`) and shape by name; a string in a shape is a
                dynamic size.
            outputs: as for `inputs`.
            metadata: metadata of the file.
            about: a description in one paragraph.

        Returns:
            An `onnx.ModelProto`.
        """
        helper, types = self._onnx.helper, self._onnx.TensorProto

        def infos(values: Mapping[str, tuple[str, Sequence[int | str]]]) -> list[Any]:
            return [
                helper.make_tensor_value_info(
                    name, getattr(types, {"float32": "FLOAT"}.get(kind, kind.upper())), list(shape)
                )
                for name, (kind, shape) in values.items()
            ]

        graph = helper.make_graph(
            self._nodes, "ocrjax", infos(inputs), infos(outputs), list(self._weights.values())
        )
        model = helper.make_model(
            graph,
            producer_name="ocrjax",
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=_IR,
            doc_string=about,
        )
        helper.set_model_props(model, dict(metadata))
        self._onnx.checker.check_model(model, full_check=True)
        return model


def norm_factors(
    params: Mapping[str, Any], stats: Mapping[str, Any]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the factor and shift of a BatchNorm from its parameters and running statistics."""
    mean, variance = np.asarray(stats["mean"]), np.asarray(stats["var"])
    factor = np.asarray(params["scale"]) / np.sqrt(variance + np.float32(BATCH_NORM_EPSILON))
    return factor, np.asarray(params["bias"]) - mean * factor
