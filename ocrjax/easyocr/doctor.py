"""Diagnose the files of a custom EasyOCR network.

Nothing in the files is executed: weights are read by `ocrcore.weights.pth`, the YAML as nodes
without constructing objects, and the Python module as a syntax tree.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ocrcore.files import expanded
from ocrcore.weights.named import KNOWN_WEIGHTS, easyocr_model_folder
from ocrjax.easyocr.doctor_python import examine_module
from ocrjax.easyocr.doctor_weights import Weights, examine_weights
from ocrjax.easyocr.doctor_yaml import Settings, examine_yaml
from ocrjax.easyocr.rules import PUBLISHED, installed_module, name_fault, network_folder

_SUFFIXES = (".pth", ".yaml", ".py")
_ALL_SUFFIXES = (*_SUFFIXES, ".pt", ".yml")
# Other weight files, and what to do with them.
_OTHER_FILES = {
    ".safetensors": "; `ocrjax convert` turns it into a .pth",
    ".h5": "; Keras weights are not supported: EasyOCR needs a PyTorch network",
}
_OTHER_FILES[".keras"] = _OTHER_FILES[".h5"]
# Row counts of the last layer that suggest the charset of the training.
_KNOWN_ROWS = {
    37: "0123456789abcdefghijklmnopqrstuvwxyz, the default of deep-text-recognition-benchmark "
    "without --character",
    95: "the 94 printable ASCII characters, which deep-text-recognition-benchmark uses with "
    "--sensitive: digits, a-z, A-Z, then !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~",
    97: "the 96 of EasyOCR's english_g2",
    352: "the 351 of EasyOCR's latin_g2",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong with a file.

    Attributes:
        file: path of the file.
        problem: what is wrong and how EasyOCR reacts to it.
        remedy: how to fix it.
        serious: False for something that works but may surprise.
    """

    file: str
    problem: str
    remedy: str
    serious: bool = True

    def __str__(self) -> str:
        mark = "wrong" if self.serious else "note"
        return printable(f"{self.file}: {mark}: {self.problem}\n    {self.remedy}")


def printable(text: str) -> str:
    """Escape control characters, which could affect the terminal, and lone surrogates."""
    return "".join(
        char if char.isprintable() or char == "\n" else ascii(char)[1:-1] for char in text
    )


def collect(arguments: list[str]) -> tuple[dict[str, dict[str, Path]], list[Finding]]:
    """Group files by the network they belong to.

    Args:
        arguments: files, folders, or names of networks in EasyOCR's folders.

    Returns:
        The files of each network by suffix, by network name; and findings about their locations.

    Raises:
        FileNotFoundError: an argument is none of these.
    """
    networks: dict[str, dict[str, Path]] = {}
    findings = []
    for argument in arguments:
        path = expanded(argument)
        if path.is_dir():
            files = [
                file
                for file in sorted(path.iterdir())
                if file.suffix.lower() in _ALL_SUFFIXES and file.is_file()
            ]
            if not files:
                raise FileNotFoundError(
                    f"{path}: this folder has no {', '.join(_SUFFIXES)} file; name another one"
                )
        elif path.suffix.lower() in _ALL_SUFFIXES:
            if not path.is_file():
                raise FileNotFoundError(f"{path}: no such file")
            files = [path]
        elif path.is_file():
            raise FileNotFoundError(
                f"{path}: expected a file that ends in {', '.join(_ALL_SUFFIXES)}"
                f"{_OTHER_FILES.get(path.suffix.lower(), '')}"
            )
        else:
            files, misplaced = _installed(argument)
            findings += misplaced
        for file in files:
            suffix = {".pt": ".pth", ".yml": ".yaml"}.get(file.suffix.lower(), file.suffix.lower())
            networks.setdefault(file.stem, {})[suffix] = file
            findings += _place(file, suffix)
    return _joined(networks, findings)


def _joined(
    networks: dict[str, dict[str, Path]], findings: list[Finding]
) -> tuple[dict[str, dict[str, Path]], list[Finding]]:
    """Merge files with different names into one network if each suffix occurs once."""
    files = {suffix: file for parts in networks.values() for suffix, file in parts.items()}
    if len(networks) < 2 or len(files) < sum(map(len, networks.values())):
        return networks, findings
    # Weights often have other names; the name of the other two files is more likely intended.
    name = (files.get(".yaml") or files[".py"]).stem
    for suffix, file in files.items():
        if file.stem != name:
            findings.append(
                Finding(
                    str(file),
                    "all files of a network must have the same name, the one passed as "
                    f"recog_network; the others are called {name}",
                    f"rename it to {name}{suffix}, and pass recog_network={name!r}",
                )
            )
    return {name: files}, findings


def _installed(name: str) -> tuple[list[Path], list[Finding]]:
    """Find the files of a network in EasyOCR's folders; report those that are missing."""
    models, networks = easyocr_model_folder(), network_folder()
    files, findings = [], []
    weights = models / f"{name}.pth"
    alone = name in PUBLISHED or (
        weights.is_file() and (found := examine_weights(weights)[0]) and found.kind == "detector"
    )
    for suffix in _SUFFIXES:
        right, other = (models, networks) if suffix == ".pth" else (networks, models)
        places = [folder / f"{name}{suffix}" for folder in (right, other, right.parent)]
        present = [path for path in places if path.is_file()]
        files += present[:1]
        if not present and not (alone and suffix != ".pth"):
            findings.append(
                Finding(
                    str(places[0]),
                    "missing; EasyOCR opens all three files",
                    f"put {name}{suffix} there",
                )
            )
    if not files:
        raise FileNotFoundError(
            f"{name}: no such file or folder, and no {name}.pth, {name}.yaml or {name}.py in "
            f"{models} or {networks}"
        )
    return files, findings


