"""A full or read-only disk while checkpoints are written: reported in one message.

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

# Orbax reports system errors in a text from TensorStore.
_CODE = re.compile(r"os_error_code='(\d+)'")


def check_space(folder: str | Path, needed: int) -> None:
    """Check for free space before a checkpoint is written, so that no partial one is left behind.

    Args:
        folder: folder of the checkpoints.
        needed: maximum size of a checkpoint, in bytes.

    Raises:
        OSError: there is too little free space.
    """
    if shutil.disk_usage(folder).free < needed:
        reason = f"no space left for a checkpoint, which takes up to {needed / 1e6:,.1f} MB"
        raise OSError(errno.ENOSPC, reason, os.fspath(folder))


@contextmanager
def disk_errors(folder: str | Path) -> Iterator[None]:
    """Raise failed writes below a folder as the system's own error, with a path.

    Raises:
        OSError: replaces Orbax's error, or one that names no file.
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
    """Silence tracebacks that Orbax prints for errors it also raises, and asyncio's copies.

    Hundreds of arrays are written at once; on a full disk, each of them fails.
    """

    def unraised(record: logging.LogRecord) -> bool:
        return not (record.exc_info and f"{os.sep}orbax{os.sep}" in record.pathname)

    logging.getLogger("absl").addFilter(unraised)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
