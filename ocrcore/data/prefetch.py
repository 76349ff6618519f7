"""Batches made ahead of the step that needs them, by threads or by worker processes.

Threads suffice where OpenCV does the work and lets go of the interpreter's lock; Grain's worker
processes help where much of it is Python (synthetic text). Threads are those of the standard
library: a window of a dozen lines was no slower than Grain's, and needs neither its import nor the
one of jax that comes with it.

Host code: no jax, unless there are workers.
"""

from __future__ import annotations

import contextlib
import itertools
import operator
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from ocrcore.data.mixing import SourceError
from ocrcore.data.processes import end_with_parent, signals_held

Batch = dict[str, NDArray[Any]]
STEPS = 1 << 31
"""Sources know no end; Grain wants to know one."""


class Built(Protocol):
    """A batch and what came up while it was made; a named tuple."""

    @property
    def batch(self) -> Batch:
        """The arrays."""

    def _replace(self, *, batch: Batch) -> Any: ...


BuiltT = TypeVar("BuiltT", bound=Built)


class Source(Protocol[BuiltT]):
    """Batches by step. With workers it is pickled, and opens its files anew there."""

    def build(self, step: int) -> BuiltT:
        """Makes the batch of a step and notes nothing: threads and workers do it."""

    def note(self, built: BuiltT) -> Batch:
        """Notes what came up; in the order of the steps, in this process."""

    def noting(self) -> contextlib.AbstractContextManager[None]:
        """Notes what an error on the way was about, too."""


def iterate(
    source: Source[Any],
    start_step: int,
    *,
    stop_step: int | None = None,
    threads: int = 2,
    workers: int = 0,
    ahead: int = 2,
) -> Generator[Batch, None, None]:
    """Yields the batches from a step on, made ahead; close it when done.

    Args:
        source: of batches.
        start_step: the first step.
        stop_step: the step before which to end; None goes on for ever.
        threads: how many make batches at the same time; with workers, in each of them.
        workers: processes, started anew by spawning; 0 makes batches in threads of this one. The
            program's own code must then be guarded by `if __name__ == "__main__"`.
        ahead: how many batches may wait, besides those being made.

    Raises:
        SourceError: numbers that cannot be, or a worker that was killed.
        TooManyDropped: more samples were dropped than the source allows.
    """
    if threads < 1 or workers < 0 or ahead < 0:
        raise SourceError(
            f"threads={threads}, workers={workers}, ahead={ahead}: expected threads of 1 or more, "
            "workers and ahead of 0 or more"
        )
    stop = STEPS if stop_step is None else operator.index(stop_step)
    return _iterate(source, range(operator.index(start_step), stop), threads, workers, ahead)


def _iterate(
    source: Source[Any], steps: range, threads: int, workers: int, ahead: int
) -> Generator[Batch, None, None]:
    made = (
        _by_workers(source, steps, threads, workers, ahead)
        if workers
        else _by_threads(source, steps, threads, ahead)
    )
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)  # pictures are made side by side already
    try:
        with contextlib.closing(made), source.noting():
            for built in made:
                yield source.note(built)
    finally:
        cv2.setNumThreads(before)


def _by_threads(
    source: Source[BuiltT], steps: range, threads: int, ahead: int
) -> Generator[BuiltT, None, None]:
    left = iter(steps)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="batches")
    try:
        first = itertools.islice(left, threads + ahead)
        waiting = deque(pool.submit(source.build, step) for step in first)
        while waiting:
            built = waiting.popleft().result()
            waiting.extend(pool.submit(source.build, step) for step in itertools.islice(left, 1))
            yield built
    finally:
        pool.shutdown(cancel_futures=True)


def _by_workers(
    source: Source[BuiltT], steps: range, threads: int, workers: int, ahead: int
) -> Generator[BuiltT, None, None]:
    import grain
    from absl import flags

    if not flags.FLAGS.is_parsed():  # Grain asks for a flag, which raises where none was parsed
        flags.FLAGS.mark_as_parsed()
    reading = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads)
    options = grain.MultiprocessingOptions(workers, per_worker_buffer_size=1 + ahead // workers)
    data = grain.MapDataset.source(_Steps(source, steps)).to_iter_dataset(reading)
    batches = iter(data.mp_prefetch(options, worker_init_fn=_start_worker))
    try:
        for built in itertools.chain(_first(batches), batches):
            # Arrays in shared memory are reported as leaked where the program still has some when
            # it ends.
            yield built._replace(batch={k: np.array(array) for k, array in built.batch.items()})
    except RuntimeError as error:
        if "terminated unexpectedly" not in str(error):
            raise
        raise SourceError(
            f"a process that makes batches has ended ({error}). Exit code -9 usually means that "
            f"the memory was too small: take fewer than the {workers} of config.data.workers. The "
            "same command goes on from the last checkpoint"
        ) from error
    finally:
        batches.close()  # otherwise workers leave messages and shared memory behind


def _first(batches: Iterator[BuiltT]) -> Iterator[BuiltT]:
    """Yields the first batch, for which the workers are started."""
    with signals_held():
        found = list(itertools.islice(batches, 1))
    yield from found


class _Steps:
    """What Grain asks for batches: `build` of some steps."""

    def __init__(self, source: Source[Any], steps: range) -> None:
        self.source, self.steps = source, steps

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, index: int) -> Any:
        return self.source.build(self.steps[operator.index(index)])


def _start_worker(index: int, count: int) -> None:
    end_with_parent()
    cv2.setNumThreads(0)
