"""Weights of either network: which network they belong to, and the files that go with them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from craftjax import convert as craft
from craftjax.options import load_operating_point, operating_point_path
from crnnjax import convert as crnn
from crnnjax.charset import Charset
from crnnjax.ppocr import load_ppocr
from crnnjax.recognizer import load_recognizer, read_charset, read_settings
from ocrcore.files import write_json
from ocrcore.training.checkpoints import load_variables
from ocrcore.weights.named import WEIGHTS_SUFFIXES, find_weights
from ocrcore.weights.pth import load_weights, save_weights

Network = Literal["detector", "recognizer"]
State = Mapping[str, np.ndarray]
_LAYERS: dict[Network, set[str]] = {
    "detector": {"basenet", "upconv1", "conv_cls", "lateral32", "scores"},
    # The last two are names of other projects; the converter explains them.
    "recognizer": {"FeatureExtraction", "SequenceModeling", "Prediction", "cnn", "rnn"},
}


class WeightsError(ValueError):
    """Weights of neither network, or files in the way; the message names the file."""


class NetworkWeights(NamedTuple):
    """Weights and the network they belong to.

    Attributes:
        network: `detector` (CRAFT) or `recognizer` (CRNN with CTC).
        path: path of the weights.
        variables: the weights as Flax variables.
        state: the weights as a PyTorch state dict without the prefix `module.`; for a PyTorch file
            its own entries.
    """

    network: Network
    path: Path
    variables: dict[str, Any]
    state: State


def network_of(layers: Iterable[str]) -> Network | None:
    """Return the network with layers (or entries, `layer.weight`) of these names, or None."""
    heads = {name.partition(".")[0] for name in layers}
    return next((network for network, own in _LAYERS.items() if own & heads), None)


def read_state(name_or_path: str | Path) -> tuple[Network | None, State]:
    """Read a state dict and the network it belongs to.

    A PyTorch or safetensors file may hold any network, a folder a detector or recognizer, an ONNX
    file a recognizer.

    Raises:
        WeightsError: the folder has a checkpoint of another network.
        WeightsNotFoundError, TorchFileError, CheckpointError: the weights cannot be read.
    """
    path = find_weights(name_or_path)
    if path.is_dir() or path.suffix == ".onnx":
        loaded = load_network(path)
        return loaded.network, loaded.state
    state = load_weights(path)
    return network_of(state), state


def load_network(name_or_path: str | Path) -> NetworkWeights:
    """Load the weights of a detector or a recognizer, whichever it is.

    Args:
        name_or_path: a name, a `.pth` or `.safetensors` file, the `.onnx` file of PP-OCRv6's
            small recognizer, or the folder of a run or of a checkpoint.

    Raises:
        WeightsError: weights of another network; the message lists its layers.
        WeightsNotFoundError, TorchFileError, CheckpointError: the weights cannot be read.
    """
    path = find_weights(name_or_path)
    if path.is_dir():
        variables = load_variables(path)
        layers = variables.get("params", variables)
        network = network_of(layers)
        if network is None:
            raise WeightsError(
                f"{path}: a checkpoint of another network than a detector (CRAFT) or a recognizer "
                f"(CRNN with CTC); its layers are {', '.join(sorted(layers)[:5])}"
            )
        if network == "recognizer":
            return NetworkWeights(
                network, path, variables, crnn.to_state_dict(variables, prefix="")
            )
        return NetworkWeights(network, path, variables, craft.to_state_dict(variables))
    if path.suffix == ".onnx":
        variables = load_ppocr(path)[0]
        return NetworkWeights(
            "recognizer", path, variables, crnn.to_state_dict(variables, prefix="")
        )
    state = load_weights(path)
    try:
        if network_of(state) == "recognizer":
            return NetworkWeights("recognizer", path, crnn.from_state_dict(state)[0], state)
        return NetworkWeights("detector", path, craft.from_state_dict(state), state)
    except (craft.ConversionError, crnn.ConversionError) as error:
        raise WeightsError(
            f"{path}: {error}\n  expected a detector (CRAFT) or a recognizer (CRNN with CTC)"
        ) from error


def with_charset(weights: NetworkWeights, name: str) -> tuple[NetworkWeights, Charset]:
    """Change the charset of a recognizer by selecting its classes, without training.

    Raises:
        WeightsError: the weights are those of a detector.
        RecognizerError: the weights cannot read a character of the charset, or their own charset
            is unknown.
        CharsetError: there is no such charset.
    """
    if weights.network != "recognizer":
        raise WeightsError(
            f"{weights.path}: a {weights.network} has no charset; leave out --charset {name}"
        )
    loaded = load_recognizer(weights.path, charset=name)
    state = crnn.to_state_dict(loaded.variables, prefix="")
    return weights._replace(variables=loaded.variables, state=state), loaded.charset


def halved(state: State) -> State:
    """Return a state dict whose float32 arrays are float16.

    Raises:
        WeightsError: a value is beyond float16's range.
    """
    result: dict[str, np.ndarray] = {}
    for name, array in state.items():
        result[name] = array
        if array.dtype == np.float32:
            if (largest := np.abs(array).max(initial=0)) > np.finfo(np.float16).max:
                raise WeightsError(f"{name} has a value of {largest:.3g}: too large for float16")
            result[name] = array.astype(np.float16)
    return result


def save_state(path: str | Path, network: Network | None, state: State) -> None:
    """Write a `.pth` or `.safetensors` file with the entry names that EasyOCR expects."""
    if network == "recognizer":
        state = {crnn.PREFIX + name: array for name, array in state.items()}
    save_weights(path, state)


def belongings(
    network: Network | None, weights: Path, target: Path, *, charset: Charset | None = None
) -> dict[Path, Any]:
    """Return the files that go next to the target weights: JSON values by path.

    For a recognizer these are `charset.json` and `config.json` (height and options), for a detector
    its operating point, as far as they are known. Files that exist with the same values are left
    out.

    Args:
        network: the network of the weights.
        weights: path of the source weights.
        target: the file, or the folder of a checkpoint, to be written.
        charset: the new charset of a recognizer; None: that of the weights.

    Raises:
        WeightsError: files of other weights are in the way.
    """
    if network == "detector":
        point = operating_point_path(weights)
        if not point.is_file():
            return {}
        load_operating_point(point)
        path, value = operating_point_path(target), point.read_text(encoding="utf-8")
        same = path.is_file() and path.read_bytes() == point.read_bytes()
        return {} if same else {path: json.loads(value)}
    found: dict[Path, Any] = {}
    if network is None:
        return found
    folder = target.parent if target.suffix.lower() in WEIGHTS_SUFFIXES else target
    charset, (height, options) = charset or read_charset(weights), read_settings(weights)
    if charset is not None:
        path = folder / "charset.json"
        if not path.is_file():
            found[path] = charset.to_dict()
        elif Charset.load(path).digest != charset.digest:
            raise WeightsError(
                f"{path}: already exists, with other characters than those of {weights}; name a "
                "target in another folder"
            )
    if height is not None and options is not None:
        path = folder / "config.json"
        if not path.is_file():
            found[path] = {"data": {"height": height}, "recognizer": asdict(options)}
        elif read_settings(target) != (height, options):
            raise WeightsError(
                f"{path}: already exists and belongs to another network than {weights}; name a "
                "target in another folder"
            )
    return found


def write_belongings(files: Mapping[Path, Any]) -> None:
    """Write the files that `belongings` returned and print their paths."""
    for path, value in files.items():
        write_json(path, value)
        print(f"written: {path}")
