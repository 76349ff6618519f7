"""Rules for outputs: never overwrite an input, and other files only with --force.

Commands check this before they load anything, so no work is lost to an unwritable place.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from ocrcore.files import existing

_SHOWN = 3  # files to list in a message
Key = tuple[int, int]


class OutputError(ValueError):
    """A command may not or cannot write to a place; the message names it."""


def check_outputs(
    outputs: Iterable[str | os.PathLike[str]],
    *,
    inputs: Iterable[str | os.PathLike[str]] = (),
    force: bool = False,
    remedy: str = "--force replaces, another name keeps them",
) -> None:
    """Check that files may be written: one rule for all commands.

    Args:
        outputs: files that will be written, and folders that will be created.
        inputs: files and folders that are read. None of them may be overwritten, by any path, link
            or hard link; nor may an existing file in one of these folders.
        force: whether other existing files may be replaced; folders, pipes and devices never are.
        remedy: what a user can do about existing files.

    Raises:
        OutputError: an output is an input, exists already, or cannot be written.
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
                f"{path}: would be replaced, but it is an input{_named(source, path)}: choose "
                "another place for the output"
            )
        for folder in (path.parent.resolve(), *path.parent.resolve().parents) if read else ():
            if (source := read.get(key_of(folder) or (-1, -1))) is not None:
                raise OutputError(
                    f"{path}: would be replaced, but it belongs to the input {source}: choose "
                    "another place for the output"
                )
        if path.exists() and not path.is_file():
            kind = "is a folder" if path.is_dir() else "is not a regular file"
            raise OutputError(f"{path}: exists and {kind}: choose another place")
        taken.append(path)
    if taken and not force:
        raise OutputError(f"{_listed(taken)}: already exists; {remedy}")
    for folder, path in folders.items():
        _check_writable(folder, path)


def check_apart(
    folder: str | os.PathLike[str], inputs: Iterable[str | os.PathLike[str]], *, option: str
) -> None:
    """Check that a folder of results is not one of the input folders, nor inside of one.

    Otherwise the next start would read the results.

    Raises:
        OutputError: it is.
    """
    for source in map(Path, inputs):
        if Path(folder).resolve().is_relative_to(source.resolve()):
            raise OutputError(
                f"{option} {os.fspath(folder)}: lies in the input {source}: choose another folder"
            )


def check_suffix(path: str | os.PathLike[str], expected: Sequence[str], *, option: str) -> None:
    """Check that the name of an output has the suffix of a supported format.

    Raises:
        OutputError: it does not.
    """
    if Path(path).suffix.lower() not in expected:
        raise OutputError(
            f"{option} {os.fspath(path)}: expected a name that ends in {', '.join(expected)}"
        )


def _check_name(path: Path) -> None:
    """Reject names too long for a file; it is first written next to its place, as NAME.part."""
    try:
        path.with_name(path.name + ".part").lstat()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise OutputError(f"{path}: cannot be written: {error.strerror}") from error


def _check_writable(folder: Path, output: Path) -> None:
    """Write a byte without leaving a trace: permissions alone do not reveal a full disk."""
    place = existing(folder)
    if not place.is_dir():
        raise OutputError(f"{output}: cannot be written: {place} is a file, expected a folder")
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"0")
    except OSError as error:
        raise OutputError(
            f"{output}: cannot be written in {place} ({error.strerror or error}): choose a "
            "writable place"
        ) from error


def _key(path: str | os.PathLike[str]) -> Key | None:
    """Return a key that is the same for all names of a file; None if there is no file."""
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
