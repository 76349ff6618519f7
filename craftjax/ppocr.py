"""PP-OCRv6's small detector: its ONNX file as variables of `craftjax.lcnet.LCNetCRAFT`.

The published file (Apache-2.0, by PaddleOCR's authors) is the one in the PyPI package `rapidocr`.
It finds text lines with one map of the image's size. Its last layer is dropped; the layer for
region and affinity starts near zero and must be trained. The file expects BGR, so the channels of
the first kernel are reversed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from craftjax.convert import ConversionError
from craftjax.lcnet import LEVELS, NARROW, LCNetCRAFT
from craftjax.models import options_of
from ocrcore.lcnet import DETECTOR_BLOCKS
from ocrcore.weights.onnx_file import OtherNetworkError, expect_end, load_onnx, take

NOTICE = """The weights are derived from those of PP-OCRv6's small detector: PaddleOCR,
https://github.com/PaddlePaddle/PaddleOCR, Apache License 2.0,
https://www.apache.org/licenses/LICENSE-2.0."""
_START = 0.01  # standard deviation of the new layer's initial kernel


def notice_of(variables: Mapping[str, Any]) -> str:
    """Return the attribution that the weights' license requires, or an empty string.

    A compact detector counts as derived from the published weights.
    """
    return NOTICE if options_of(variables)["features"] == "lcnetv4" else ""


def load_ppocr_detector(path: str | Path, *, seed: int = 0) -> dict[str, Any]:
    """Read the ONNX file of PP-OCRv6's small detector.

    Args:
        path: path of the file.
        seed: seed of the new last layer.

    Returns:
        `{"params": ..., "batch_stats": {}}` of float32 NumPy arrays.

    Raises:
        OnnxFileError: the file cannot be read.
        ConversionError: the file holds another network; the message names the first difference.
        ImportError: the package `onnx` is missing.
    """
    arrays, metadata = load_onnx(path)
    if "ocrjax" in metadata:
        raise ConversionError(
            f"{path}: exported by `ocrjax export onnx`; give the run or the weights that it was "
            "made of"
        )
    # The others are constants of the graph, such as those of GELU and scale factors.
    weights = [(name, array) for name, array in arrays.items() if array.ndim == 4]
    try:
        params = _params(iter(weights))
    except OtherNetworkError as error:
        raise ConversionError(f"{path}: not PP-OCRv6's small detector: {error}") from error
    shape = flatten_dict(shapes())[("scores", "kernel")].shape
    kernel = np.random.default_rng(seed).normal(0, _START, shape).astype(np.float32)
    params[("scores", "kernel")], params[("scores", "bias")] = kernel, np.zeros(2, np.float32)
    return {"params": unflatten_dict(params), "batch_stats": {}}


def shapes() -> dict[str, Any]:
    """Return the shapes of the network's parameters."""
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), np.uint8)
    return dict(jax.eval_shape(LCNetCRAFT().init, jax.random.key(0), image)["params"])


def _params(left: Iterator[tuple[str, np.ndarray]]) -> dict[tuple[str, ...], np.ndarray]:
    known = flatten_dict(shapes())
    found: dict[tuple[str, ...], np.ndarray] = {}
    for path, biased in _order():
        where = "/".join(path)
        height, width, inputs, outputs = known[(*path, "kernel")].shape
        if path == ("enlarge",):
            kernel = take(left, (inputs, outputs // 4, 2, 2), where).transpose(0, 2, 3, 1)
            kernel = kernel.reshape(height, width, inputs, outputs)
            bias = np.tile(take(left, (outputs // 4,), where), 4)
        else:
            kernel = take(left, (outputs, inputs, height, width), where).transpose(2, 3, 1, 0)
            bias = take(left, (outputs,), where) if biased else np.zeros(outputs, np.float32)
        if path[-1] == "stem1":
            kernel = kernel[:, :, ::-1]
        found[(*path, "kernel")] = np.ascontiguousarray(kernel)
        found[(*path, "bias")] = bias
    take(left, (NARROW, 1, 2, 2), "the last layer")
    take(left, (1,), "the last layer's bias")
    expect_end(left)
    return found


def _order() -> Iterator[tuple[tuple[str, ...], bool]]:
    """Yield the layers in the order of the graph, and whether they have a bias."""
    for name in ("stem1", "stem2a", "stem2b", "stem3", "stem4"):
        yield ("features", name), True
    for index, block in enumerate(DETECTOR_BLOCKS):
        parts = ("depthwise", *(("squeeze", "excite") if block.excite else ()), "expand", "project")
        for part in parts:
            yield ("features", f"block{index}_{part}"), True
    for level in LEVELS:
        yield from _excited(f"lateral{level}")
    for level in LEVELS:
        yield (f"spread{level}",), True
        yield from _excited(f"narrow{level}")
    yield ("join",), True
    yield ("enlarge",), True


def _excited(name: str) -> Iterator[tuple[tuple[str, ...], bool]]:
    yield (name,), False
    yield (f"{name}_squeeze",), True
    yield (f"{name}_excite",), True
