"""Conversion of the recognizer's weights between Flax variables and PyTorch state dicts.

The PyTorch names are those of deep-text-recognition-benchmark and of EasyOCR's two generations:
`FeatureExtraction.ConvNet.0.weight`, `SequenceModeling.0.rnn.weight_ih_l0`, `Prediction.weight`;
their files have the prefix `module.`, which EasyOCR requires. The affine transformer, LCNetV4 and
LightSVTR have similar names, which no other program knows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from crnnjax.models import CRNN, options_of, shapes_of

PREFIX = "module."
_FIELDS = {"kernel": "weight", "scale": "weight", "bias": "bias"}
_STATISTICS = {"mean": "running_mean", "var": "running_var"}
_PACKED = {
    "input_kernel": "weight_ih_l0",
    "hidden_kernel": "weight_hh_l0",
    "input_bias": "bias_ih_l0",
    "hidden_bias": "bias_hh_l0",
}


class ConversionError(ValueError):
    """A state dict of another network; the message says what differs."""


def to_state_dict(variables: Mapping[str, Any], *, prefix: str = PREFIX) -> dict[str, np.ndarray]:
    """Return the PyTorch state dict of Flax variables.

    Args:
        variables: variables of any `CRNN`.
        prefix: prefix of each name.

    Returns:
        float32 weights, biases and running statistics, and an int64 `num_batches_tracked` of zero
        for each BatchNorm, which torch ignores at momentum 0.1.
    """
    kind = options_of(variables)["features"]
    flat = flatten_dict({"params": variables["params"], "stats": variables.get("batch_stats", {})})
    state: dict[str, np.ndarray] = {}
    for path, value in flat.items():
        array = np.asarray(value, np.float32)
        names = torch_names(path[1:], features=kind)
        parts = array if len(names) == 2 else (array,)
        for name, part in zip(names, parts, strict=True):
            state[prefix + name] = _to_torch(part)
        if path[-1] == "var":
            counter = names[0].replace("running_var", "num_batches_tracked")
            state[prefix + counter] = np.zeros((), np.int64)
    return dict(sorted(state.items(), key=lambda item: _torch_order(item[0])))


def from_state_dict(state: Mapping[str, np.ndarray]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return Flax variables from a PyTorch state dict, and which network it is.

    Args:
        state: names with the prefix `module.` or without.

    Returns:
        `{"params": ..., "batch_stats": ...}` of float32 NumPy arrays, and the arguments of `CRNN`
        that were inferred from names and shapes.

    Raises:
        ConversionError: another network; the message lists missing, unexpected and misshapen
            entries and guesses what it is.
    """
    if state and all(name.startswith(PREFIX) for name in state):
        state = {name.removeprefix(PREFIX): array for name, array in state.items()}
    options = guess_options(state)
    shapes = shapes_of(CRNN(**options))
    flat = flatten_dict({name: shapes.get(name, {}) for name in ("params", "batch_stats")})
    missing, misshapen, known, out = [], [], set[str](), {}
    for path, leaf in flat.items():
        names = torch_names(path[1:], features=options["features"])
        known |= set(names)
        want = _to_torch(np.empty(leaf.shape[len(names) - 1 :], np.bool_)).shape
        parts = []
        for name in names:
            if name not in state:
                missing.append(name)
                continue
            array = np.asarray(state[name])
            if array.shape != want:
                misshapen.append(f"{name} {array.shape} instead of {want}")
            elif array.dtype.kind not in "fV":
                misshapen.append(f"{name} of type {array.dtype} instead of float")
            else:
                parts.append(_from_torch(array.astype(np.float32)))
        if len(parts) == len(names):
            out[path] = np.stack(parts) if len(names) == 2 else parts[0]
    unexpected = [n for n in state if n not in known and not n.endswith("num_batches_tracked")]
    if missing or unexpected or misshapen:
        raise ConversionError(
            f"this is not the state dict of a recognizer with CTC: {_guess(state)}"
            + _list("missing", missing)
            + _list("unexpected", unexpected)
            + _list("of the wrong shape", misshapen)
        )
    variables: dict[str, Any] = {"batch_stats": {}, **unflatten_dict(out)}
    return variables, options


