"""A lock, so that only one process at a time trains in a run directory.

Host code: no jax.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

if sys.platform != "win32":
    import fcntl

_PATIENCE = 3.0  # seconds that a killed process may take to release the lock


class RunLockError(ValueError):
    """Another process trains in the folder; the message says which one, and what to do."""


@contextmanager
def run_lock(
    folder: Path,
    *,
    log: Callable[[str], object] = print,
    patience: float = _PATIENCE,
    option: str = "--workdir",
) -> Iterator[None]:
    """Lock a run directory for this process.

    The operating system releases the lock when the process ends, however it ends, so a lock is
    never stale: a file `run.lock` left by a killed process locks nothing. The lock is advisory;
    other hosts respect it if the file system supports such locks.

    Args:
        folder: the run directory; created if missing.
        log: called with a message if the file system has no locks; the run then continues without.
        patience: seconds to wait for another process to end.
        option: the option that chooses another folder, for messages.

    Raises:
        RunLockError: another process holds the lock.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "run.lock"
    file = _locked(path, time.monotonic() + patience, log, option)
    if file is None:
        yield
        return
    try:
        mine = {"host": platform.node(), "process": os.getpid(), "since": _now()}
        os.ftruncate(file, 0)
        os.pwrite(file, json.dumps(mine).encode(), 0)
        yield
    finally:
        with suppress(OSError):
            path.unlink()  # while still locked, so that no other process owns it
        os.close(file)


def _locked(path: Path, until: float, log: Callable[[str], object], option: str) -> int | None:
    """Return an open, locked file; None if there are no locks (on Windows none are tried)."""
    if sys.platform == "win32":
        return None
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)  # not inherited by other programs
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            if time.monotonic() > until:
                raise RunLockError(_refusal(path, option)) from None
            time.sleep(0.05)
        except OSError as error:
            os.close(file)
            log(
                f"{path}: this file system does not support locks ({error.strerror}): make sure "
                "that no other process trains in this folder"
            )
            return None
        else:
            # The previous owner removes the file; then this one is locked but no longer there.
            if _is(path, file):
                return file
            os.close(file)


def _is(path: Path, file: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file))
    except FileNotFoundError:
        return False


def _refusal(path: Path, option: str) -> str:
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
        who = f"process {holder['process']} on {holder['host']}, since {holder['since']}"
    except (OSError, ValueError, TypeError, KeyError):  # it is being written right now
        who = "another process"
    return (
        f"{path.parent} is in use by {who}, which trains there: wait until it ends or stop it "
        f"(SIGTERM saves its state), or choose another folder with {option}"
    )


def _now() -> str:
    return datetime.now().isoformat(" ", "seconds")
