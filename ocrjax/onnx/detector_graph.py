"""CRAFT and the compact detector as ONNX graphs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from craftjax.lcnet import LEVELS, SPAN
from craftjax.models import DECODER, ENCODER, HEAD, MEAN, STD, options_of
from ocrcore.lcnet import DETECTOR_BLOCKS
from ocrjax.onnx.graph import Graph, norm_factors
from ocrjax.onnx.lcnet_graph import gelu

_PADS = {1: (0, 0, 0, 0), 3: (1, 1, 1, 1)}


def add_detector(graph: Graph, variables: Mapping[str, Any], images: str) -> str:
    """Add CRAFT of any width, with folded BatchNorm, or the compact detector.

    Args:
        graph: graph to add the nodes to.
        variables: variables of a network of `craftjax.models.make_network`.
        images: `(B, H, W, 3)` uint8, RGB; H and W are any sizes from 16 on.

    Returns:
        `(B, H // 2, W // 2, 2)` float32: region and affinity.
    """
    if options_of(variables)["features"] == "lcnetv4":
        return _add_compact(graph, variables["params"], images)
    params, stats = variables["params"], variables["batch_stats"]
    encoder, encoder_stats = params["basenet"], stats["basenet"]
    x = graph.op("Cast", graph.op("Transpose", images, perm=[0, 3, 1, 2]), to=1)
    x = graph.op("Sub", x, graph.weights("mean", np.reshape(MEAN, (1, 3, 1, 1)) * 255))
    # The standard deviation is folded into the first kernel; the mean cannot be, because the
    # convolution pads with zeros after it is subtracted.
    scale: Any = 1 / (np.array(STD, np.float32) * 255)
    skips = []
    for name, layers in ENCODER.items():
        part, part_stats = encoder[name], encoder_stats[name]
        for index, _, before in layers:
            for step in before:
                x = graph.relu(x) if step == "relu" else graph.max_pool(x)
            norm = f"bn{index + 1}"
            kernel, bias = _folded(part[f"conv{index}"], part[norm], part_stats[norm])
            if scale is not None:
                kernel, scale = kernel * scale[:, None], None
            x = graph.conv(x, f"{name}.{index}", kernel, bias, pads=_PADS[3])
        if name != "slice4":
            x = graph.relu(x)
        skips.append((x, kernel.shape[-1]))
    y = graph.max_pool(x, (3, 3), stride=(1, 1), pads=(1, 1, 1, 1))
    bottom = encoder["slice5"]
    conv = bottom["conv1"]
    y = graph.conv(y, "slice5.1", conv["kernel"], conv["bias"], pads=(6,) * 4, dilation=6)
    y = graph.conv(y, "slice5.2", bottom["conv2"]["kernel"], bottom["conv2"]["bias"])
    for name, (skip, channels) in zip(DECODER, reversed(skips), strict=True):
        y = _joined(graph, name, (y, skip), channels, params[name], stats[name])
    for index, _, size in HEAD:
        conv = params["conv_cls"][f"conv{index}"]
        y = graph.conv(y, f"head.{index}", conv["kernel"], conv["bias"], pads=_PADS[size])
        y = y if index == HEAD[-1][0] else graph.relu(y)
    return graph.op("Transpose", y, perm=[0, 2, 3, 1])


def _joined(
    graph: Graph,
    name: str,
    inputs: tuple[str, str],
    channels: int,
    params: Mapping[str, Any],
    stats: Mapping[str, Any],
) -> str:
    """A decoder block: joins a coarse map and a skip connection of `channels`."""
    coarse, skip = inputs
    kernel, bias = _folded(params["conv0"], params["bn1"], stats["bn1"])
    split = kernel.shape[2] - channels
    # A 1x1 convolution and upsampling commute: convolve the small map.
    y = graph.conv(coarse, f"{name}.coarse", kernel[:, :, :split])
    sizes = (graph.op("Shape", y, end=2), graph.op("Shape", skip, start=2))
    y = graph.op(
        *("Resize", y, "", "", graph.op("Concat", *sizes, axis=0)),
        mode="linear",
        coordinate_transformation_mode="half_pixel",
    )
    y = graph.relu(graph.op("Add", y, graph.conv(skip, f"{name}.skip", kernel[:, :, split:], bias)))
    kernel, bias = _folded(params["conv3"], params["bn4"], stats["bn4"])
    return graph.relu(graph.conv(y, f"{name}.3", kernel, bias, pads=_PADS[3]))


def _folded(
    conv: Mapping[str, Any], norm: Mapping[str, Any], stats: Mapping[str, Any]
) -> tuple[np.ndarray, np.ndarray]:
    """Kernel and bias of a convolution with the BatchNorm after it folded in."""
    factor, shift = norm_factors(norm, stats)
    return np.asarray(conv["kernel"]) * factor, np.asarray(conv["bias"]) * factor + shift


def _add_compact(graph: Graph, params: Mapping[str, Any], images: str) -> str:
    """Add `craftjax.lcnet.LCNetCRAFT`."""

    def conv(name: str, x: str, **options: Any) -> str:
        layer = params[name] if name in params else params["features"][name]
        return graph.conv(x, name, layer["kernel"], layer["bias"], **options)

    def factors(name: str, x: str, slope: float) -> str:
        mean = graph.op("ReduceMean", x, graph.whole(2, 3), keepdims=1)
        y = conv(f"{name}_excite", graph.relu(conv(f"{name}_squeeze", mean)))
        return graph.op("HardSigmoid", y, alpha=slope, beta=0.5)

    def excited(name: str, x: str) -> str:
        x = conv(name, x)
        return graph.op("Add", x, graph.op("Mul", x, factors(name, x, 0.2)))

    def enlarged(x: str, times: int) -> str:
        scales = graph.weights(f"times{times}", [1, 1, times, times])
        nearest = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        return graph.op("Resize", x, "", scales, mode="nearest", **nearest)

    x = graph.op("Cast", graph.op("Transpose", images, perm=[0, 3, 1, 2]), to=1)
    x = graph.op("Sub", graph.op("Div", x, graph.scalar(127.5)), graph.scalar(1.0))
    size = graph.op("Shape", images, start=1, end=3)
    side = graph.whole(LEVELS[0])
    missing = graph.op("Mod", graph.op("Neg", size), side)
    ends = graph.op("Concat", graph.whole(0, 0, 0, 0, 0, 0), missing, axis=0)
    x = graph.op("Pad", x, ends, mode="constant")
    x = graph.relu(conv("stem1", x, pads=_PADS[3], stride=(2, 2)))
    after = (0, 0, 1, 1)
    y = graph.relu(conv("stem2b", graph.relu(conv("stem2a", x, pads=after)), pads=after))
    x = graph.op("Concat", graph.max_pool(x, stride=(1, 1), pads=after), y, axis=1)
    x = graph.relu(conv("stem3", x, pads=_PADS[3], stride=(2, 2)))
    x = graph.relu(conv("stem4", x))
    stages = []
    for index, block in enumerate(DETECTOR_BLOCKS):
        name = f"block{index}"
        if block.stride != (1, 1):
            stages.append(x)
        y = conv(f"{name}_depthwise", x, pads=_PADS[3], stride=block.stride, depthwise=True)
        if block.excite:
            y = graph.op("Mul", y, factors(name, y, 1 / 6))
        x = conv(f"{name}_project", gelu(graph, conv(f"{name}_expand", y)))
        if block.stride == (1, 1):
            x = graph.op("Add", x, y)
    above, joined = "", []
    for level, stage in zip(LEVELS, (x, *reversed(stages)), strict=True):
        y = excited(f"lateral{level}", stage)
        above = graph.op("Add", y, enlarged(above, 2)) if above else y
        y = conv(f"spread{level}", above, pads=(SPAN // 2,) * 4, depthwise=True)
        y = excited(f"narrow{level}", y)
        joined.append(y if level == LEVELS[-1] else enlarged(y, level // LEVELS[-1]))
    x = graph.relu(conv("join", graph.op("Concat", *joined, axis=1), pads=_PADS[3]))
    x = graph.op("DepthToSpace", graph.relu(conv("enlarge", x)), blocksize=2, mode="DCR")
    scores = graph.op("Transpose", conv("scores", x), perm=[0, 2, 3, 1])
    half = graph.op("Div", size, graph.whole(2))
    return graph.op("Slice", scores, graph.whole(0, 0), half, graph.whole(1, 2))
