"""Diagnoses the files of a custom EasyOCR network.

Nothing in the files is executed: weights are read by `ocrcore.weights.pth`, the YAML as nodes
without making objects of it, the Python module as a syntax tree.
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
# What else holds weights, and what to do with it.
_OTHER_FILES = {
    ".safetensors": "; `ocrjax convert` makes a .pth of it",
    ".h5": "; weights of Keras are not read, EasyOCR needs a network of PyTorch",
}
_OTHER_FILES[".keras"] = _OTHER_FILES[".h5"]
# Rows of the last layer that give away the charset that a network was trained with.
_KNOWN_ROWS = {
    37: "0123456789abcdefghijklmnopqrstuvwxyz, deep-text-recognition-benchmark's without "
    "--character",
    95: "the 94 printable characters of ASCII, with which deep-text-recognition-benchmark trains "
    "under --sensitive: digits, a-z, A-Z, then !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~",
    97: "the 96 of EasyOCR's english_g2",
    352: "the 351 of EasyOCR's latin_g2",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong with a file.

    Attributes:
        file: where.
        problem: what is wrong and what EasyOCR makes of it.
        remedy: what to do.
        serious: False for what works and may still surprise.
    """

    file: str
    problem: str
    remedy: str
    serious: bool = True

    def __str__(self) -> str:
        mark = "wrong" if self.serious else "note"
        return printable(f"{self.file}: {mark}: {self.problem}\n    {self.remedy}")


def printable(text: str) -> str:
    """Escapes what somebody's file may do to a terminal, and what no terminal can show."""
    return "".join(
        char if char.isprintable() or char == "\n" else ascii(char)[1:-1] for char in text
    )


def collect(arguments: list[str]) -> tuple[dict[str, dict[str, Path]], list[Finding]]:
    """Sorts files by the network that they belong to.

    Args:
        arguments: files, folders, or names of networks in EasyOCR's folders.

    Returns:
        By name of the network its files by suffix; and what is wrong with where they lie.

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
                raise FileNotFoundError(f"{path}: no {', '.join(_SUFFIXES)} file in this folder")
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
    """Files of different names are taken for one network's where none is there twice."""
    files = {suffix: file for parts in networks.values() for suffix, file in parts.items()}
    if len(networks) < 2 or len(files) < sum(map(len, networks.values())):
        return networks, findings
    # Weights have any name; that of the other two is more likely the one that was meant.
    name = (files.get(".yaml") or files[".py"]).stem
    for suffix, file in files.items():
        if file.stem != name:
            findings.append(
                Finding(
                    str(file),
                    "the files of a network have one name, that of recog_network; the others are "
                    f"called {name}",
                    f"name it {name}{suffix}, and pass recog_network={name!r}",
                )
            )
    return {name: files}, findings


def _installed(name: str) -> tuple[list[Path], list[Finding]]:
    """The files of a network in EasyOCR's folders, wherever there, and those that are not."""
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
                    "missing; a Reader opens all three files",
                    f"put {name}{suffix} there",
                )
            )
    if not files:
        raise FileNotFoundError(
            f"{name}: neither a file nor a folder, and no {name}.pth, {name}.yaml or {name}.py in "
            f"{models} or {networks}"
        )
    return files, findings


def _place(file: Path, suffix: str) -> Iterator[Finding]:
    """Whether a file lies in EasyOCR's folders, but in the wrong one or under a wrong suffix."""
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
            f"name it {file.with_suffix(suffix).name}",
        )


def examine(name: str, files: dict[str, Path]) -> list[Finding]:
    """Examines the files of one network, each alone and against the others.

    Args:
        name: of the network, the files' common stem.
        files: by suffix, any of .pth, .yaml and .py.

    Returns:
        What is wrong, by file.
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
                    f"{other} is imported instead, because EasyOCR's folder comes last",
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
                "these are weights of the detector CRAFT, and the .yaml and .py beside them are of "
                "a recognizer",
                "give the recognizer's weights this name",
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
            str(path), "this is the very file that EasyOCR publishes", "it needs nothing", False
        )
        return
    yield Finding(
        str(path),
        f"EasyOCR has published weights of this name"
        f"{f' with the md5 {known.md5}' if known else ''}; its md5 is {md5}. A Reader deletes a "
        "file whose md5 is another and downloads the published one",
        "keep your weights under another name; `ocrjax export easyocr` says how to use a detector "
        "of your own",
        serious=known is not None,
    )


def _compare(path: Path, settings: Settings, weights: Weights) -> Iterator[Finding]:
    """The YAML against the shapes of the weights."""
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
            f"the weights are of a network that sees {weights.params['input_channel']} channels "
            "(trained with rgb), and EasyOCR feeds one, gray",
            "train it on gray pictures (rgb: False)",
        )


def _compare_charset(path: Path, characters: str, rows: int) -> Iterator[Finding]:
    if len(characters) + 1 == rows:
        return
    text = (
        f"character_list has {len(characters)} characters, which makes {len(characters) + 1} "
        f"classes with the blank, but the weights have {rows} (EasyOCR says: size mismatch for "
        "Prediction)"
    )
    hint = f"list exactly the {rows - 1} characters of the training, in their order"
    if len(set(characters)) + 1 == rows:
        twice = "".join(sorted({c for c in characters if characters.count(c) > 1}))
        hint = f"list {twice!r} only once"
    elif len(characters.strip("\n")) + 1 == rows:
        hint = "a block of YAML ends in a line end, which counts: write the list in double quotes"
    elif "".join(characters.split(" ")) and len(characters.replace(" ", "")) + 1 == rows:
        hint = "leave out the blank, with which the network was not trained"
    elif " " not in characters and len(characters) + 2 == rows:
        hint += "; is the blank ' ' one of them?"
    elif rows in _KNOWN_ROWS:
        hint += f". {rows - 1} are {_KNOWN_ROWS[rows]}"
    yield Finding(str(path), text, hint)
