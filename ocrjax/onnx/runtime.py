"""Detectors and recognizers in ONNX Runtime: the same classes, but JAX runs no network."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from craftjax.detector import Detector
from craftjax.options import DetectorOptions
from crnnjax.charset import Charset
from crnnjax.options import RecognizerOptions
from crnnjax.recognizer import Recognizer
from ocrcore.options import from_section
from ocrcore.pages import ByteArray, FloatArray
from ocrjax.onnx.graph import OnnxError
from ocrjax.onnx.models import (
    FORMAT,
    KEY,
    OF_DETECTOR,
    OF_RECOGNIZER,
    detector_model,
    recognizer_model,
)

_MAX_BYTES = 1 << 30
_Network = TypeVar("_Network", Detector, Recognizer)


def import_onnxruntime() -> Any:
    """Import and return the package `onnxruntime`.

    Raises:
        ImportError: it is not installed; the message names the extra.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError(
            'running ONNX files needs the package onnxruntime: pip install "ocrjax[onnxruntime]"'
        ) from error
    return onnxruntime


def open_session(model: str | Path | bytes, *, threads: int | None = None) -> Any:
    """Open an `onnxruntime.InferenceSession` on the CPU.

    Args:
        model: a file, or its bytes.
        threads: number of threads; None for all CPUs.

    Raises:
        OnnxError: ONNX Runtime cannot load the model.
        ImportError: the package `onnxruntime` is missing.
    """
    ort = import_onnxruntime()
    name = "the model" if isinstance(model, bytes) else str(model)
    if not isinstance(model, bytes):
        path = Path(model)
        try:
            if (size := path.stat().st_size) > _MAX_BYTES:
                raise OnnxError(f"{path}: {size:,} bytes, expected at most {_MAX_BYTES:,}")
            # A model loaded from bytes cannot refer to external files.
            model = path.read_bytes()
        except OSError as error:
            raise OnnxError(f"{path}: {error.strerror or error}") from error
    options = ort.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its error classes have no common base class
        raise OnnxError(f"{name}: ONNX Runtime cannot load it: {error}") from error


def facts_of(session: Any, network: str) -> dict[str, Any]:
    """Return the metadata that ocrjax wrote.

    Raises:
        OnnxError: the model is of another network, of another program, or of a newer version.
    """
    try:
        facts = json.loads(session.get_modelmeta().custom_metadata_map[KEY])
        kind, version = facts["network"], facts["format"]
    except (KeyError, TypeError, ValueError) as error:
        raise OnnxError(
            f"not a model of ocrjax: it has no metadata {KEY!r} (expected a file of `ocrjax "
            "export onnx`, not the one for RapidOCR)"
        ) from error
    if kind != network or version != FORMAT:
        raise OnnxError(
            f"the model is a {kind} of format {version}, expected a {network} of format {FORMAT}"
        )
    return dict(facts)


def load_detector(model: str | Path | bytes, *, threads: int | None = None) -> Detector:
    """Load a detector from its ONNX file, with the options in the file.

    Args:
        model: a file of `ocrjax export onnx`, or its bytes.
        threads: number of threads; None for all CPUs.

    Raises:
        OnnxError: the file is not one of `ocrjax export onnx`.
        ImportError: the package `onnxruntime` is missing.
    """
    session = open_session(model, threads=threads)
    facts = facts_of(session, "detector")
    options = _section(DetectorOptions, facts, OF_DETECTOR)
    return Detector.from_network(_scores(session), options=options)


def load_recognizer(model: str | Path | bytes, *, threads: int | None = None) -> Recognizer:
    """Load a recognizer from its ONNX file, with the charset and options in the file.

    Arguments and errors are those of `load_detector`.
    """
    session = open_session(model, threads=threads)
    facts = facts_of(session, "recognizer")
    try:
        charset = Charset(
            str(facts["charset"]),
            tuple(facts["characters"]),
            case_insensitive=bool(facts["case_insensitive"]),
            as_is=True,
        )
        height, features = int(facts["height"]), str(facts["features"])
    except (KeyError, TypeError, ValueError) as error:
        raise OnnxError(f"metadata {KEY!r}: not those of a recognizer: {error!r}") from error
    return Recognizer.from_network(
        _logits(session),
        charset=charset,
        height=height,
        features=features,
        transform=str(facts.get("transform", "unknown")),  # older files lack it
        options=_section(RecognizerOptions, facts, OF_RECOGNIZER),
    )


def with_onnxruntime(network: _Network) -> _Network:
    """Return the same detector or recognizer, with its network in ONNX Runtime on the CPU.

    A lexicon in the recognizer's own options is not kept.

    Raises:
        ImportError: the package onnx or onnxruntime is missing.
    """
    import_onnxruntime()
    variables, options = network.variables, network.options
    if isinstance(network, Detector):
        session = open_session(detector_model(variables, options).SerializeToString())
        return Detector.from_network(_scores(session), options=options)
    model = recognizer_model(
        variables, charset=network.charset, height=network.height, options=options
    )
    loaded = load_recognizer(model.SerializeToString())  # its classes have another order
    loaded.options = replace(options, lexicon=loaded.options.lexicon)
    return loaded


def _scores(session: Any) -> Callable[[ByteArray], FloatArray]:
    """The network function of a detector."""

    def network(images: ByteArray) -> FloatArray:
        (scores,) = session.run(["scores"], {"images": images})
        return np.asarray(scores, np.float32)

    return network


def _logits(session: Any) -> Callable[[ByteArray, np.ndarray | None], FloatArray]:
    """The network function of a recognizer."""

    def network(images: ByteArray, widths: np.ndarray | None) -> FloatArray:
        if widths is None:
            widths = np.full(len(images), images.shape[2], np.int32)
        (logits,) = session.run(["logits"], {"images": images, "widths": widths})
        return np.asarray(logits, np.float32)

    return network


def _section(kind: Any, facts: dict[str, Any], names: tuple[str, ...]) -> Any:
    try:
        return from_section(kind, {name: facts[name] for name in names}, "options")
    except (KeyError, TypeError, ValueError) as error:
        raise OnnxError(f"metadata {KEY!r}: {error!r}") from error
