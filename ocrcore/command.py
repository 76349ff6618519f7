"""How programs end: what goes wrong is one line and an exit status, never a traceback for a user.

Host code: no jax.
"""

from __future__ import annotations

import errno
import io
import os
import shutil
import sys
from collections.abc import Callable

from ocrcore.files import existing

INTERRUPTED = 130
"""The exit status after Ctrl-C, by convention 128 and the number of the signal."""
NOBODY_READS = 141
"""The exit status where the reader of the output has ended (`| head`): 128 + SIGPIPE."""
_FULL = (errno.ENOSPC, errno.EDQUOT)
_BROKEN = (errno.EROFS, errno.EIO, errno.EFBIG)


def run_command(program: str, work: Callable[[], int], *, failed: int = 2, safe: str = "") -> int:
    """Does the work of a command.

    Args:
        program: its name, for messages.
        work: returns the exit status.
        failed: the exit status after an error of the system's: a full disk, no permission.
        safe: what is not lost where a disk is full, as a sentence.

    Returns:
        The exit status.
    """
    allow_any_name()
    try:
        try:
            return work()
        finally:
            sys.stdout.flush()  # here, where it may fail; not when the interpreter has ended
    except BrokenPipeError:
        _write_to_nobody()
        return NOBODY_READS
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except OSError as error:
        print(f"{program}: {explain(error, safe)}", file=sys.stderr)
        return failed


def allow_any_name() -> None:
    """Lets this process print what its terminal cannot show, as escapes, instead of ending.

    Lines appear at once, also in a file or a pipe.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace", line_buffering=True)


def explain(error: OSError, safe: str = "") -> str:
    """Says what the system refused: the path, the reason, and of a disk what is free and safe."""
    if error.filename is None or error.strerror is None:
        text = str(error)  # ours, or one that names no file
    else:
        text = f"{error.filename}: {error.strerror}"
        if error.errno in _FULL:
            text += free_space(error.filename)
    return f"{text}. {safe}" if safe and error.errno in (*_FULL, *_BROKEN) else text


def free_space(path: str | os.PathLike[str]) -> str:
    """How much the disk of a path has left, in brackets for the end of a message."""
    try:
        free = shutil.disk_usage(existing(path)).free
    except OSError:
        return ""
    return f" ({free / 1e6:,.1f} MB free there)"


def _write_to_nobody() -> None:
    """What is left in the buffers goes nowhere, so that the end of the interpreter is quiet."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(nowhere, stream.fileno())