def _place(file: Path, suffix: str) -> Iterator[Finding]:
    """Report a file in the wrong one of EasyOCR's folders, or with a wrong suffix."""
    models, networks = easyocr_model_folder(), network_folder()
    folder = file.absolute().parent
    right = models if suffix == ".pth" else networks
    if folder in {models.absolute(), networks.absolute(), models.parent.absolute()} and (
        folder != right.absolute()
    ):
        yield Finding(
            str(file),
            f"it is in {folder}, but EasyOCR looks for it in {right}",
            f"move it to {right / file.name}",
        )
    if file.suffix != suffix:
        yield Finding(
            str(file),
            f"EasyOCR looks for a file that ends in {suffix}, not in {file.suffix}",
            f"rename it to {file.with_suffix(suffix).name}",
        )


def examine(name: str, files: dict[str, Path]) -> list[Finding]:
    """Examine the files of one network, each by itself and against the others.

    Args:
        name: name of the network, the common stem of its files.
        files: by suffix, any of .pth, .yaml and .py.

    Returns:
        The findings, ordered by file.
    """
    findings: list[Finding] = []
    weights: Weights | None = None
    settings: Settings | None = None
    if path := files.get(".pth"):
        weights, faults = examine_weights(path)
        findings += [Finding(str(path), *fault) for fault in faults]
        findings += _check_published(path)
    if weights is None or weights.kind != "detector":
        if fault := name_fault(name):
            first = next(iter(files.values()))
            findings.append(Finding(str(first), fault, "choose another name for all three files"))
        elif ".py" in files and (other := installed_module(name)):
            findings.append(
                Finding(
                    str(files[".py"]),
                    f"{other} is imported instead, because EasyOCR's folder is last in sys.path",
                    "choose another name for all three files",
                )
            )
    rows = weights.rows if weights else None
    if path := files.get(".yaml"):
        settings, faults = examine_yaml(path, rows=rows)
        findings += [Finding(str(path), *fault) for fault in faults]
        if weights:
            findings += _compare(path, settings, weights)
    if path := files.get(".py"):
        params = settings.params if settings else None
        findings += [Finding(str(path), *fault) for fault in examine_module(path, params=params)]
    if weights and weights.kind == "detector" and (".yaml" in files or ".py" in files):
        findings.append(
            Finding(
                str(files[".pth"]),
                "these are weights of the detector CRAFT, but the .yaml and .py next to them "
                "describe a recognizer",
                "put the recognizer's weights under this name",
            )
        )
    return findings


def _check_published(path: Path) -> Iterator[Finding]:
    if path.stem not in PUBLISHED:
        return
    known = KNOWN_WEIGHTS.get(path.stem)
    with path.open("rb") as file:
        md5 = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if known and md5 == known.md5:
        yield Finding(
            str(path), "this is a file that EasyOCR itself publishes", "nothing to do", False
        )
        return
    yield Finding(
        str(path),
        f"EasyOCR has published weights of this name"
        f"{f' with the md5 {known.md5}' if known else ''}, but the md5 of this file is {md5}. "
        "EasyOCR deletes a file with another md5 and downloads the published one",
        "save your weights under another name; `ocrjax export easyocr` prints how to use your "
        "own detector",
        serious=known is not None,
    )


def _compare(path: Path, settings: Settings, weights: Weights) -> Iterator[Finding]:
    """Compare the YAML with the shapes of the weights."""
    if weights.rows is not None and settings.characters is not None:
        yield from _compare_charset(path, settings.characters, weights.rows)
    for key, value in (settings.params or {}).items():
        expected = weights.params.get(key)
        if expected is not None and isinstance(value, int) and value != expected:
            yield Finding(
                str(path),
                f"network_params.{key} is {value}, but the weights have {expected} (EasyOCR says: "
                "size mismatch)",
                f"write {key}: {expected}",
            )
    if weights.params.get("input_channel", 1) != 1:
        yield Finding(
            str(path),
            f"the network expects {weights.params['input_channel']} input channels (trained with "
            "rgb), but EasyOCR passes one gray channel",
            "train it on gray images (rgb: False)",
        )


def _compare_charset(path: Path, characters: str, rows: int) -> Iterator[Finding]:
    if len(characters) + 1 == rows:
        return
    text = (
        f"character_list has {len(characters)} characters, so {len(characters) + 1} classes with "
        f"the blank, but the weights have {rows} (EasyOCR says: size mismatch for Prediction)"
    )
    hint = f"list exactly the {rows - 1} characters of the training, in the same order"
    if len(set(characters)) + 1 == rows:
        twice = "".join(sorted({c for c in characters if characters.count(c) > 1}))
        hint = f"list {twice!r} only once"
    elif len(characters.strip("\n")) + 1 == rows:
        hint = "a YAML block ends with a newline, which counts: write the list in double quotes"
    elif "".join(characters.split(" ")) and len(characters.replace(" ", "")) + 1 == rows:
        hint = "leave out the space: the network was not trained with it"
    elif " " not in characters and len(characters) + 2 == rows:
        hint += "; is the space ' ' one of them?"
    elif rows in _KNOWN_ROWS:
        hint += f". {rows - 1} characters could be {_KNOWN_ROWS[rows]}"
    yield Finding(str(path), text, hint)
