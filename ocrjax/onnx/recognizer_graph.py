"""CRNN as an ONNX graph: features, sequence model, classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from crnnjax.models import options_of
from crnnjax.time_steps import FULL_HEIGHT
from ocrcore.lcnet import fold_batch_norm
from ocrjax.onnx.graph import Graph, norm_factors
from ocrjax.onnx.lcnet_graph import add_lcnet, add_lightsvtr

_SAME = (1, 1, 1, 1)
_ROUNDS = 5  # rounds of a recurrent convolution
_GATES = (0, 3, 1, 2)  # from our order i, f, g, o to that of ONNX: i, o, f, c


def add_recognizer(
    graph: Graph,
    variables: Mapping[str, Any],
    images: str,
    widths: str,
    *,
    height: int,
    classes: Sequence[int],
) -> tuple[str, str]:
    """Add a CRNN; BatchNorm after a convolution is folded into it.

    Args:
        graph: graph to add the nodes to.
        variables: variables of `crnnjax.models.CRNN`.
        images: `(B, 1, height, W)` float32, gray, -1 to 1.
        widths: `(B,)` int64, widths without the padding on the right.
        height: height of the images.
        classes: the order of the classes in the output.

    Returns:
        `(B, T, C)` float32 logits; and `(B,)` int64, the number of valid time steps out of T.
    """
    options = options_of(variables)
    if options["features"] == "lcnetv4":
        variables = fold_batch_norm(variables)
    params, stats = variables["params"], variables["batch_stats"]
    if (missing := FULL_HEIGHT - height) > 0:
        rows = graph.whole(0, 0, 0, 0, 0, 0, missing, 0)
        images, height = graph.op("Pad", images, rows, mode="edge"), FULL_HEIGHT
    widths = graph.op("Max", graph.op("Min", widths, graph.size(images, 3)), graph.whole(1))
    if options["transform"] == "affine":
        parts = params["Transformation"], stats["Transformation"]
        images = _affine(graph, *parts, images, widths, height)
    features = params["FeatureExtraction"]
    if options["features"] == "lcnetv4":
        # Columns are halved twice, rounding up, then paired, dropping an odd last one.
        steps = graph.op("Div", graph.op("Add", widths, graph.whole(3)), graph.whole(8))
        x = add_lcnet(graph, features, images, widths, height=height)
    else:
        beyond = -1 if options["features"] == "vgg" else 1
        steps = graph.op("Add", graph.op("Div", widths, graph.whole(4)), graph.whole(beyond))
        encoder = {"vgg": _vgg, "resnet": _resnet, "rcnn": _rcnn}[options["features"]]
        x = encoder(graph, features, stats["FeatureExtraction"], images)
        x = graph.op("ReduceMean", x, graph.whole(2), keepdims=1)
    steps = graph.op("Max", steps, graph.whole(1))
    if options["sequence"] == "lightsvtr":
        x = add_lightsvtr(graph, params["SequenceModeling"], x, steps)
    else:
        x = graph.op("Transpose", graph.op("Squeeze", x, graph.whole(2)), perm=[2, 0, 1])
        if options["sequence"] == "bilstm":
            x = _bilstm(graph, params["SequenceModeling"], x, steps)
        x = graph.op("Transpose", x, perm=[1, 0, 2])
    last = {
        name: np.asarray(value)[..., list(classes)] for name, value in params["Prediction"].items()
    }
    return graph.linear(x, "Prediction", last), steps


def _bilstm(graph: Graph, params: Mapping[str, Any], x: str, steps: str) -> str:
    """Two bidirectional LSTMs over `(T, B, C)`; padded steps do not influence valid ones."""
    lengths = graph.op("Cast", steps, to=6)
    for index in range(2):
        name = f"rnn{index}"
        layer = {key: np.asarray(value) for key, value in params[name].items()}
        hidden = layer["hidden_kernel"].shape[1]
        biases = [_gates(layer[f"{kind}_bias"][:, None])[..., 0] for kind in ("input", "hidden")]
        x = graph.op(
            "LSTM",
            x,
            graph.weights(f"{name}.input", _gates(layer["input_kernel"])),
            graph.weights(f"{name}.hidden", _gates(layer["hidden_kernel"])),
            graph.weights(f"{name}.bias", np.concatenate(biases, axis=1)),
            lengths,
            direction="bidirectional",
            hidden_size=hidden,
        )
        x = graph.op("Transpose", x, perm=[0, 2, 1, 3])  # both directions side by side
        x = graph.op("Reshape", x, graph.whole(0, 0, 2 * hidden))
        x = graph.linear(x, f"linear{index}", params[f"linear{index}"])
    return x


def _gates(kernel: np.ndarray) -> np.ndarray:
    """`(2, in, 4n)` in the order i, f, g, o to `(2, 4n, in)` in that of ONNX."""
    parts = np.split(kernel.transpose(0, 2, 1), 4, axis=1)
    return np.concatenate([parts[k] for k in _GATES], axis=1)


def _normed(
    graph: Graph,
    params: Mapping[str, Any],
    stats: Mapping[str, Any],
    x: str,
    conv: str,
    norm: str,
    pads: Sequence[int] = _SAME,
    **options: Any,
) -> str:
    """A convolution without bias, with the BatchNorm after it folded in."""
    factor, shift = norm_factors(params[norm], stats[norm])
    kernel = np.asarray(params[conv]["kernel"]) * factor
    return graph.conv(x, options.pop("name", conv), kernel, shift, pads=pads, **options)


def _plain(
    graph: Graph, params: Mapping[str, Any], x: str, conv: str, pads: Sequence[int] = _SAME
) -> str:
    return graph.conv(x, conv, params[conv]["kernel"], params[conv].get("bias"), pads=pads)


def _pool_overlapping(graph: Graph, x: str) -> str:
    return graph.max_pool(x, stride=(2, 1), pads=(0, 1, 0, 1))


def _vgg(graph: Graph, params: Mapping[str, Any], stats: Mapping[str, Any], x: str) -> str:
    x = graph.max_pool(graph.relu(_plain(graph, params, x, "conv0")))
    x = graph.max_pool(graph.relu(_plain(graph, params, x, "conv3")))
    x = graph.relu(_plain(graph, params, x, "conv6"))
    x = graph.max_pool(graph.relu(_plain(graph, params, x, "conv8")), (2, 1))
    x = graph.relu(_normed(graph, params, stats, x, "conv11", "bn12"))
    x = graph.relu(_normed(graph, params, stats, x, "conv14", "bn15"))
    return graph.relu(_plain(graph, params, graph.max_pool(x, (2, 1)), "conv18", (0,) * 4))


def _resnet(graph: Graph, params: Mapping[str, Any], stats: Mapping[str, Any], x: str) -> str:
    def norm(index: str, x: str, pads: Sequence[int] = _SAME, **options: Any) -> str:
        conv, bn = f"conv{index}", f"bn{index}"
        return graph.relu(_normed(graph, params, stats, x, conv, bn, pads, **options))

    def layer(number: int, x: str) -> str:
        index = 0
        while (name := f"layer{number}_{index}") in params:
            x = _basic_block(graph, name, params[name], stats[name], x)
            index += 1
        return x

    x = norm("0_2", norm("0_1", x))
    x = norm("1", layer(1, graph.max_pool(x)))
    x = norm("2", layer(2, graph.max_pool(x)))
    x = norm("3", layer(3, _pool_overlapping(graph, x)))
    x = norm("4_1", layer(4, x), (0, 1, 0, 1), stride=(2, 1))
    return norm("4_2", x, (0,) * 4)


def _basic_block(
    graph: Graph, name: str, params: Mapping[str, Any], stats: Mapping[str, Any], x: str
) -> str:
    def norm(conv: str, bn: str, x: str, pads: Sequence[int] = _SAME) -> str:
        return _normed(graph, params, stats, x, conv, bn, pads, name=f"{name}.{conv}")

    y = norm("conv2", "bn2", graph.relu(norm("conv1", "bn1", x)))
    if "downsample_0" in params:
        x = norm("downsample_0", "downsample_1", x, (0,) * 4)
    return graph.relu(graph.op("Add", x, y))


def _rcnn(graph: Graph, params: Mapping[str, Any], stats: Mapping[str, Any], x: str) -> str:
    x = graph.max_pool(graph.relu(_plain(graph, params, x, "conv0")))
    for index in (3, 5, 7):
        name = f"grcl{index}"
        x = _recurrent(graph, name, params[name], stats[name], x)
        x = graph.max_pool(x) if index == 3 else _pool_overlapping(graph, x)
    return graph.relu(_normed(graph, params, stats, x, "conv9", "bn10", (0,) * 4))


def _recurrent(
    graph: Graph, name: str, params: Mapping[str, Any], stats: Mapping[str, Any], x: str
) -> str:
    """A gated recurrent convolution; its kernels are shared, so the norms stay unfolded."""

    def conv(which: str, x: str, pads: Sequence[int]) -> str:
        return graph.conv(x, f"{name}.{which}", params[which]["kernel"], pads=pads)

    def norm(which: str, x: str) -> str:
        return graph.scaled(x, f"{name}.{which}", *norm_factors(params[which], stats[which]))

    gate_input, input_ = conv("wgf_u", x, (0,) * 4), conv("wf_u", x, _SAME)
    x = graph.relu(norm("BN_x_init", input_))
    for index in range(_ROUNDS):
        bn = f"GRCL_{index}_BN_"
        gate = norm(f"{bn}grx", conv("wgr_x", x, (0,) * 4))
        gate = graph.op("Sigmoid", graph.op("Add", norm(f"{bn}gfu", gate_input), gate))
        gated = graph.op("Mul", norm(f"{bn}rx", conv("wr_x", x, _SAME)), gate)
        x = graph.relu(graph.op("Add", norm(f"{bn}fu", input_), norm(f"{bn}Gx", gated)))
    return x


def _affine(
    graph: Graph,
    params: Mapping[str, Any],
    stats: Mapping[str, Any],
    x: str,
    widths: str,
    height: int,
) -> str:
    """The spatial transformer; x runs from -1 to 1 over the true width."""
    y = x
    for index in range(3):
        y = graph.max_pool(
            graph.conv(y, f"affine.{index}", params[f"conv{index}"]["kernel"], pads=_SAME)
        )
        factors = norm_factors(params[f"bn{index}"], stats[f"bn{index}"])
        y = graph.relu(graph.scaled(y, f"affine.{index}", *factors))
    columns = graph.op("ReduceMean", y, graph.whole(2), keepdims=0)  # (B, C, W / 8)
    few = graph.op("Max", graph.op("Div", widths, graph.whole(8)), graph.whole(1))
    inside = graph.op("Unsqueeze", graph.inside(columns, 2, few), graph.whole(1))
    total = graph.op("ReduceSum", graph.op("Mul", columns, inside), graph.whole(2), keepdims=0)
    mean = graph.op("Div", total, graph.op("ReduceSum", inside, graph.whole(2), keepdims=0))
    hidden = graph.relu(graph.linear(mean, "affine.linear", params["linear0"]))
    # The network gives the difference from the identity.
    last = {"kernel": params["kernel"], "bias": np.asarray(params["bias"]) + np.eye(2, 3).ravel()}
    theta = graph.op("Reshape", graph.linear(hidden, "affine.theta", last), graph.whole(0, 6, 1, 1))
    numbers = [graph.op("Gather", theta, graph.whole(k), axis=1) for k in range(6)]

    half, one, two = graph.scalar(0.5), graph.scalar(1.0), graph.scalar(2.0)
    wide = graph.op("Cast", graph.op("Unsqueeze", widths, graph.whole(1, 2, 3)), to=1)
    across = graph.op("Cast", graph.count(x, 3), to=1)  # (W,)
    across = graph.op("Div", graph.op("Add", across, half), wide)  # (B, 1, 1, W)
    across = graph.op("Sub", graph.op("Mul", across, two), one)
    down = graph.weights("affine.down", ((np.arange(height) + 0.5) / height * 2 - 1)[:, None])

    def place(row: int, size: str, whole: str) -> str:
        """From 0 to `size`, clipped to the image, in GridSample's -1 to 1 over `whole`."""
        at = graph.op("Mul", numbers[3 * row], across)
        at = graph.op("Add", at, graph.op("Mul", numbers[3 * row + 1], down))
        at = graph.op("Add", graph.op("Add", at, numbers[3 * row + 2]), one)
        at = graph.op("Sub", graph.op("Mul", graph.op("Div", at, two), size), half)
        at = graph.op("Min", graph.op("Max", at, graph.scalar(0.0)), graph.op("Sub", size, one))
        at = graph.op("Div", graph.op("Mul", graph.op("Add", at, half), two), whole)
        # (B, 1, H, W) to (B, H, W, 1)
        return graph.op("Transpose", graph.op("Sub", at, one), perm=[0, 2, 3, 1])

    whole = graph.op("Cast", graph.size(x, 3), to=1)
    rows = graph.scalar(float(height))
    grid = graph.op("Concat", place(0, wide, whole), place(1, rows, rows), axis=3)
    return graph.op("GridSample", x, grid, mode="bilinear", padding_mode="border", align_corners=0)
