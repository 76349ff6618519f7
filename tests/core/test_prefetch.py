"""Batches by worker processes whose program is interrupted and killed."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import Future
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from ocrcore.data.batches import Built
from ocrcore.data.mixing import DropLog, SourceError
from ocrcore.data.prefetch import iterate
from ocrcore.data.processes import in_order, signals_held


class Numbers:
    """Batch `step` is the number of the step."""

    def __init__(self):
        self.log = DropLog(None, most=0.0)

    def build(self, step):
        return Built({"x": np.array([step])}, [], [], Counter())


class Deadly(Numbers):
    """The process that makes batch 3 is killed, as by a system that is short of memory."""

    def build(self, step):
        if step == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().build(step)


def interrupt():
    for number in (signal.SIGTERM, signal.SIGINT):
        os.killpg(0, number)


def interrupt_the_first():
    while not multiprocessing.active_children():
        time.sleep(0.001)
    interrupt()


def main():
    """A program that is interrupted as its workers start, and while they work, and then killed."""
    got = set()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: got.add(number))
    threading.Thread(target=interrupt_the_first, daemon=True).start()
    batches = iterate(Numbers(), 0, threads=1, workers=2)
    found = [int(batch["x"][0]) for batch in islice(batches, 5)]
    interrupt()
    found += [int(batch["x"][0]) for batch in islice(batches, 35)]
    assert got == {signal.SIGINT, signal.SIGTERM}
    print(found, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


def test_workers_leave_signals_to_their_program_and_end_with_it():
    here = Path(__file__).parent
    process = subprocess.Popen(
        [sys.executable, "-c", "import test_prefetch; test_prefetch.main()"],
        env={**os.environ, "PYTHONPATH": f"{here}:{here.parents[1]}"},
        start_new_session=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        # The output ends when the last worker, which has it open, too, has ended.
        out, _ = process.communicate(timeout=300)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert out == f"{list(range(40))}\n"
    assert process.returncode == -signal.SIGKILL


def test_a_worker_that_is_killed_is_named():
    batches = iterate(Deadly(), 0, threads=1, workers=2)
    with pytest.raises(SourceError, match=r"exit code -9.*set config\.data\.workers lower than 2"):
        list(batches)


def test_signals_are_not_held_where_there_is_no_such_thing(monkeypatch):
    monkeypatch.delattr(signal, "pthread_sigmask")  # as on Windows
    with signals_held():
        pass


def test_results_come_in_order_and_not_all_at_once():
    submitted = []

    def submit(number):
        submitted.append(number)
        future = Future()
        future.set_result(number * number)
        return future

    results = in_order(submit, range(6), ahead=2)
    assert next(results) == 0 and submitted == [0, 1, 2, 3]
    assert list(results) == [1, 4, 9, 16, 25]
