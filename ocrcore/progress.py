"""Progress of long tasks: a bar on a terminal, otherwise a line every 15 seconds.

A thread prints, so that lines also appear while a single item takes long, such as a compilation. Of
nested tasks only the innermost one prints lines.

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
"""Maximum seconds without a line, if the output is not a terminal."""
_LOOKS = 15  # how often per interval a thread checks whether a line is due
T = TypeVar("T")

_open: list[Progress] = []  # the innermost task is the last
_last = [time.monotonic()]  # time of the last printed line
_muted = [False]


class Progress:
    """Shows the progress of a task on standard error; a context manager.

    Args:
        task: name of the task, for the user.
        unit: what is counted, singular; empty to show only the elapsed time.
        total: how many there are; None if unknown.
        bar: whether to show a bar on a terminal; if not, nothing is shown there.
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
        """Set how many items are done.

        Args:
            done: count from the start of the task; in the first call it may include an earlier run.
            total: new total, if it has changed.
            task: new name of the task, if it has changed.
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
        """Print a line at once without breaking the bar; by default to stdout."""
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
                    self._bar.refresh()  # keeps the clock of a bar running
                elif self._lines and _open[-1] is self:
                    now = time.monotonic()
                    if now - _last[0] >= EVERY - look:  # the next check would be too late
                        print(self._line(now), file=sys.stderr, flush=True)
                        said()
            except (OSError, ValueError):  # the output was closed
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
    """Show nothing in this process from now on: one of several hosts is enough."""
    _muted[0] = True


def said() -> None:
    """Record that a line was printed: the next line of a `Progress` is due later."""
    _last[0] = time.monotonic()


def shown(items: Collection[T], task: str, *, unit: str) -> Iterator[T]:
    """Yield items, and show how many were taken; the arguments are those of `Progress`."""
    with Progress(task, unit=unit, total=len(items)) as progress:
        for done, item in enumerate(items):
            progress.update(done)
            yield item


def describe_seconds(seconds: float) -> str:
    """Format a duration like `about 3 minutes`, in the largest unit of which there are 2."""
    for size, unit in ((3600.0, "hours"), (60.0, "minutes")):
        if seconds >= 2 * size:
            count = seconds / size
            return f"about {count:.{0 if count > 10 else 1}f} {unit}"
    return f"about {seconds:.0f} seconds"


def format_seconds(seconds: float) -> str:
    """Format a duration like `1:02:03` or `2:03`; `?` if unknown."""
    if not math.isfinite(seconds):
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
