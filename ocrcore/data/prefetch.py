"""Makes batches ahead of the step that needs them, in threads or worker processes.

Threads suffice where OpenCV does the work and releases the GIL; worker processes help where much of
it is Python (synthetic text). Both are Grain's.

Host code, but Grain imports jax, so it is imported with the first batch.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Generator, Iterator
from typing import Any

import cv2
import numpy as np

from ocrcore.data.batches import STEPS, Batch, Built, Source, with_drops_logged
from ocrcore.data.mixing import SourceError
from ocrcore.data.processes import (
    bounded_workers,
    end_with_parent,
    one_opencv_thread,
    signals_held,
    worker_killed,
)


def iterate(
    source: Source,
    start_step: int,
    *,
    stop_step: int | None = None,
    threads: int = 2,
    workers: int = 0,
    ahead: int = 2,
) -> Generator[Batch, None, None]:
    """Yield the batches from a step on, made ahead of time; close it when done.

    Args:
        source: makes the batches.
        start_step: the first step.
        stop_step: the step after the last; None never ends.
        threads: number of threads that make batches; with workers, in each worker.
        workers: number of processes, started by spawning; 0 makes batches in threads of this
            process. With workers, the main script must be guarded by `if __name__ == "__main__"`.
        ahead: how many finished batches may wait, in addition to those being made.

    Raises:
        SourceError: invalid numbers, or a worker was killed.
        TooManyDropped: more samples were dropped than allowed.
    """
    if threads < 1 or workers < 0 or ahead < 0:
        raise SourceError(
            f"threads={threads}, workers={workers}, ahead={ahead}: expected threads >= 1, "
            "workers >= 0 and ahead >= 0"
        )
    workers = bounded_workers(workers, setting="config.data.workers")
    stop = STEPS if stop_step is None else operator.index(stop_step)
    return _iterate(source, range(operator.index(start_step), stop), threads, workers, ahead)


def _iterate(
    source: Source, steps: range, threads: int, workers: int, ahead: int
) -> Generator[Batch, None, None]:
    import grain

    waiting = threads if workers else threads + ahead
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=waiting)
    data = grain.MapDataset.range(steps.start, steps.stop).map(source.build)
    made = data.to_iter_dataset(options)
    if workers:
        made = _with_workers(made, workers, ahead)
    batches = iter(made)
    with one_opencv_thread():  # batches are already made in parallel
        try:
            yield from with_drops_logged(
                source.log, _copied(batches, workers) if workers else batches
            )
        finally:
            batches.close()  # otherwise workers leave messages and shared memory behind


def _with_workers(made: Any, workers: int, ahead: int) -> Any:
    import grain
    from absl import flags

    if not flags.FLAGS.is_parsed():  # Grain reads a flag, which raises if none were parsed
        flags.FLAGS.mark_as_parsed()
    options = grain.MultiprocessingOptions(workers, per_worker_buffer_size=1 + ahead // workers)
    return made.mp_prefetch(options, worker_init_fn=_start_worker)


def _copied(batches: Iterator[Built], workers: int) -> Iterator[Built]:
    """Copy batches of workers out of shared memory.

    Arrays still in shared memory when the program exits are reported as leaked.
    """
    try:
        with signals_held():  # the first batch starts the workers
            first = list(itertools.islice(batches, 1))
        for built in itertools.chain(first, batches):
            yield built._replace(batch={k: np.array(array) for k, array in built.batch.items()})
    except RuntimeError as error:
        if "terminated unexpectedly" not in str(error):
            raise
        message = worker_killed("makes batches", workers, "config.data.workers", error)
        raise SourceError(message) from error


def _start_worker(index: int, count: int) -> None:
    end_with_parent()
    cv2.setNumThreads(0)
