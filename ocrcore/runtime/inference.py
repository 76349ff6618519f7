"""Inference over many inputs: read ahead in threads, one batch in flight on the device."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import jax
import numpy as np

from ocrcore.pages import ByteArray

_T = TypeVar("_T")
_Key = TypeVar("_Key")
_Loaded = TypeVar("_Loaded")
_READ_AHEAD = 2  # batches


def reading_threads() -> ThreadPoolExecutor:
    """Return threads that decode and resize images: one per CPU, at most eight."""
    return ThreadPoolExecutor(min(8, os.cpu_count() or 1))


def drawn_ahead(items: Iterable[_T], count: int) -> Iterator[_T]:
    """Yield items in order, and draws `count` of them ahead.

    If drawing an item starts work (a future, a program on a device), that work overlaps with the
    use of earlier items.
    """
    waiting: deque[_T] = deque()
    for item in items:
        waiting.append(item)
        if len(waiting) > count:
            yield waiting.popleft()
    while waiting:
        yield waiting.popleft()


def run_batches(
    pool: ThreadPoolExecutor,
    batches: Iterable[tuple[_Key, Sequence[_T]]],
    load: Callable[[_Key, _T], _Loaded],
    program: Callable[[_Key, list[_Loaded]], Any],
) -> Iterator[tuple[_Key, list[_Loaded], Any]]:
    """Run a program over batches; the host loads two batches ahead.

    Args:
        pool: loads the items, usually from `reading_threads`.
        batches: a key (what the items of a batch have in common) and the items.
        load: makes an item's input, in a thread.
        program: starts the computation of a loaded batch and returns its arrays, possibly before
            the device has finished; None if there is nothing to compute.

    Yields:
        The key, the loaded inputs, and the program's result as NumPy arrays, in order, each while
        the device works on the next batch.
    """

    def loading() -> Iterator[tuple[_Key, list[Future[_Loaded]]]]:
        for key, items in batches:
            yield key, [pool.submit(load, key, item) for item in items]

    def running() -> Iterator[tuple[_Key, list[_Loaded], Any]]:
        for key, futures in drawn_ahead(loading(), _READ_AHEAD):
            inputs = [future.result() for future in futures]
            yield key, inputs, program(key, inputs)

    for key, inputs, answer in drawn_ahead(running(), 1):
        yield key, inputs, jax.device_get(answer)


def stacked(images: Sequence[ByteArray], rows: int) -> ByteArray:
    """Stacks images of one size; pads with black images so that few programs are compiled."""
    batch = np.zeros((rows, *images[0].shape), np.uint8)
    batch[: len(images)] = images
    return batch
