"""Atomic writing of files and folders, and cache folders."""

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

_LONG_NAME = 220  # bytes; file systems allow 255


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a path to write to, and rename it to `path` at the end of the block.

    Readers see the old file or the new one, never a partial one; if two processes or threads write
    it, the last one wins. An exception removes the temporary file and keeps the old one; a system
    error that names no file (a full disk) gets the name of this one. A killed process leaves its
    temporary file; the first call of a later process for that folder removes it. The data is not
    synced: a power failure may lose it.

    Args:
        path: the file; its folder is created if needed.

    Yields:
        `NAME.HOST-THREAD-PROCESS.part` next to it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_parts_of_killed(path.parent)
    name = path.name
    if len(os.fsencode(name)) > _LONG_NAME:  # keep the temporary name within the limit
        name = f"{name[:50]}-{zlib.crc32(os.fsencode(name)):08x}"
    # The process id comes last: `_remove_parts_of_killed` reads it.
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
    """Turns a RuntimeError of a library that quotes a system error, as of a full disk, into it.

    Args:
        path: the file that is written.

    Raises:
        OSError: in place of such a RuntimeError; other errors stay.
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
    """Return a name for the scope of process ids: this host, and the container on it."""
    try:
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:  # not Linux
        namespace = ""
    return f"{zlib.crc32(f'{platform.node()} {namespace}'.encode()):08x}"


@cache
def _remove_parts_of_killed(folder: Path) -> None:
    """Remove temporary files of dead processes of this host; check each folder only once."""
    for path in folder.glob(f"*.{_realm()}-*.part"):
        number = path.name.removesuffix(".part").rpartition("-")[2]
        if number.isdecimal() and not _is_running(int(number)):
            with suppress(OSError):  # another user's
                path.unlink(missing_ok=True)


def _is_running(process: int) -> bool:
    """Return whether a process is running on this host; always True on Windows (unknown)."""
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except PermissionError:  # belongs to another user
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True


@contextmanager
def new_folder(path: str | Path, *, marker: str) -> Iterator[Path]:
    """Yield a folder to fill, and rename it to `path` at the end of the block.

    Several processes may do so at the same time: the first one wins. An exception removes the
    temporary folder.

    Args:
        path: the folder; its parent is created if needed.
        marker: a file in it that marks a folder of another process as complete.

    Yields:
        A folder with a unique name next to it.

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
    """Write a file atomically; its folder is created if needed."""
    with replacing(path) as part:
        part.write_bytes(data)


def write_text(path: str | Path, text: str) -> None:
    """Write a text as UTF-8, atomically; keep line ends, escape lone surrogates."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_json(path: str | Path, value: Any) -> None:
    """Write indented JSON in UTF-8, atomically; escape surrogates.

    File names that are not UTF-8 contain surrogates.
    """
    write_text(path, json.dumps(value, ensure_ascii=False, indent=1) + "\n")


def json_line(value: Any) -> str:
    """Return JSON in one line that can be written as UTF-8: lone surrogates are escaped.

    `json.loads` restores them, so the path of a file whose name is not UTF-8 still opens it.
    """
    text = json.dumps(value, ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def check_regular(path: str | os.PathLike[str]) -> int:
    """Return the size of a regular file in bytes; a pipe or a device may never end.

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
    """Return a path with `~` expanded to the user's home; unchanged if the home is unknown.

    A container may run as a user without a name: then `Path.expanduser` and `Path.home` raise.
    """
    return Path(os.path.expanduser(path))  # noqa: PTH111


def user_cache() -> Path | None:
    """Return the user's cache folder; None for a user without a home."""
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base)
    home = expanded("~")
    return home / ".cache" if home.is_absolute() else None


def stays_below(folder: str | Path, name: str) -> bool:
    """Return whether a path from a label file, joined to a folder, stays below that folder.

    Links within the folder may lead elsewhere: whoever made them meant it.
    """
    if name[:1] != "/" and ".." not in name:  # fast path for nearly all names
        return True
    path = Path(name)
    if ".." in path.parts:
        return False
    return not path.is_absolute() or path.is_relative_to(Path(folder).absolute())


def default_cache() -> Path:
    """Return `ocrjax` in the user's cache folder, or one in the folder of temporary files.

    The latter is used if there is no home or it is not writable, as with `docker run --user`.
    """
    cache = user_cache()
    if cache is not None and os.access(existing(cache / "ocrjax"), os.W_OK):
        return cache / "ocrjax"
    user = f"-{os.getuid()}" if hasattr(os, "getuid") else ""
    return Path(tempfile.gettempdir()) / f"ocrjax{user}"


def existing(path: str | os.PathLike[str]) -> Path:
    """Return the path itself, or its nearest parent that exists."""
    path = Path(path).absolute()
    return next(one for one in (path, *path.parents) if os.path.lexists(one))
