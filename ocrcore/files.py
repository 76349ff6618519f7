"""Files and folders that are written whole or not at all, and where caches are kept."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yields a path to write to, and renames it to `path` at the end of the block.

    Readers see the old file or the new one, never half of one. An exception removes the part and
    leaves the old file. A process that is killed leaves the part, which the next call overwrites.
    The data is not synced: a power failure may lose it.

    Args:
        path: of the file; its folder is made as needed.

    Yields:
        `NAME.part` beside it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        yield part
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


@contextmanager
def new_folder(path: str | Path, *, marker: str) -> Iterator[Path]:
    """Yields a folder to fill, and renames it to `path` at the end of the block.

    Several processes may do so at the same time: the first one wins. An exception removes the part.

    Args:
        path: of the folder; the one above it is made as needed.
        marker: file in it by which a folder of another process counts as complete.

    Yields:
        A folder beside it with a name of its own.

    Raises:
        OSError: something else is at `path`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=path.name + ".", dir=path.parent))
    try:
        yield part
        try:
            part.rename(path)
        except OSError:
            if not (path / marker).is_file():
                raise
    finally:
        shutil.rmtree(part, ignore_errors=True)


def write_bytes(path: str | Path, data: bytes | memoryview) -> None:
    """Writes a file, all or nothing; its folder is made as needed."""
    with replacing(path) as part:
        part.write_bytes(data)


def write_text(path: str | Path, text: str) -> None:
    """Writes a text as UTF-8, all or nothing; line ends stay, lone surrogates are escaped."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_json(path: str | Path, value: Any) -> None:
    """Writes indented JSON in UTF-8, all or nothing; surrogates are escaped.

    Names of files that are not UTF-8 have surrogates.
    """
    write_text(path, json.dumps(value, ensure_ascii=False, indent=1) + "\n")


def json_line(value: Any) -> str:
    """Returns JSON in one line that can be written as UTF-8: lone surrogates are escaped.

    `json.loads` gives them back: the path of a file whose name is not UTF-8 still opens it.
    """
    text = json.dumps(value, ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def allow_any_name() -> None:
    """Lets this process print what its terminal cannot show, as escapes, instead of ending.

    Lines appear at once, also in a file or a pipe.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace", line_buffering=True)


def check_regular(path: str | os.PathLike[str]) -> int:
    """Returns the size of a regular file in bytes; a pipe or a device may never end.

    Raises:
        OSError: there is no such file, or it is a folder, a pipe, a socket or a device.
    """
    found = Path(path).stat()
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    if not stat.S_ISREG(found.st_mode):
        raise OSError(
            errno.EINVAL, "not a regular file (a pipe, socket or device)", os.fspath(path)
        )
    return found.st_size


def stays_below(folder: str | Path, name: str) -> bool:
    """Whether a path from a label file, joined to a folder, leads to something below that folder.

    Links within the folder may lead elsewhere: who made them meant it.
    """
    if name[:1] != "/" and ".." not in name:  # nearly all
        return True
    path = Path(name)
    if ".." in path.parts:
        return False
    return not path.is_absolute() or path.is_relative_to(Path(folder).absolute())


def default_cache() -> Path:
    """`ocrjax` in the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ocrjax"
