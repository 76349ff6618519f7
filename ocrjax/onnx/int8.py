"""Models in int8: LSTMs and products as they come, convolutions by what pictures show."""

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
    """What ONNX Runtime's calibration asks one by one."""

    def __init__(self, samples: Sequence[Inputs]) -> None:
        self._left: Iterator[Inputs] = iter(samples)

    def get_next(self) -> Inputs | None:
        return next(self._left, None)


def quantize(model: Any, samples: Sequence[Inputs] = (), *, keep: Sequence[str] = ()) -> Any:
    """Rounds a model to int8.

    LSTMs and matrix products have their weights rounded, and their inputs while they run.
    Convolutions are rounded where there are samples: the range of their inputs must be known.

    Args:
        model: an `onnx.ModelProto` of float32 weights.
        samples: inputs of the model by name.
        keep: names of convolutions, as they are in the names of their weights, that stay float32.

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
        logging.root.setLevel(logging.ERROR)  # it advises what would change nothing here
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
