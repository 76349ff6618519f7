"""Reading ahead, and one batch in flight."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import jax.numpy as jnp
import numpy as np
import pytest

from ocrcore.runtime.inference import drawn_ahead, reading_threads, run_batches, stacked


@pytest.mark.parametrize("count", [0, 1, 3, 20])
def test_items_come_in_order_and_are_drawn_early(count):
    drawn = []

    def items():
        for item in range(7):
            drawn.append(item)
            yield item

    given = []
    for item in drawn_ahead(items(), count):
        given.append(item)
        assert len(drawn) == min(item + 1 + count, 7)
    assert given == list(range(7))
    assert list(drawn_ahead([], count)) == []


def test_batches_come_in_order_on_the_host():
    with reading_threads() as pool:
        found = list(
            run_batches(
                pool,
                [("a", [1, 2]), ("b", [3]), ("none", [])],
                lambda key, item: (key, 10 * item),
                lambda key, loaded: jnp.array([n for _, n in loaded]) if loaded else None,
            )
        )
    assert [(key, inputs) for key, inputs, _ in found] == [
        ("a", [("a", 10), ("a", 20)]),
        ("b", [("b", 30)]),
        ("none", []),
    ]
    assert [None if answer is None else answer.tolist() for *_, answer in found] == [
        [10, 20],
        [30],
        None,
    ]
    assert isinstance(found[0][2], np.ndarray)


def test_the_next_batches_are_read_while_one_is_computed():
    """Were nothing read ahead, the first computation would wait for ever."""
    later = threading.Event()
    running = []

    def load(key, item):
        if key == 2:
            later.set()
        return item

    def program(key, loaded):
        running.append(key)
        assert later.wait(60)
        return np.array(loaded)

    with ThreadPoolExecutor(1) as pool:
        batches = ((key, [key]) for key in range(5))
        for key, _, answer in run_batches(pool, batches, load, program):
            assert answer.tolist() == [key]
            assert running[-1] == min(key + 1, 4)  # the one after it is in flight


def test_an_error_of_loading_is_raised_at_its_batch():
    def load(key, item):
        if item == 3:
            raise OSError("gone")
        return item

    seen = []
    with reading_threads() as pool, pytest.raises(OSError, match="gone"):
        batches = [(key, [key]) for key in range(6)]
        for key, *_ in run_batches(pool, batches, load, lambda key, loaded: np.array(loaded)):
            seen.append(key)
    assert seen == [0, 1]  # batch 2 was in flight


def test_stacking_fills_up_with_black():
    images = [np.full((2, 3), 7, np.uint8), np.full((2, 3), 9, np.uint8)]
    batch = stacked(images, 4)
    assert batch.shape == (4, 2, 3) and batch.dtype == np.uint8
    assert batch[:, 0, 0].tolist() == [7, 9, 0, 0]
