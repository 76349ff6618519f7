"""What worker processes have in common. Host code: no jax."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker


def end_with_parent() -> None:
    """Ends this process as soon as the one that started it has ended, killed ones included.

    For the beginning of a process of `multiprocessing`; elsewhere it does nothing.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


@contextmanager
def signals_held() -> Iterator[None]:
    """Workers that are started in here are deaf to Ctrl-C and SIGTERM from their imports on.

    Both go to all processes of a group (Slurm's does), but are the program's to answer: the work
    that it is at needs its workers. They inherit what is blocked.
    """
    resource_tracker.ensure_running()  # a worker that had to start it would unblock them
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
