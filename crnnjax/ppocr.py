"""PP-OCRv6's small recognizer: its ONNX file as variables of `crnnjax.models.CRNN`, and charset.

The published file (Apache-2.0, by PaddleOCR's authors) is included in the PyPI package `rapidocr`.
It reads crops 48 pixels high. Its first convolution takes three channels; gray crops have three
equal ones, so the sum of the three kernels gives the same result.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from crnnjax.charset import Charset, CharsetError
from crnnjax.convert import ConversionError
from crnnjax.lightsvtr import DEPTH
from crnnjax.models import CRNN, options_of, shapes_of
from ocrcore.layers import BATCH_NORM_EPSILON
from ocrcore.lcnet import RECOGNIZER_BLOCKS
from ocrcore.weights.onnx_file import OtherNetworkError, expect_end, load_onnx, take

HEIGHT = 48
"""Height of its input in pixels."""
NAME = "ppocrv6_small"
NOTICE = """The weights are those of PP-OCRv6's small recognizer, or derived from them: PaddleOCR,
https://github.com/PaddlePaddle/PaddleOCR, Apache License 2.0,
https://www.apache.org/licenses/LICENSE-2.0."""


def notice_of(variables: Mapping[str, Any]) -> str:
    """Return the attribution of weights if their license requires it, else an empty text.

    Only the published weights, and those fine-tuned from them, have no BatchNorm.
    """
    options = options_of(variables)
    published = options["features"] == "lcnetv4" and not options["batch_norm"]
    return NOTICE if published else ""


def load_ppocr(path: str | Path) -> tuple[dict[str, Any], Charset]:
    """Read the ONNX file of PP-OCRv6's small recognizer.

    Returns:
        `{"params": ..., "batch_stats": {}}` of float32 NumPy arrays, with one class for each
        character; and the charset.

    Raises:
        OnnxFileError: the file cannot be read.
        ConversionError: another network; the message names the first difference.
        ImportError: the package `onnx` is missing.
    """
    arrays, metadata = load_onnx(path)
    if "ocrjax" in metadata:
        raise ConversionError(
            f"{path}: was exported by `ocrjax export onnx`, with folded norms and another order of "
            "classes: give the run or the weights that it was exported from"
        )
    if "character" not in metadata:
        raise ConversionError(
            f"{path}: not a recognizer of PP-OCR: it has no metadata 'character'; expected "
            "PP-OCRv6_rec_small.onnx"
        )
    try:
        # The space is the last class; the file leaves it out.
        charset = Charset(NAME, (*metadata["character"].split("\n"), " "), as_is=True)
    except CharsetError as error:
        raise ConversionError(f"{path}: {error}") from error
    try:
        # Scalars are constants of the graph, such as the scale of the attention.
        weights = [(name, array) for name, array in arrays.items() if array.size > 1]
        return _variables(weights, charset.num_classes), charset
    except OtherNetworkError as error:
        raise ConversionError(f"{path}: not PP-OCRv6's small recognizer: {error}") from error


def _variables(arrays: list[tuple[str, np.ndarray]], classes: int) -> dict[str, Any]:
    model = CRNN(classes, "lcnetv4", 384, 120, "lightsvtr", batch_norm=False)
    shapes = flatten_dict(shapes_of(model)["params"])
    left = iter(arrays)
    found: dict[tuple[str, ...], np.ndarray] = {}
    for path, kind in _order():
        where = "/".join(path)
        if kind == "norm":
            found[(*path, "scale")] = take(left, shapes[(*path, "scale")].shape, where)
            found[(*path, "bias")] = take(left, shapes[(*path, "bias")].shape, where)
            continue
        shape = shapes[(*path, "kernel")].shape
        if kind == "linear":
            found[(*path, "kernel")] = take(left, shape, where)
            found[(*path, "bias")] = take(left, shape[-1:], where)
            continue
        height, width, inputs, outputs = shape
        if path[-1] == "stem1":
            inputs = 3
        kernel = take(left, (outputs, inputs, height, width), where).transpose(2, 3, 1, 0)
        if path[-1] == "stem1":
            kernel = kernel.sum(2, keepdims=True)
        if kind == "conv":
            bias = take(left, (outputs,), where)
        else:
            scale, shift, mean, variance = (take(left, (outputs,), where) for _ in range(4))
            factor = scale / np.sqrt(variance + np.float32(BATCH_NORM_EPSILON))
            kernel, bias = kernel * factor, shift - mean * factor
        found[(*path, "kernel")], found[(*path, "bias")] = kernel, bias
    expect_end(left)
    if found.keys() != shapes.keys():
        raise OtherNetworkError("layers are missing")
    params = unflatten_dict({path: np.ascontiguousarray(value) for path, value in found.items()})
    return {"params": params, "batch_stats": {}}


def _order() -> Iterator[tuple[tuple[str, ...], str]]:
    """Layers in the order of the graph, and the parameters of each: a bias, BatchNorm, ..."""
    for name in ("stem1", "stem2a", "stem2b", "stem3", "stem4"):
        yield ("FeatureExtraction", name), "conv"
    for index, block in enumerate(RECOGNIZER_BLOCKS):
        parts = ("depthwise", *(("squeeze", "excite") if block.excite else ()), "expand", "project")
        for part in parts:
            yield ("FeatureExtraction", f"block{index}_{part}"), "conv"
    for name in ("skip", "reduce", "local"):
        yield ("SequenceModeling", name), "folded"
    for index in range(DEPTH):
        block_path = ("SequenceModeling", f"block{index}")
        for name, kind in (
            ("norm1", "norm"),
            ("qkv", "linear"),
            ("out", "linear"),
            ("norm2", "norm"),
            ("mlp1", "linear"),
            ("mlp2", "linear"),
        ):
            yield (*block_path, name), kind
    yield ("SequenceModeling", "norm"), "norm"
    yield ("Prediction",), "linear"
