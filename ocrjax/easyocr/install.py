"""Puts files into EasyOCR's folders, all or none and none over another's, and takes them back."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from ocrcore.files import replacing, write_json
from ocrcore.weights.named import easyocr_model_folder


class InstallError(ValueError):
    """Something is at the place of a file; the message says what to do."""


def install(files: Mapping[Path, Path], *, name: str, force: bool = False) -> None:
    """Copies files to their places, and notes them, so that `uninstall` finds them.

    They are first copied beside their places and then renamed, so that a Reader never sees half of
    a file. The renames follow the order of the mapping.

    Args:
        files: places by source.
        name: of the network.
        force: replace what is there.

    Raises:
        InstallError: something is at one of the places; nothing was copied.
    """
    for target in files.values():
        if target.is_dir():
            raise InstallError(f"{target}: a folder is there; move it away")
    taken = [str(target) for target in files.values() if target.exists()]
    if taken and not force:
        raise InstallError(
            f"{', '.join(taken)}: there already; --force replaces, --name NAME takes another name"
        )
    with ExitStack() as stack:  # it leaves in reverse
        for source, target in reversed(list(files.items())):
            shutil.copyfile(source, stack.enter_context(replacing(target)))
    write_json(_note(name), {str(target): _digest(target) for target in files.values()})


def uninstall(name: str) -> list[Path]:
    """Removes the files that `install` has put there, and no others.

    Args:
        name: of the network.

    Returns:
        The files that were removed; one that somebody else has removed is not among them.

    Raises:
        InstallError: no network of this name was installed, or one of its files was changed since;
            nothing was removed.
    """
    if Path(name).name != name:
        raise InstallError(f"{name!r}: expected the name of a network, as --name gave it")
    note = _note(name)
    try:
        files = json.loads(note.read_text(encoding="utf-8"))
        there = [(Path(place), digest) for place, digest in files.items() if Path(place).exists()]
    except FileNotFoundError:
        known = sorted(path.stem for path in note.parent.glob("*.json"))
        raise InstallError(
            f"no network {name!r} was installed by `ocrjax export easyocr --install` "
            f"({note} is missing); installed are {', '.join(known) or 'none'}"
        ) from None
    except (OSError, ValueError, AttributeError) as error:
        raise InstallError(f"{note}: not a note of installed files: {error}") from error
    changed = [str(path) for path, digest in there if _digest(path) != digest]
    if changed:
        raise InstallError(
            f"{', '.join(changed)}: changed since the installation, so nothing was removed: these "
            "may be files of somebody else. Remove them by hand"
        )
    for path, _ in there:
        path.unlink()
    note.unlink()
    return [path for path, _ in there]


def _note(name: str) -> Path:
    """Where it is noted which files belong to a network."""
    return easyocr_model_folder().parent / "ocrjax" / f"{name}.json"


def _digest(path: Path) -> str:
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
