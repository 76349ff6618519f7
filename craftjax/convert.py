"""Conversion of CRAFT's weights between Flax variables and PyTorch state dicts.

The PyTorch names are those of EasyOCR and the official code: `basenet.slice1.0.weight`,
`upconv1.conv.0.weight`, `conv_cls.0.weight`, with torchvision's indices in slices 1 to 4.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from craftjax.models import CRAFT

STATE_ENTRIES = 154
_FIELDS = {
    ("params", "kernel"): "weight",
    ("params", "scale"): "weight",
    ("params", "bias"): "bias",
    ("batch_stats", "mean"): "running_mean",
    ("batch_stats", "var"): "running_var",
}


class ConversionError(ValueError):
    """A state dict that is not CRAFT's; the message says what differs and what it may be."""


def torch_name(path: tuple[str, ...]) -> str:
    """Return the PyTorch name of a Flax path such as `("params", "upconv1", "conv0", "kernel")`."""
    collection, *modules, leaf = path
    index = re.sub(r"\D", "", modules[-1])
    parents = [*modules[:-1], "conv"] if modules[0].startswith("upconv") else modules[:-1]
    return ".".join((*parents, index, _FIELDS[collection, leaf]))


def to_state_dict(variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return the PyTorch state dict of Flax variables.

    Returns:
        154 entries for any width: float32 weights, biases and running statistics, and an int64
        `num_batches_tracked` of zero for each BatchNorm, which torch ignores at momentum 0.1.
    """
    state: dict[str, np.ndarray] = {}
    flat = flatten_dict({name: variables[name] for name in ("params", "batch_stats")})
    for path, value in flat.items():
        array = np.asarray(value, np.float32)
        state[torch_name(path)] = (
            np.ascontiguousarray(array.transpose(3, 2, 0, 1)) if path[-1] == "kernel" else array
        )
        if path[-1] == "var":
            counter = torch_name(path).replace("running_var", "num_batches_tracked")
            state[counter] = np.zeros((), np.int64)
    return dict(sorted(state.items(), key=lambda item: _torch_order(item[0])))


def from_state_dict(
    state: Mapping[str, np.ndarray], *, width: float | None = None
) -> dict[str, Any]:
    """Return Flax variables from a bare PyTorch state dict.

    Args:
        state: entries without prefixes (`ocrcore.weights.pth.find_state_dict` strips those that
            trainers add).
        width: width of the network; None: inferred from fc6, the widest layer.

    Returns:
        `{"params": ..., "batch_stats": ...}` of float32 NumPy arrays.

    Raises:
        ConversionError: not CRAFT's weights; the message lists missing, unexpected and misshapen
            entries and guesses what it is.
    """
    if width is None:
        width = guess_width(state)
    shapes = jax.eval_shape(
        CRAFT(width=width).init,
        jax.random.key(0),
        jax.ShapeDtypeStruct((1, 32, 32, 3), np.uint8),
    )
    flat = flatten_dict({name: shapes[name] for name in ("params", "batch_stats")})
    expected = {torch_name(path): path for path in flat}
    missing = [name for name in expected if name not in state]
    unexpected = [
        name for name in state if name not in expected and not name.endswith("num_batches_tracked")
    ]
    misshapen, out = [], {}
    for name, path in expected.items():
        if name not in state:
            continue
        array = np.asarray(state[name])
        want = flat[path].shape
        if path[-1] == "kernel":
            want = (want[3], want[2], want[0], want[1])
        if array.shape != want:
            misshapen.append(f"{name} {array.shape} instead of {want}")
        elif array.dtype.kind not in "fV":
            misshapen.append(f"{name} of type {array.dtype} instead of float")
        else:
            array = array.astype(np.float32)
            out[path] = array.transpose(2, 3, 1, 0).copy() if path[-1] == "kernel" else array
    if missing or unexpected or misshapen:
        raise ConversionError(_explain(state, missing, unexpected, misshapen))
    return unflatten_dict(out)


def is_vgg16_bn(state: Mapping[str, np.ndarray]) -> bool:
    """Return whether a state dict is torchvision's VGG16-BN, which initializes the encoder."""
    return "features.0.weight" in state and "features.1.running_mean" in state


def with_vgg16_bn(variables: Mapping[str, Any], state: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Take the encoder's slices 1 to 4 from torchvision's `vgg16_bn`.

    Its `features.0` to `features.38` have the same indices as the four slices; its last block and
    the classifier are not used.

    Args:
        variables: variables of the whole network, for the other layers; not changed.
        state: the state dict of torchvision's file.

    Returns:
        New variables of float32 NumPy arrays.

    Raises:
        ConversionError: an entry is missing or of another shape (only width 1 fits).
    """
    encoder = re.compile(r"basenet\.slice[1-4]\.")
    whole = to_state_dict(variables)
    missing, misshapen = [], []
    for name in whole:
        source = encoder.sub("features.", name)
        if source == name or name.endswith("num_batches_tracked"):
            continue
        if source not in state:
            missing.append(source)
        elif np.shape(state[source]) != whole[name].shape:
            misshapen.append(f"{source} {np.shape(state[source])} instead of {whole[name].shape}")
        else:
            whole[name] = np.asarray(state[source])
    if missing or misshapen:
        raise ConversionError(
            "these weights do not fit the encoder"
            + _list("missing", missing)
            + _list("of the wrong shape", misshapen)
            + ("\n  VGG16-BN fits a network of width 1 only" if misshapen else "")
        )
    return from_state_dict(whole)


def guess_width(state: Mapping[str, np.ndarray]) -> float:
    """Return the width of the network from the channels of fc6, or 1.0 if there is no fc6."""
    fc6 = state.get("basenet.slice5.1.weight")
    return np.shape(fc6)[0] / 1024 if fc6 is not None and np.ndim(fc6) == 4 else 1.0


def _torch_order(name: str) -> tuple[Any, ...]:
    return tuple((0, int(part)) if part.isdigit() else (1, part) for part in name.split("."))


def _explain(
    state: Mapping[str, np.ndarray],
    missing: list[str],
    unexpected: list[str],
    misshapen: list[str],
) -> str:
    return (
        f"this is not CRAFT's state dict: {_guess(state)}"
        + _list("missing", missing)
        + _list("unexpected", unexpected)
        + _list("of the wrong shape", misshapen)
    )


def _list(what: str, names: list[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"\n  {len(names)} {what}: {', '.join(names[:5])}{more}" if names else ""


def _guess(state: Mapping[str, Any]) -> str:
    names = list(state)
    if not names:
        return "it is empty"
    if {"craft", "optimizer", "iter"} & set(names):
        return (
            "this looks like an EasyOCR trainer checkpoint; its weights are under the key 'craft'"
        )
    if all(name.startswith("module.") for name in names):
        return "its names carry the prefix 'module.', which a DataParallel wrapper adds"
    heads = {name.split(".")[0] for name in names}
    if "Prediction" in heads or "SequenceModeling" in heads:
        return "this looks like a recognizer (CRNN of EasyOCR or deep-text-recognition-benchmark)"
    if {"last_conv", "aspp1"} <= heads:
        return "this looks like CRAFT's link refiner (refinenet), which is another network"
    if "features" in heads:
        return "this looks like torchvision's VGG16-BN, which is only the start of the encoder"
    if heads & {"basenet", "upconv1", "conv_cls"}:
        return "it has some of CRAFT's layers, but not all of them, or with other shapes"
    return f"none of its layers is CRAFT's (it begins with {', '.join(names[:3])})"
