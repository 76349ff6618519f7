"""What a command may write: never over what it reads, and over other files only when told to.

Commands ask before they load anything: no work is lost to a place that cannot be written to.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from ocrcore.files import existing

_SHOWN = 3  # files that are named in a message
Key = tuple[int, int]


class OutputError(ValueError):
    """A place that a command may not or cannot write to; the message names it."""


def check_outputs(
    outputs: Iterable[str | os.PathLike[str]],
    *,
    inputs: Iterable[str | os.PathLike[str]] = (),
    force: bool = False,
    remedy: str = "--force replaces, another name keeps them",
) -> None:
    """Checks that files may be written: the one rule of all commands.

    Args:
        outputs: files that will be written, and folders that will be made.
        inputs: files and folders that are read. None of them is written to, by whichever path, link
            or hard link; nor is a file that is there already in one of these folders.
        force: other files that are there may be replaced; folders, pipes and devices never.
        remedy: what a user may do about files that are there.

    Raises:
        OutputError: an output is an input, is there already, or cannot be written.
    """
    read = {key: Path(path) for path in inputs if (key := _key(path)) is not None}
    key_of = cache(_key)  # many files share their folders
    taken: list[Path] = []
    folders: dict[Path, Path] = {}
    for path in map(Path, outputs):
        folders.setdefault(path.parent, path)
        if not os.path.lexists(path):
            _check_name(path)
            continue
        if (source := read.get(_key(path) or (-1, -1))) is not None:
            raise OutputError(
                f"{path}: would be replaced, and it is read{_named(source, path)}: name another "
                "place for the output"
            )
        for folder in (path.parent.resolve(), *path.parent.resolve().parents) if read else ():
            if (source := read.get(key_of(folder) or (-1, -1))) is not None:
                raise OutputError(
                    f"{path}: would be replaced, and it belongs to {source}, which is read: name "
                    "another place for the output"
                )
        if path.exists() and not path.is_file():
            kind = "a folder" if path.is_dir() else "no regular file"
            raise OutputError(f"{path}: there already, and {kind}: name another place")
        taken.append(path)
    if taken and not force:
        raise OutputError(f"{_listed(taken)}: there already; {remedy}")
    for folder, path in folders.items():
        _check_writable(folder, path)


def check_apart(
    folder: str | os.PathLike[str], inputs: Iterable[str | os.PathLike[str]], *, option: str
) -> None:
    """Checks that a folder of results is none of the folders that are read, nor inside of one.

    The next start would read the results.

    Raises:
        OutputError: it is.
    """
    for source in map(Path, inputs):
        if Path(folder).resolve().is_relative_to(source.resolve()):
            raise OutputError(
                f"{option} {os.fspath(folder)}: lies in {source}, which is read: name another "
                "folder"
            )


def check_suffix(path: str | os.PathLike[str], expected: Sequence[str], *, option: str) -> None:
    """Checks that the name of an output ends as one of its formats does.

    Raises:
        OutputError: it does not.
    """
    if Path(path).suffix.lower() not in expected:
        raise OutputError(
            f"{option} {os.fspath(path)}: expected a name that ends in {', '.join(expected)}"
        )


def _check_name(path: Path) -> None:
    """Refuses what no file can be called; it is first written beside its place, as NAME.part."""
    try:
        path.with_name(path.name + ".part").lstat()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise OutputError(f"{path}: cannot be written: {error.strerror}") from error


def _check_writable(folder: Path, output: Path) -> None:
    """Writes a byte that leaves nothing behind: permissions alone do not tell of a full disk."""
    place = existing(folder)
    if not place.is_dir():
        raise OutputError(f"{output}: cannot be written: {place} is a file, expected a folder")
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"0")
    except OSError as error:
        raise OutputError(
            f"{output}: cannot be written in {place} ({error.strerror or error}): name a place "
            "that you may write to"
        ) from error


def _key(path: str | os.PathLike[str]) -> Key | None:
    """What a path leads to, the same for all names of a file; None where there is nothing."""
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _named(source: Path, path: Path) -> str:
    return "" if source == path else f" as {source}"


def _listed(paths: Sequence[Path]) -> str:
    more = f" and {len(paths) - _SHOWN:,} more" if len(paths) > _SHOWN else ""
    return ", ".join(map(str, paths[:_SHOWN])) + more
