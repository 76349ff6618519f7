"""A disk that is full or read-only where checkpoints are written: one message that says so.

Host code: no jax.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Orbax tells of the system's errors in a text of TensorStore's.
_CODE = re.compile(r"os_error_code='(\d+)'")


def check_space(folder: str | Path, needed: int) -> None:
    """Checks that a checkpoint has room before it is begun, which leaves less behind than after.

    Args:
        folder: of the checkpoints.
        needed: bytes that it takes at most.

    Raises:
        OSError: there is too little.
    """
    if shutil.disk_usage(folder).free < needed:
        reason = f"no space left for a checkpoint, which takes up to {needed / 1e6:,.1f} MB"
        raise OSError(errno.ENOSPC, reason, os.fspath(folder))


@contextmanager
def disk_errors(folder: str | Path) -> Iterator[None]:
    """Raises what the system refuses to write below a folder as its own error, with a path.

    Raises:
        OSError: in place of Orbax's error, or of one that names no file.
    """
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = os.fspath(folder)
        raise
    except ValueError as error:
        if not (found := _CODE.search(str(error))):
            raise
        code = int(found[1])
        raise OSError(code, os.strerror(code), os.fspath(folder)) from error


def silence_orbax() -> None:
    """Keeps Orbax from printing tracebacks of errors that it raises as well, and asyncio of copies.

    Hundreds of arrays are written at once; where the disk is full, each of them fails.
    """

    def unraised(record: logging.LogRecord) -> bool:
        return not (record.exc_info and f"{os.sep}orbax{os.sep}" in record.pathname)

    logging.getLogger("absl").addFilter(unraised)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
