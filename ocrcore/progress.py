"""How far a long task is: a bar on a terminal, elsewhere a line every 15 seconds.

Host code: no jax.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Collection, Iterator
from types import TracebackType
from typing import TypeVar

from tqdm import tqdm

EVERY = 15.0
"""Seconds between two lines, where the output is no terminal."""
T = TypeVar("T")


class Progress:
    """Shows on standard error how far a task is; a context manager.

    Args:
        task: what is done, for the user.
        unit: what is counted, singular.
        total: how many there are; None where that is not known yet.
    """

    def __init__(self, task: str, *, unit: str, total: int | None = None) -> None:
        self.task, self.unit, self.total = task, unit, total
        self._bar = tqdm(desc=task, unit=unit, total=total, disable=None, leave=False)
        self._last = time.monotonic()

    def update(self, done: int, total: int | None = None, *, task: str | None = None) -> None:
        """Says how many are done.

        Args:
            done: how many, from the start of the task.
            total: of how many, where that has changed.
            task: what is done, where that has changed.
        """
        self.total, self.task = total or self.total, task or self.task
        if not self._bar.disable:
            self._bar.total, self._bar.desc = self.total, f"{self.task}: "
            self._bar.update(done - self._bar.n)
        elif (now := time.monotonic()) - self._last >= EVERY:
            self._last = now
            of = "" if self.total is None else f" of {self.total:,}"
            print(f"{self.task}: {done:,}{of} {self.unit}s", file=sys.stderr, flush=True)

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.close()


def shown(items: Collection[T], task: str, *, unit: str) -> Iterator[T]:
    """Yields items, and shows how many were taken; the arguments are those of `Progress`."""
    with Progress(task, unit=unit, total=len(items)) as progress:
        for done, item in enumerate(items):
            progress.update(done)
            yield item
