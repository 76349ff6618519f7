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
    """Threads that decode and scale pictures: one for each CPU, eight at most."""
    return ThreadPoolExecutor(min(8, os.cpu_count() or 1))


def drawn_ahead(items: Iterable[_T], count: int) -> Iterator[_T]:
    """Yields items in order, `count` of them drawn early.

    Where drawing an item starts work (a future, a program on a device), that work goes on while the
    items before it are used.
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
    """Runs a program over batches; the host loads two batches ahead of it.

    Args:
        pool: loads, usually of `reading_threads`.
        batches: a key (what the batch has in common) and its items.
        load: makes an item's input, in a thread.
        program: starts the computation of a loaded batch and returns its arrays, which the device
            may still be working on; None where there is nothing to compute.

    Yields:
        The key, the loaded inputs, and the program's answer as NumPy arrays, in order: each while
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
    """Stacks images of one size; rows that are left over are black, so that few programs serve."""
    batch = np.zeros((rows, *images[0].shape), np.uint8)
    batch[: len(images)] = images
    return batch
