"""Puts files into EasyOCR's folders: all of them or none, and none over another's."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path


class InstallError(ValueError):
    """Something is at the place of a file; the message says what to do."""


def install(files: Mapping[Path, Path], *, force: bool = False) -> None:
    """Copies files to their places.

    They are first copied beside their places and then renamed, so that a Reader never sees half of
    a file. The renames follow the order of the mapping.

    Args:
        files: places by source.
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
    parts: dict[Path, Path] = {}
    try:
        for source, target in files.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            parts[target] = target.with_name(f"{target.name}.{os.getpid()}.part")
            shutil.copyfile(source, parts[target])
        for target, part in parts.items():
            part.replace(target)
    finally:
        for part in parts.values():
            with suppress(FileNotFoundError):
                part.unlink()
