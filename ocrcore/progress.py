"""How far a long task is: a bar on a terminal, elsewhere a line every 15 seconds.

A thread prints, so that a line also comes while a single item takes long, as a program that is
compiled does. Of tasks inside one another only the innermost has lines.

Host code: no jax.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Collection, Iterator
from threading import Event, Thread
from types import TracebackType
from typing import TextIO, TypeVar

from tqdm import tqdm

EVERY = 15.0
"""Most seconds without a line, where the output is no terminal."""
_LOOKS = 15  # how often in that time a thread looks whether a line is due
T = TypeVar("T")

_open: list[Progress] = []  # the innermost is the last
_last = [time.monotonic()]  # when something was last said
_muted = [False]


class Progress:
    """Shows on standard error how far a task is; a context manager.

    Args:
        task: what is done, for the user.
        unit: what is counted, singular; empty where nothing is, and only time passes.
        total: how many there are; None where that is not known yet.
        bar: whether there is a bar on a terminal; without it nothing is shown there.
    """

    def __init__(
        self, task: str, *, unit: str = "", total: int | None = None, bar: bool = True
    ) -> None:
        self.task, self.unit, self.total = task, unit, total
        terminal = sys.stderr.isatty()
        self._lines = not (terminal or _muted[0])
        self._bar = tqdm(
            desc=task,
            unit=unit,
            total=total,
            disable=not (terminal and bar) or _muted[0],
            leave=False,
            bar_format=None if unit else "{desc}: {elapsed}",
        )
        self._done, self._first = 0, (0, time.monotonic())
        self._begin = self._first[1]
        self._end = Event()
        self._thread = Thread(target=self._tick, name="ocrjax progress", daemon=True)

    def update(self, done: int, total: int | None = None, *, task: str | None = None) -> None:
        """Says how many are done.

        Args:
            done: how many, from the start of the task; at first those of an earlier run.
            total: of how many, where that has changed.
            task: what is done, where that has changed.
        """
        self.total, self.task = total or self.total, task or self.task
        if not self._done:
            self._first = (done, time.monotonic())
        self._done = done
        if not self._bar.disable:
            self._bar.total, self._bar.desc = self.total, f"{self.task}: "
            if not self._bar.n:
                self._bar.initial = done
            self._bar.update(done - self._bar.n)

    @property
    def done(self) -> int:
        """How many are done."""
        return self._done

    def write(self, line: str, *, file: TextIO | None = None) -> None:
        """Prints a line that is no progress, at once, beside a bar; by default to stdout."""
        self._bar.write(line, file=file or sys.stdout)
        (file or sys.stdout).flush()
        said()

    def __enter__(self) -> Progress:
        _open.append(self)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end.set()
        self._thread.join()
        _open.remove(self)
        self._bar.close()

    def _tick(self) -> None:
        look = EVERY / _LOOKS
        while not self._end.wait(look):
            try:
                if not self._bar.disable:
                    self._bar.refresh()  # the clock of a bar goes on where nothing is done
                elif self._lines and _open[-1] is self:
                    now = time.monotonic()
                    if now - _last[0] >= EVERY - look:  # the next look would be too late
                        print(self._line(now), file=sys.stderr, flush=True)
                        said()
            except (OSError, ValueError):  # nobody listens any more
                return

    def _line(self, now: float) -> str:
        past = format_seconds(now - self._begin)
        if not self.unit:
            return f"{self.task}: {past}"
        of = "" if self.total is None else f" of {self.total:,}"
        line = f"{self.task}: {self._done:,}{of} {self.unit}s, {past}"
        before, start = self._first
        if self.total is not None and before < self._done < self.total:
            left = (now - start) * (self.total - self._done) / (self._done - before)
            line += f", about {format_seconds(left)} left"
        return line


def mute() -> None:
    """Shows nothing in this process any more: one of several hosts is enough."""
    _muted[0] = True


def said() -> None:
    """Notes that a line was printed: the next one of a `Progress` is due some time after it."""
    _last[0] = time.monotonic()


def shown(items: Collection[T], task: str, *, unit: str) -> Iterator[T]:
    """Yields items, and shows how many were taken; the arguments are those of `Progress`."""
    with Progress(task, unit=unit, total=len(items)) as progress:
        for done, item in enumerate(items):
            progress.update(done)
            yield item


def describe_seconds(seconds: float) -> str:
    """As `about 3 minutes`, in the unit in which it is 2 or more."""
    for size, unit in ((3600.0, "hours"), (60.0, "minutes")):
        if seconds >= 2 * size:
            count = seconds / size
            return f"about {count:.{0 if count > 10 else 1}f} {unit}"
    return f"about {seconds:.0f} seconds"


def format_seconds(seconds: float) -> str:
    """As `1:02:03` or `2:03`; `?` when not known."""
    if not math.isfinite(seconds):
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
