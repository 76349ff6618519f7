"""Puts files into EasyOCR's folders: all of them or none, and none over another's."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from ocrcore.files import replacing


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
    with ExitStack() as stack:  # it leaves in reverse
        for source, target in reversed(list(files.items())):
            shutil.copyfile(source, stack.enter_context(replacing(target)))
