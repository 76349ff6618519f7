"""Quantization to int8: dynamic for LSTMs and matrix products, static for convolutions."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ocrjax.onnx.graph import import_onnx
from ocrjax.onnx.runtime import import_onnxruntime

Inputs = Mapping[str, np.ndarray]


class _Samples:
    """Calibration data in the form that ONNX Runtime expects."""

    def __init__(self, samples: Sequence[Inputs]) -> None:
        self._left: Iterator[Inputs] = iter(samples)

    def get_next(self) -> Inputs | None:
        return next(self._left, None)


def quantize(model: Any, samples: Sequence[Inputs] = (), *, keep: Sequence[str] = ()) -> Any:
    """Quantize a model to int8.

    LSTMs and matrix products are quantized dynamically: weights here, inputs at run time.
    Convolutions are only quantized if there are samples to calibrate the range of their inputs.

    Args:
        model: an `onnx.ModelProto` with float32 weights.
        samples: calibration samples, inputs of the model by name.
        keep: convolutions that stay float32, by the names of their weights.

    Returns:
        An `onnx.ModelProto` with the same inputs, outputs and metadata.

    Raises:
        ImportError: the package `onnxruntime` is missing.
    """
    import_onnxruntime()
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_dynamic, quantize_static

    onnx = import_onnx()
    with tempfile.TemporaryDirectory(prefix="ocrjax-onnx-") as name:
        before, after = Path(name) / "before.onnx", Path(name) / "after.onnx"
        level = logging.root.level
        logging.root.setLevel(logging.ERROR)  # its advice does not apply here
        try:
            current = model
            if samples:
                onnx.save(current, before)
                kept = [
                    node.name
                    for node in current.graph.node
                    if node.op_type == "Conv" and node.input[1].removesuffix(".kernel") in keep
                ]
                quantize_static(
                    before,
                    after,
                    _Samples(samples),
                    quant_format=QuantFormat.QDQ,
                    op_types_to_quantize=["Conv", "MaxPool", "Relu"],
                    per_channel=True,
                    activation_type=QuantType.QUInt8,
                    weight_type=QuantType.QInt8,
                    nodes_to_exclude=kept,
                )
                current = onnx.load(after)
            if any(node.op_type in ("LSTM", "MatMul") for node in current.graph.node):
                onnx.save(current, before)
                quantize_dynamic(
                    before,
                    after,
                    op_types_to_quantize=["LSTM", "MatMul"],
                    weight_type=QuantType.QInt8,
                )
                current = onnx.load(after)
        finally:
            logging.root.setLevel(level)
    del current.metadata_props[:]
    current.metadata_props.extend(model.metadata_props)
    current.doc_string = model.doc_string
    return current
