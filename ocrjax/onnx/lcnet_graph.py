"""LCNetV4 and LightSVTR, PP-OCRv6's small recognizer, as an ONNX graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from crnnjax.lcnet import BLOCKS
from crnnjax.lightsvtr import DEPTH, HEADS
from ocrjax.onnx.graph import Graph

_SAME, _AFTER = (1, 1, 1, 1), (0, 0, 1, 1)
_EPSILON, _LAST_EPSILON = 1e-5, 1e-6


def add_lcnet(graph: Graph, params: Mapping[str, Any], x: str, widths: str, *, height: int) -> str:
    """Add LCNetV4 with folded BatchNorm.

    Args:
        graph: graph to add the nodes to.
        params: parameters of `crnnjax.lcnet.LCNetV4`.
        x: `(B, 1, height, W)`, -1 to 1.
        widths: `(B,)` int64, widths without padding.
        height: height of the input.

    Returns:
        `(B, C, 1, W / 8)`.
    """

    def conv(name: str, x: str, pads: Sequence[int] = (0,) * 4, **options: Any) -> str:
        layer = params[name]
        return graph.conv(x, name, layer["kernel"], layer["bias"], pads=pads, **options)

    def masked(x: str) -> str:
        return graph.op("Mul", x, inside)

    inside = _mask(graph, x, widths)
    x = graph.relu(conv("stem1", masked(x), _SAME, stride=(2, 2)))
    widths, height = _halved(graph, widths), (height + 1) // 2
    inside = _mask(graph, x, widths)
    x = masked(x)
    y = graph.relu(conv("stem2a", x, _AFTER))
    y = graph.relu(conv("stem2b", masked(y), _AFTER))
    x = graph.op("Concat", graph.max_pool(x, stride=(1, 1), pads=_AFTER), y, axis=1)
    x = graph.relu(conv("stem3", masked(x), _SAME, stride=(2, 2)))
    widths, height = _halved(graph, widths), (height + 1) // 2
    inside = _mask(graph, x, widths)
    wide = graph.op("Cast", graph.op("Unsqueeze", widths, graph.whole(1, 2, 3)), to=1)
    x = graph.relu(conv("stem4", x))
    for index, block in enumerate(BLOCKS):
        name = f"block{index}"
        stride = (block.rows, 1)
        y = conv(f"{name}_depthwise", masked(x), _SAME, stride=stride, depthwise=True)
        height = -(-height // block.rows)
        if block.excite:
            total = graph.op("ReduceSum", masked(y), graph.whole(2, 3), keepdims=1)
            mean = graph.op("Div", total, graph.op("Mul", wide, graph.scalar(float(height))))
            factor = conv(f"{name}_excite", graph.relu(conv(f"{name}_squeeze", mean)))
            factor = graph.op("HardSigmoid", factor, alpha=1 / 6, beta=0.5)
            y = graph.op("Mul", y, factor)
        x = conv(f"{name}_project", _gelu(graph, conv(f"{name}_expand", y)))
        _, _, before, features = np.shape(params[f"{name}_project"]["kernel"])
        if 2 * features == before:
            x = graph.op("Add", x, y)
    x = graph.op("ReduceMean", masked(x), graph.whole(2), keepdims=1)
    return graph.op("AveragePool", x, kernel_shape=[1, 2], strides=[1, 2])


def add_lightsvtr(graph: Graph, params: Mapping[str, Any], x: str, steps: str) -> str:
    """Add LightSVTR with folded BatchNorm.

    Args:
        graph: graph to add the nodes to.
        params: parameters of `crnnjax.lightsvtr.LightSVTR`.
        x: `(B, C, 1, T)`.
        steps: `(B,)` int64, number of valid time steps.

    Returns:
        `(B, T, hidden)`.
    """

    def conv(name: str, x: str, **options: Any) -> str:
        layer = params[name]
        y = graph.conv(x, name, layer["kernel"], layer["bias"], **options)
        return graph.op("Mul", y, graph.op("Sigmoid", y))

    skip = conv("skip", x)
    inside = _mask(graph, x, steps)
    x = graph.op("Mul", conv("reduce", x), inside)
    span = np.shape(params["local"]["kernel"])[1]
    local = conv("local", x, pads=(0, span // 2, 0, span // 2), depthwise=True)
    x, skip = (
        graph.op("Transpose", graph.op("Squeeze", one, graph.whole(2)), perm=[0, 2, 1])
        for one in (graph.op("Add", x, local), skip)
    )
    # Attention bias that masks the padded steps: (B, 1, 1, T).
    closed = graph.op("Mul", graph.op("Sub", inside, graph.scalar(1.0)), graph.scalar(1e30))
    for index in range(DEPTH):
        name = f"block{index}"
        x = _transformer(graph, name, params[name], x, closed)
    return graph.op("Add", _norm(graph, "norm", params["norm"], x, _LAST_EPSILON), skip)


def _transformer(graph: Graph, name: str, params: Mapping[str, Any], x: str, closed: str) -> str:
    hidden = np.shape(params["out"]["kernel"])[0]
    each = hidden // HEADS

    def linear(which: str, x: str) -> str:
        return graph.linear(x, f"{name}.{which}", params[which])

    y = linear("qkv", _norm(graph, f"{name}.norm1", params["norm1"], x, _EPSILON))
    y = graph.op("Reshape", y, graph.whole(0, 0, 3, HEADS, each))
    y = graph.op("Transpose", y, perm=[2, 0, 3, 1, 4])  # (3, B, heads, T, each)
    query, key, value = (
        graph.op("Squeeze", graph.op("Gather", y, graph.whole(k), axis=0), graph.whole(0))
        for k in range(3)
    )
    scores = graph.op("MatMul", query, graph.op("Transpose", key, perm=[0, 1, 3, 2]))
    scores = graph.op("Mul", scores, graph.scalar(each**-0.5))
    shares = graph.op("Softmax", graph.op("Add", scores, closed), axis=-1)
    y = graph.op("Transpose", graph.op("MatMul", shares, value), perm=[0, 2, 1, 3])
    y = graph.op("Reshape", y, graph.whole(0, 0, hidden))
    x = graph.op("Add", x, linear("out", y))
    y = linear("mlp1", _norm(graph, f"{name}.norm2", params["norm2"], x, _EPSILON))
    y = graph.op("Mul", y, graph.op("Sigmoid", y))
    return graph.op("Add", x, linear("mlp2", y))


def _norm(graph: Graph, name: str, params: Mapping[str, Any], x: str, epsilon: float) -> str:
    scale, bias = (graph.weights(f"{name}.{key}", params[key]) for key in ("scale", "bias"))
    return graph.op("LayerNormalization", x, scale, bias, axis=-1, epsilon=epsilon)


def _gelu(graph: Graph, x: str) -> str:
    """Exact GELU, in the form that runtimes fuse; opset 18 has no such operation."""
    y = graph.op("Erf", graph.op("Div", x, graph.scalar(float(np.sqrt(2)))))
    y = graph.op("Mul", x, graph.op("Add", y, graph.scalar(1.0)))
    return graph.op("Mul", y, graph.scalar(0.5))


def _mask(graph: Graph, x: str, widths: str) -> str:
    """`(B, 1, 1, W)` float32: 1 within the true width, 0 in the padding."""
    return graph.op("Unsqueeze", graph.inside(x, 3, widths), graph.whole(1, 2))


def _halved(graph: Graph, widths: str) -> str:
    return graph.op("Div", graph.op("Add", widths, graph.whole(1)), graph.whole(2))
