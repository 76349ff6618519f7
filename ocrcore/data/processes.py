"""Worker processes that survive interrupts and may be killed, and ordered parallel work.

Host code: no jax.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any, TypeVar

import cv2

STOP_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name)
)
"""Requests to exit, which a terminal or a cluster sends to all processes of a group at once."""
Submit = Callable[..., Future[Any]]
"""Takes a function and its arguments except the first, and schedules the call."""
T = TypeVar("T")
_EACH_CPU = 4  # processes per CPU; more would take memory without saving time


class _Worker(SpawnProcess):
    """Uses SIGKILL to terminate: workers ignore SIGTERM, which the pool sends and waits for."""

    def terminate(self) -> None:
        self.kill()


class _Spawn(SpawnContext):
    """Workers are spawned, not forked, because OpenCV and JAX have threads."""

    Process = _Worker


def bounded_workers(workers: int, *, setting: str) -> int:
    """Limits the number of processes to what the machine can use, with a message on stderr.

    Args:
        workers: the number asked for.
        setting: name of the option that set it, for the message.
    """
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    most = _EACH_CPU * cpus
    if workers <= most:
        return workers
    print(
        f"{setting} is {workers:,}, but only {most} processes are started ({_EACH_CPU} for each of "
        f"{cpus} CPUs): more would only take memory",
        file=sys.stderr,
    )
    return most


@contextmanager
def worker_pool(
    open_tools: Callable[[], Any],
    workers: int,
    *,
    work: str,
    setting: str,
    error: type[Exception],
) -> Iterator[Submit]:
    """Start a pool of spawned processes that exit with this one and ignore stop signals.

    Args:
        open_tools: called once in each process, before its first task; must be picklable.
        workers: number of processes.
        work: what they do ("packs samples"), for the message about a killed worker.
        setting: name of the option that set their number, for that message.
        error: the exception to raise if a worker was killed.

    Yields:
        A function that takes a picklable function `task` and arguments, has
        `task(tools, *arguments)` called by a worker, and returns its future.
    """
    others = {*multiprocessing.active_children()}
    pool = ProcessPoolExecutor(workers, _Spawn(), _start, (open_tools,))
    try:
        with signals_held():
            for _ in range(workers):  # starts them all
                pool.submit(int)
        yield lambda task, *arguments: pool.submit(_do, task, *arguments)
    except BaseException as reason:
        for process in {*multiprocessing.active_children()} - others:
            process.kill()
        if isinstance(reason, BrokenProcessPool):
            raise error(worker_killed(work, workers, setting, reason)) from reason
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def worker_killed(work: str, workers: int, setting: str, reason: Exception) -> str:
    """Return the message about a killed worker; the arguments are those of `worker_pool`."""
    return (
        f"a process that {work} has died ({reason}). If it was killed (exit code -9), the machine "
        f"probably ran out of memory: set {setting} lower than {workers}. The same command "
        "resumes the work"
    )


def in_order(
    submit: Callable[[Any], Future[T]], items: Iterable[Any], *, ahead: int
) -> Iterator[T]:
    """Yield results in the order of the items, with up to `ahead` further ones in progress."""
    left = iter(items)
    futures = deque(submit(item) for item in itertools.islice(left, ahead + 1))
    while futures:
        result = futures.popleft().result()
        futures.extend(submit(item) for item in itertools.islice(left, 1))
        yield result


@contextmanager
def one_opencv_thread() -> Iterator[None]:
    """Keep OpenCV from starting threads where images are already processed in parallel."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def end_with_parent() -> None:
    """Make this process exit as soon as its parent has exited or was killed.

    Call it at the start of a `multiprocessing` process; elsewhere it does nothing.
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
    """Make workers that are started inside ignore `STOP_SIGNALS` from their imports on.

    These signals go to all processes of a group (Slurm's do), but the main program handles them
    and still needs its workers to finish the step. Workers inherit the blocked signals. Windows
    has no such mechanism.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # a worker that starts it would unblock the signals
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_tools: list[Any] = []  # in a worker: first the function that opens the tools, then the tools


def _start(open_tools: Callable[[], Any]) -> None:
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    end_with_parent()
    cv2.setNumThreads(0)
    _tools[:] = [open_tools]


def _do(task: Callable[..., Any], *arguments: Any) -> Any:
    if len(_tools) == 1:  # opened inside a task, so that an error reaches the program
        _tools.append(_tools[0]())
    return task(_tools[1], *arguments)