def guess_options(state: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Infer the arguments of `CRNN` from names (without prefix) and shapes of a state dict.

    Raises:
        ConversionError: the layers are unknown; the message guesses what it is.
    """
    if "FeatureExtraction.stem1.weight" in state:
        return _guess_lcnet(state)
    convolutions = "FeatureExtraction.ConvNet."
    kinds = {"18.weight": "vgg", "conv4_2.weight": "resnet", "9.weight": "rcnn"}
    last = next((name for name in kinds if convolutions + name in state), None)
    linear = state.get("SequenceModeling.0.linear.weight")
    least = 16 if last == "conv4_2.weight" else 8  # the first layer has 1 / least of the channels
    if (
        last is None
        or np.ndim(state.get("Prediction.weight", 0)) != 2
        or np.ndim(state[convolutions + last]) != 4
        or np.shape(state[convolutions + last])[0] < least
        or (linear is not None and np.ndim(linear) != 2)
    ):
        raise ConversionError(
            f"this is not the state dict of a recognizer with CTC: {_guess(state)}"
        )
    first = convolutions + ("conv0_1.weight" if last.startswith("conv") else "0.weight")
    if np.ndim(state.get(first, 0)) == 4 and np.shape(state[first])[1] != 1:
        raise ConversionError(
            f"this recognizer reads images with {np.shape(state[first])[1]} channels, expected 1 "
            "(gray)"
        )
    sequence = any(name.startswith("SequenceModeling.") for name in state)
    return {
        "num_classes": int(np.shape(state["Prediction.weight"])[0]),
        "features": kinds[last],
        "channels": int(np.shape(state[convolutions + last])[0]),
        "hidden": int(np.shape(linear)[0]) if linear is not None else 256,
        "sequence": "bilstm" if sequence else "none",
        "transform": "affine" if "Transformation.weight" in state else "none",
        "batch_norm": True,
    }


def _guess_lcnet(state: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Like `guess_options`, for LCNetV4."""
    last = "FeatureExtraction.block12_project.weight"
    sequence = state.get("SequenceModeling.skip.weight")
    if (
        np.ndim(state.get("Prediction.weight", 0)) != 2
        or np.ndim(state.get(last, 0)) != 4
        or np.shape(state[last])[0] < 32
        or (sequence is not None and np.ndim(sequence) != 4)
    ):
        raise ConversionError(
            f"this is not the state dict of a recognizer with CTC: {_guess(state)}"
        )
    return {
        "num_classes": int(np.shape(state["Prediction.weight"])[0]),
        "features": "lcnetv4",
        "channels": int(np.shape(state[last])[0]),
        "hidden": int(np.shape(sequence)[0]) if sequence is not None else 120,
        "sequence": "lightsvtr" if sequence is not None else "none",
        "transform": "affine" if "Transformation.weight" in state else "none",
        "batch_norm": "FeatureExtraction.stem1.bn.weight" in state,
    }


def torch_names(path: tuple[str, ...], *, features: str) -> tuple[str, ...]:
    """Return the PyTorch names of a Flax path such as `("Prediction", "kernel")`.

    Args:
        path: the path without the collection.
        features: the kind of features, which determines the names of its layers.

    Returns:
        One name; for LSTM weights, whose first axis is the direction, one name per direction.
    """
    stage, *modules, leaf = path
    if leaf in _PACKED:
        name = f"{stage}.{modules[0][-1]}.rnn.{_PACKED[leaf]}"
        return name, f"{name}_reverse"
    if features == "lcnetv4":
        pass
    elif stage == "SequenceModeling":
        modules = [modules[0][-1], "linear"]
    elif stage == "FeatureExtraction":
        modules = ["ConvNet", *_convolution_names(modules, features)]
    return (".".join((stage, *modules, {**_FIELDS, **_STATISTICS}[leaf])),)


def _convolution_names(modules: list[str], features: str) -> Iterator[str]:
    for depth, name in enumerate(modules):
        if features != "resnet" and depth == 0:  # a list of layers: numbers
            yield re.sub(r"\D", "", name)
        elif name.startswith(("layer", "downsample", "GRCL")):
            yield re.sub(r"(?<=[A-Za-z0-9])_(?=\d)|(?<=\d)_(?=BN)", ".", name)
        else:
            yield name


def _to_torch(array: np.ndarray) -> np.ndarray:
    """Kernels: HWIO to OIHW, (in, out) to (out, in)."""
    axes = (3, 2, 0, 1) if array.ndim == 4 else None
    return np.ascontiguousarray(array.transpose(axes)) if array.ndim > 1 else array


def _from_torch(array: np.ndarray) -> np.ndarray:
    axes = (2, 3, 1, 0) if array.ndim == 4 else None
    return np.ascontiguousarray(array.transpose(axes)) if array.ndim > 1 else array


def _torch_order(name: str) -> tuple[Any, ...]:
    return tuple((0, int(part)) if part.isdigit() else (1, part) for part in name.split("."))


def _list(what: str, names: list[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"\n  {len(names)} {what}: {', '.join(names[:5])}{more}" if names else ""


def _guess(state: Mapping[str, Any]) -> str:
    names = list(state)
    if not names:
        return "it is empty"
    heads = {name.split(".")[0] for name in names}
    if any(name.startswith("Prediction.attention_cell") for name in names):
        return "it predicts by attention (Attn), which is not supported"
    if any(name.startswith("Transformation.LocalizationNetwork") for name in names):
        return "it has a thin-plate-spline transformer (TPS), which is not supported"
    if {"basenet", "conv_cls"} <= heads:
        return "this looks like CRAFT, the detector"
    if {"cnn", "rnn"} <= heads:
        return "this looks like the CRNN of another project, whose layers have other names"
    if heads & {"FeatureExtraction", "SequenceModeling", "Prediction"}:
        return "it has some of the layers, but not all of them, or with other shapes"
    return f"none of its layers is known (it begins with {', '.join(names[:3])})"
