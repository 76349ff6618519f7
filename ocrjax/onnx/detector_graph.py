"""CRAFT as an ONNX graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from craftjax.models import DECODER, ENCODER, HEAD, MEAN, STD
from ocrjax.onnx.graph import Graph, norm_factors

_PADS = {1: (0, 0, 0, 0), 3: (1, 1, 1, 1)}


def add_detector(graph: Graph, variables: Mapping[str, Any], images: str) -> str:
    """Add CRAFT of any width, with folded BatchNorm.

    Args:
        graph: graph to add the nodes to.
        variables: variables of `craftjax.models.CRAFT`.
        images: `(B, H, W, 3)` uint8, RGB; H and W are any sizes from 16 on.

    Returns:
        `(B, H // 2, W // 2, 2)` float32: region and affinity.
    """
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
