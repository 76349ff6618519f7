"""How programs end: errors are one line and an exit status, never a traceback for a user.

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
"""Exit status after Ctrl-C, by convention 128 plus the number of the signal."""
NOBODY_READS = 141
"""Exit status if the reader of the output has ended (`| head`): 128 + SIGPIPE."""
_FULL = (errno.ENOSPC, errno.EDQUOT)
_BROKEN = (errno.EROFS, errno.EIO, errno.EFBIG)


def run_command(program: str, work: Callable[[], int], *, failed: int = 2, safe: str = "") -> int:
    """Run the work of a command, and turn errors into messages and an exit status.

    Args:
        program: name of the program, for messages.
        work: returns the exit status.
        failed: exit status after a system error: a full disk, no permission.
        safe: a sentence that says what is safe if the disk is full.

    Returns:
        The exit status.
    """
    allow_any_name()
    try:
        try:
            return work()
        finally:
            sys.stdout.flush()  # here, where errors can be handled, not at interpreter exit
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
    """Make this process print characters that the terminal cannot show as escapes.

    Lines appear at once, also in a file or a pipe.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace", line_buffering=True)


def explain(error: OSError, safe: str = "") -> str:
    """Return the message of a system error: the path, the reason, free space and what is safe."""
    if error.filename is None or error.strerror is None:
        text = str(error)  # raised by this project, or one that names no file
    else:
        text = f"{error.filename}: {error.strerror}"
        if error.errno in _FULL:
            text += free_space(error.filename)
    return f"{text}. {safe}" if safe and error.errno in (*_FULL, *_BROKEN) else text


def free_space(path: str | os.PathLike[str]) -> str:
    """Return the free space on the disk of a path, in parentheses for the end of a message."""
    try:
        free = shutil.disk_usage(existing(path)).free
    except OSError:
        return ""
    return f" ({free / 1e6:,.1f} MB free there)"


def _write_to_nobody() -> None:
    """Discard what is left in the buffers, so that the interpreter exits without an error."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(nowhere, stream.fileno())
