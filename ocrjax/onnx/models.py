"""Complete ONNX models: inputs, outputs, and metadata with everything needed to use them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from craftjax.options import DetectorOptions
from crnnjax import ppocr
from crnnjax.charset import Charset
from crnnjax.models import options_of
from crnnjax.options import RecognizerOptions
from ocrjax.onnx.detector_graph import add_detector
from ocrjax.onnx.graph import Graph, OnnxError
from ocrjax.onnx.recognizer_graph import add_recognizer

KEY = "ocrjax"
"""Metadata key of the JSON with everything needed to use the model."""
FORMAT = 1
OF_DETECTOR = (
    "text_threshold",
    "link_threshold",
    "low_text",
    "canvas_size",
    "mag_ratio",
    "border",
)
OF_RECOGNIZER = ("resize", "width", "turn_above", "confidence", "contrast_threshold", "contrast")
RAPIDOCR_HEIGHT = 48


def detector_model(
    variables: Mapping[str, Any], options: DetectorOptions, *, half: bool = False
) -> Any:
    """Return CRAFT as an ONNX model.

    Input `images` `(B, H, W, 3)` uint8, RGB, H and W 16 or more; output `scores`
    `(B, H // 2, W // 2, 2)` float32, region and affinity.

    Args:
        variables: variables of `craftjax.models.CRAFT`.
        options: thresholds and scaling, written into the metadata.
        half: store weights as float16.

    Returns:
        An `onnx.ModelProto`.
    """
    graph = Graph(half=half)
    graph.name(add_detector(graph, variables, "images"), "scores")
    facts = {
        "format": FORMAT,
        "network": "detector",
        "input": "images: uint8 (B, H, W, 3), RGB, scaled, then padded with 0 to multiples of 32",
        "output": "scores: float32 (B, H // 2, W // 2, 2), region and affinity",
        **{name: getattr(options, name) for name in OF_DETECTOR},
    }
    return graph.finish(
        {"images": ("uint8", ("batch", "height", "width", 3))},
        {"scores": ("float32", ("batch", "half_height", "half_width", 2))},
        metadata={KEY: json.dumps(facts)},
        about="A text detector (CRAFT), exported by ocrjax.",
    )


def recognizer_model(
    variables: Mapping[str, Any],
    *,
    charset: Charset,
    height: int,
    options: RecognizerOptions | None = None,
    half: bool = False,
) -> Any:
    """Return a CRNN as an ONNX model.

    Inputs are `images` `(B, height, W, 1)` uint8, gray, and `widths` `(B,)` int32, the width of
    each without padding in pixels (W to read all columns). Outputs are `logits` `(B, T, classes)`
    float32 and `steps` `(B,)` int32, the number of valid time steps. Class 0 is the blank; the
    others are in the order of the charset, except for the space, which is last.

    Args:
        variables: variables of `crnnjax.models.CRNN`.
        charset: charset of its classes.
        height: height of the input in pixels.
        options: how crops are scaled, written into the metadata.
        half: store weights as float16.

    Returns:
        An `onnx.ModelProto`.
    """
    metadata = recognizer_metadata(variables, charset, height, options)
    graph = Graph(half=half)
    x = graph.op("Cast", graph.op("Transpose", "images", perm=[0, 3, 1, 2]), to=1)
    x = graph.op("Sub", graph.op("Div", x, graph.scalar(127.5)), graph.scalar(1.0))
    classes = class_order(charset)
    logits, steps = add_recognizer(
        graph,
        variables,
        x,
        graph.op("Cast", "widths", to=7),
        height=height,
        classes=classes,
    )
    graph.name(logits, "logits")
    graph.name(graph.op("Cast", steps, to=6), "steps")
    return graph.finish(
        {"images": ("uint8", ("batch", height, "width", 1)), "widths": ("int32", ("batch",))},
        {
            "logits": ("float32", ("batch", "time", len(classes))),
            "steps": ("int32", ("batch",)),
        },
        metadata=metadata,
        about=_about(variables),
    )


def rapidocr_model(
    variables: Mapping[str, Any],
    *,
    charset: Charset,
    height: int,
    options: RecognizerOptions | None = None,
    half: bool = False,
) -> Any:
    """Return a CRNN as an ONNX model that RapidOCR loads as its recognizer.

    The input `x` is `(B, 3, 48, W)` float32, BGR, `u8 / 127.5 - 1`, padded on the right with zeros.
    The output `probabilities` is `(B, T, classes)` float32; after the end of the text the blank has
    1. No pixel value maps to zero, so the zeros tell the true width. The model scales the input to
    the network's height and replaces the padding by repeating the last column, as in JAX.

    The arguments are those of `recognizer_model`.

    Raises:
        OnnxError: RapidOCR cannot store the charset.
    """
    options = options or RecognizerOptions()
    graph = Graph(half=half)
    classes = class_order(charset)
    metadata = recognizer_metadata(variables, charset, height, options)
    if "character" not in metadata:
        raise OnnxError(
            f"charset {charset.name!r}: RapidOCR stores a charset as lines of text, and this one "
            "has a line break; export without --rapidocr"
        )
    gray = graph.conv("x", "gray", [[[[0.114], [0.587], [0.299]]]])
    # The true width ends at the last column with a nonzero value.
    inked = graph.op("ReduceMax", graph.op("Abs", "x"), graph.whole(1, 2), keepdims=0)
    inked = graph.op("Cast", graph.op("Greater", inked, graph.scalar(0.0)), to=7)
    places = graph.op("Add", graph.count("x", 3), graph.whole(1))
    ends = graph.op("ReduceMax", graph.op("Mul", inked, places), graph.whole(1), keepdims=0)
    ends = graph.op("Max", ends, graph.whole(1))
    # Repeat the last column beyond the true width.
    last = graph.op("Sub", graph.op("Unsqueeze", ends, graph.whole(1, 2, 3)), graph.whole(1))
    columns = graph.op("Min", graph.count("x", 3), last)  # (B, 1, 1, W)
    columns = graph.op("Expand", columns, graph.op("Shape", gray))
    image = graph.op("GatherElements", gray, columns, axis=3)
    if height != RAPIDOCR_HEIGHT:
        tall = graph.whole(RAPIDOCR_HEIGHT)
        width = graph.op("Div", graph.op("Mul", graph.size("x", 3), graph.whole(height)), tall)
        size = graph.op(
            "Concat", graph.op("Shape", gray, end=2), graph.whole(height), width, axis=0
        )
        image = graph.op(
            *("Resize", image, "", "", size),
            mode="linear",
            coordinate_transformation_mode="half_pixel",
            antialias=int(height < RAPIDOCR_HEIGHT),
        )
        scaled = graph.op(
            "Add", graph.op("Mul", ends, graph.whole(height)), graph.whole(RAPIDOCR_HEIGHT - 1)
        )
        ends = graph.op("Div", scaled, tall)
    ends = graph.op("Max", ends, graph.whole(height))  # as in JAX: narrow crops keep some padding
    if options.resize == "easyocr":  # padding that is read, up to a multiple of the height
        ends = graph.op("Div", graph.op("Add", ends, graph.whole(height - 1)), graph.whole(height))
        ends = graph.op("Mul", ends, graph.whole(height))
    logits, steps = add_recognizer(graph, variables, image, ends, height=height, classes=classes)
    inside = graph.op("Unsqueeze", graph.inside(logits, 1, steps), graph.whole(2))
    shares = graph.op("Mul", graph.op("Softmax", logits, axis=-1), inside)
    blank = graph.weights("blank", [1.0] + [0.0] * (len(classes) - 1))
    outside = graph.op("Mul", graph.op("Sub", graph.scalar(1.0), inside), blank)
    graph.name(graph.op("Add", shares, outside), "probabilities")
    return graph.finish(
        {"x": ("float32", ("batch", 3, RAPIDOCR_HEIGHT, "width"))},
        {"probabilities": ("float32", ("batch", "time", len(classes)))},
        metadata={"character": metadata["character"], **_license(variables)},
        about=_about(variables),
    )


def class_order(charset: Charset) -> list[int]:
    """Return the classes in the order of the file: the blank, the characters, the space last.

    RapidOCR expects this order, because it appends the space itself.
    """
    spaces = [k for k, character in enumerate(charset.characters, 1) if character == " "]
    others = [k for k, character in enumerate(charset.characters, 1) if character != " "]
    return [0, *others, *spaces]


def recognizer_metadata(
    variables: Mapping[str, Any],
    charset: Charset,
    height: int,
    options: RecognizerOptions | None,
) -> dict[str, str]:
    """Return the metadata of a recognizer's file: `ocrjax`, and `character` for RapidOCR.

    Raises:
        OnnxError: the charset does not match the number of classes.
    """
    options = options or RecognizerOptions()
    kind = options_of(variables)
    if kind["num_classes"] != charset.num_classes:
        raise OnnxError(
            f"the network has {kind['num_classes']} classes, but charset {charset.name!r} makes "
            f"{charset.num_classes}: name the charset that it was trained with (--charset)"
        )
    characters = [charset.characters[k - 1] for k in class_order(charset)[1:]]
    chosen = asdict(options)
    facts = {
        "format": FORMAT,
        "network": "recognizer",
        "input": f"images: uint8 (B, {height}, W, 1), gray; widths: int32 (B,), true widths",
        "output": "logits: float32 (B, T, classes); steps: int32 (B,), valid steps out of T",
        "height": height,
        "features": kind["features"],
        "transform": kind["transform"],
        "blank": 0,
        "decoder": "greedy",
        "charset": charset.name,
        "case_insensitive": charset.case_insensitive,
        "characters": "".join(characters),
        **{name: chosen[name] for name in OF_RECOGNIZER},
    }
    metadata = {KEY: json.dumps(facts), **_license(variables)}
    listed = characters[:-1] if characters[-1] == " " else characters
    if "\n".join(listed).splitlines() == listed:
        metadata["character"] = "\n".join(listed)
    return metadata


def _license(variables: Mapping[str, Any]) -> dict[str, str]:
    notice = ppocr.notice_of(variables)
    return {"license": notice} if notice else {}


def _about(variables: Mapping[str, Any]) -> str:
    notice = ppocr.notice_of(variables)
    return f"A text recognizer (CTC), exported by ocrjax.\n{notice}".strip()
