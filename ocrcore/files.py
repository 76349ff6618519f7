"""Files and folders that are written whole or not at all, and where caches are kept."""

from __future__ import annotations

import errno
import json
import os
import platform
import shutil
import stat
import tempfile
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

_LONG_NAME = 220  # bytes; 255 is the most that file systems take


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yields a path to write to, and renames it to `path` at the end of the block.

    Readers see the old file or the new one, never half of one; of two processes or threads that
    write it the last one wins. An exception removes the part and leaves the old file; one of the
    system's that names no file (a full disk) gets the name of this one. A process that is killed
    leaves the part; the first call of a later process for that folder removes it. The data is not
    synced: a power failure may lose it.

    Args:
        path: of the file; its folder is made as needed.

    Yields:
        `NAME.HOST-THREAD-PROCESS.part` beside it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_parts_of_killed(path.parent)
    name = path.name
    if len(os.fsencode(name)) > _LONG_NAME:  # the part's name must not be too long for the disk
        name = f"{name[:50]}-{zlib.crc32(os.fsencode(name)):08x}"
    # The number of the process is the last: it tells whose parts were left behind.
    part = path.with_name(f"{name}.{_realm()}-{threading.get_native_id()}-{os.getpid()}.part")
    try:
        yield part
        part.replace(path)
    except BaseException as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None and error.filename is None:
            error.filename = os.fspath(path)
        raise


@contextmanager
def system_errors(path: str | Path) -> Iterator[None]:
    """Raises what a library tells of the system in a text, as of a full disk, as its own error.

    Args:
        path: of the file that is written.

    Raises:
        OSError: in place of a RuntimeError that tells of one; others stay.
    """
    try:
        yield
    except RuntimeError as error:
        for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO):
            if os.strerror(code) in str(error):
                raise OSError(code, os.strerror(code), os.fspath(path)) from error
        raise


@cache
def _realm() -> str:
    """Names what the numbers of processes belong to: this host, and the container on it."""
    try:
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:  # no Linux
        namespace = ""
    return f"{zlib.crc32(f'{platform.node()} {namespace}'.encode()):08x}"


@cache
def _remove_parts_of_killed(folder: Path) -> None:
    """Removes parts of processes of this host that are no more; looks into a folder only once."""
    for path in folder.glob(f"*.{_realm()}-*.part"):
        number = path.name.removesuffix(".part").rpartition("-")[2]
        if number.isdecimal() and not _is_running(int(number)):
            with suppress(OSError):  # another user's
                path.unlink(missing_ok=True)


def _is_running(process: int) -> bool:
    """Whether this host has a process of a number; always yes on Windows, which cannot be asked."""
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except PermissionError:  # of another user
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True


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


def expanded(path: str | os.PathLike[str]) -> Path:
    """Returns a path with `~` as the user's home; as it is where nobody knows that.

    A container may run as a user without a name: then `Path.expanduser` and `Path.home` raise.
    """
    return Path(os.path.expanduser(path))  # noqa: PTH111


def user_cache() -> Path | None:
    """The user's cache folder; None for a user without a home."""
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base)
    home = expanded("~")
    return home / ".cache" if home.is_absolute() else None


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
    """`ocrjax` in the user's cache folder, or one below that of temporary files.

    The latter where there is no home, or none to write in, as for `docker run --user`.
    """
    cache = user_cache()
    if cache is not None and os.access(existing(cache / "ocrjax"), os.W_OK):
        return cache / "ocrjax"
    user = f"-{os.getuid()}" if hasattr(os, "getuid") else ""
    return Path(tempfile.gettempdir()) / f"ocrjax{user}"


def existing(path: str | os.PathLike[str]) -> Path:
    """The path itself, or the first of the folders above it that is there."""
    path = Path(path).absolute()
    return next(one for one in (path, *path.parents) if os.path.lexists(one))
