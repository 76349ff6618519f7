"""Worker processes that may be interrupted and killed, and work done in order by any workers.

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
"""Requests to end, which a terminal or a cluster sends to all processes of a group at once."""
Submit = Callable[..., Future[Any]]
"""Takes a function and its arguments, but for the first, and has it called."""
T = TypeVar("T")
_EACH_CPU = 4  # processes; more of them take memory, and no less time


class _Worker(SpawnProcess):
    """A worker is deaf to SIGTERM, by which the pool ends all where one was killed, and waits."""

    def terminate(self) -> None:
        self.kill()


class _Spawn(SpawnContext):
    """Workers are spawned, not forked: OpenCV and JAX have threads."""

    Process = _Worker


def bounded_workers(workers: int, *, setting: str) -> int:
    """Returns how many processes to start: no more than the machine has a use for, and says so.

    Args:
        workers: how many were asked for.
        setting: the option that did, for the message.
    """
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    most = _EACH_CPU * cpus
    if workers <= most:
        return workers
    print(
        f"{setting} is {workers:,}: {most} processes are started, {_EACH_CPU} for each of {cpus} "
        "CPUs; more would only take memory",
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
    """Starts processes by spawning; they end with this one, and leave signals to it.

    Args:
        open_tools: called once in each process, with the first task; it must be picklable.
        workers: how many processes.
        work: what they do ("packs samples"), for the message about a killed one.
        setting: the option that says how many there are, for that message.
        error: raised when one was killed.

    Yields:
        A function that takes a picklable function `task` and arguments, has
        `task(tools, *arguments)` called by a worker, and returns the future result.
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
    """Says that a worker was killed, and what to do; the arguments are those of `worker_pool`."""
    return (
        f"a process that {work} has ended ({reason}). If it was killed (exit code -9), the memory "
        f"was probably too small: take fewer than the {workers} of {setting}. The same command "
        "resumes the work"
    )


def in_order(
    submit: Callable[[Any], Future[T]], items: Iterable[Any], *, ahead: int
) -> Iterator[T]:
    """Yields the results for items in their order, with up to `ahead` others under way."""
    left = iter(items)
    futures = deque(submit(item) for item in itertools.islice(left, ahead + 1))
    while futures:
        result = futures.popleft().result()
        futures.extend(submit(item) for item in itertools.islice(left, 1))
        yield result


@contextmanager
def one_opencv_thread() -> Iterator[None]:
    """Keeps OpenCV from starting threads, where pictures are worked on side by side already."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


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
    """Workers that are started in here are deaf to `STOP_SIGNALS` from their imports on.

    These go to all processes of a group (Slurm's does), but the program answers them: the work that
    it is at needs its workers. They inherit what is blocked. Windows has no such thing.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # a worker that had to start it would unblock them
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_tools: list[Any] = []  # of a worker: how to open them, and then the tools


def _start(open_tools: Callable[[], Any]) -> None:
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    end_with_parent()
    cv2.setNumThreads(0)
    _tools[:] = [open_tools]


def _do(task: Callable[..., Any], *arguments: Any) -> Any:
    if len(_tools) == 1:  # in a task, so that an error in it reaches the program
        _tools.append(_tools[0]())
    return task(_tools[1], *arguments)
