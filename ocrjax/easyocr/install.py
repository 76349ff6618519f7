"""Install files into EasyOCR's folders atomically, without replacing others, and remove them."""

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
    """A file cannot be installed or removed; the message says what to do."""


def install(files: Mapping[Path, Path], *, name: str, force: bool = False) -> None:
    """Copy files to their targets and record them for `uninstall`.

    They are first copied next to their targets and then renamed, in the order of the mapping, so
    that EasyOCR never sees half a file.

    Args:
        files: target paths by source path.
        name: name of the network.
        force: replace existing files.

    Raises:
        InstallError: a target exists; nothing was copied.
    """
    for target in files.values():
        if target.is_dir():
            raise InstallError(f"{target}: is a folder, expected a file or nothing; move it away")
    taken = [str(target) for target in files.values() if target.exists()]
    if taken and not force:
        raise InstallError(
            f"{', '.join(taken)}: already exists; --force replaces it, --name NAME chooses another "
            "name"
        )
    with ExitStack() as stack:  # exits in reverse order
        for source, target in reversed(list(files.items())):
            shutil.copyfile(source, stack.enter_context(replacing(target)))
    write_json(_note(name), {str(target): _digest(target) for target in files.values()})


def uninstall(name: str) -> list[Path]:
    """Remove the files that `install` copied, and no others.

    Args:
        name: name of the network.

    Returns:
        The files that were removed, without those that no longer existed.

    Raises:
        InstallError: no network of this name was installed, or one of its files was changed since;
            nothing was removed.
    """
    if Path(name).name != name:
        raise InstallError(f"{name!r}: expected the name of a network, as given by --name")
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
        raise InstallError(f"{note}: not a record of installed files: {error}") from error
    changed = [str(path) for path, digest in there if _digest(path) != digest]
    if changed:
        raise InstallError(
            f"{', '.join(changed)}: changed since the installation, so nothing was removed: the "
            "files may be someone else's. Remove them by hand"
        )
    for path, _ in there:
        path.unlink()
    note.unlink()
    return [path for path, _ in there]


def _note(name: str) -> Path:
    """Path of the record of a network's installed files."""
    return easyocr_model_folder().parent / "ocrjax" / f"{name}.json"


def _digest(path: Path) -> str:
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
