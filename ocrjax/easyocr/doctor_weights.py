"""The doctor's checks of `NAME.pth`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ocrcore.weights.pth import TorchFileError, find_state_dict, load_pth
from ocrjax.easyocr.doctor_yaml import Fault

_REWRITE = "`ocrjax export easyocr FILE.pth --charset FILE --name NAME` rewrites it for EasyOCR"


@dataclass(slots=True)
class Weights:
    """What the names and shapes of weights tell about the network.

    Attributes:
        kind: a recognizer with the known layout, the detector CRAFT, or something else.
        rows: rows of the last layer, the classes with the blank; None if not known.
        params: `input_channel`, `output_channel` and `hidden_size`, as far as known.
    """

    kind: Literal["recognizer", "detector", "unknown"] = "unknown"
    rows: int | None = None
    params: dict[str, int] = field(default_factory=dict)


def examine_weights(path: Path) -> tuple[Weights | None, list[Fault]]:
    """Read a weights file; return what it holds and its faults."""
    try:
        tree = load_pth(path)
        state = find_state_dict(tree, name=path.name)
    except TorchFileError as error:
        problem, remedy = str(error).removeprefix(f"{path}: "), "save model.state_dict() alone"
        if problem.startswith("not a PyTorch file: "):
            problem, _, remedy = problem.partition("; ")
            remedy = remedy or "use the file that torch.save(model.state_dict(), NAME) writes"
        elif "truncated" in problem or "damaged" in problem:
            remedy = "copy or download it again"
        return None, [(problem, remedy)]
    weights = describe(state)
    faults: list[Fault] = []
    keys = _names(tree, len(state))
    if keys != list(tree):
        faults.append(
            (
                "the weights are nested under one of its keys "
                f"({', '.join(map(str, list(tree)[:6]))}), but EasyOCR expects a bare state dict "
                "(it says: Unexpected key(s) in state_dict)",
                f"`ocrjax convert {path.name} OUT.pth` extracts them"
                if weights.kind == "detector"
                else _REWRITE,
            )
        )
    faults += _examine_prefix(keys, weights)
    if weights.kind == "recognizer":
        faults += _examine_recognizer(state)
    elif weights.kind == "detector":
        faults += _examine_detector(state)
    broken = [k for k, v in state.items() if v.dtype.kind == "f" and not np.isfinite(v).all()]
    if broken:
        faults.append(
            (
                f"{broken[0]} has NaN or infinite values: the training diverged, and the network "
                "reads nothing",
                "take an earlier checkpoint, or train again at a lower learning rate",
            )
        )
    odd = [key for key, array in state.items() if np.asarray(array).dtype.kind not in "fViu"]
    if odd:
        faults.append((f"{odd[0]} has the type {state[odd[0]].dtype}", _REWRITE))
    return weights, faults


def describe(state: Mapping[str, np.ndarray]) -> Weights:
    """Infer the kind of network from the names and shapes of its weights."""
    if any(key.startswith("basenet.") for key in state):
        return Weights("detector")
    shapes = {key: np.shape(array) for key, array in state.items()}
    weights = Weights()
    if any(key.startswith("FeatureExtraction.") for key in shapes):
        weights.kind = "recognizer"

    def size(pattern: str, axis: int) -> int | None:
        for key, shape in shapes.items():
            if re.fullmatch(pattern, key) and len(shape) > axis:
                return int(shape[axis])
        return None

    sizes = {
        "input_channel": size(r"FeatureExtraction\.ConvNet\.(0|conv0_1)\.weight", 1),
        "output_channel": size(r"FeatureExtraction\.ConvNet\.(18|9|conv4_2)\.weight", 0),
        "hidden_size": size(r"SequenceModeling\.0\.rnn\.weight_hh_l0", 1),
    }
    weights.params = {key: value for key, value in sizes.items() if value is not None}
    weights.rows = size(r"Prediction\.weight", 0)
    return weights


def _names(tree: Mapping[Any, Any], count: int) -> list[str]:
    """The names of the weights as the file has them, for `count` arrays."""
    waiting, seen = [tree], set[int]()
    for item in waiting:
        # A hostile file may hold one dict many times, even inside itself.
        if id(item) in seen:
            continue
        seen.add(id(item))
        named = all(isinstance(k, str) and hasattr(v, "__array__") for k, v in item.items())
        if named and len(item) == count:
            return list(item)
        waiting += [value for value in item.values() if isinstance(value, Mapping)]
    return []


def _examine_prefix(keys: list[str], weights: Weights) -> list[Fault]:
    prefixed = [key.startswith("module.") for key in keys]
    if weights.kind == "detector":
        # EasyOCR strips the prefix from all names of a detector if the first one has it.
        if any(prefixed) and not all(prefixed):
            return [
                (
                    "some names begin with 'module.' and some do not",
                    "save all of them with the prefix, or all without",
                )
            ]
        return []
    if all(key.startswith("module.module.") for key in keys):
        return [("every name begins with 'module.' twice; EasyOCR strips only one", _REWRITE)]
    if all(prefixed):
        return []
    shown = next(key for key, has in zip(keys, prefixed, strict=True) if not has)
    cut = shown[7:] or "nothing"
    return [
        (
            f"its names, such as {shown[:80]}, do not begin with 'module.': on a CPU EasyOCR "
            f"strips seven letters from each name without a check ({cut[:80]} is left), on a GPU "
            "it expects the prefix (it says: Missing key(s) in state_dict)",
            _REWRITE + "; or save torch.nn.DataParallel(model).state_dict()",
        )
    ]


def _examine_recognizer(state: Mapping[str, np.ndarray]) -> list[Fault]:
    faults: list[Fault] = []
    if any(key.startswith("Prediction.attention_cell.") for key in state):
        faults.append(
            (
                "it predicts by attention (Prediction: Attn), but EasyOCR only decodes CTC",
                "train it with Prediction: CTC",
            )
        )
    elif "Prediction.weight" not in state:
        faults.append(("the last layer, Prediction.weight, is missing", "save the whole network"))
    if any(key.startswith("Transformation.GridGenerator.") for key in state):
        faults.append(
            (
                "it begins with a TPS transformation (Transformation: TPS), which works for one "
                "width only, but EasyOCR passes images of all widths",
                "train it with Transformation: None",
            )
        )
    return faults


def _examine_detector(state: Mapping[str, np.ndarray]) -> list[Fault]:
    from craftjax.convert import ConversionError, from_state_dict, guess_width

    width = guess_width(state)
    if width != 1:
        return [
            (
                f"it is a CRAFT of width {width:g}, but EasyOCR's has the full width",
                "for EasyOCR, train a network of width 1 (config.model.width)",
            )
        ]
    try:
        from_state_dict(state, width=1.0)
    except ConversionError as error:
        return [(str(error), "save the whole network")]
    return [
        (
            "easyocr.Reader has no setting for a custom detector",
            "docs/easyocr.md shows the three lines that put it into a Reader",
            False,
        )
    ]
