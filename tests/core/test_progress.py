"""What a user sees of long tasks."""

from __future__ import annotations

import io
import re
import time

import pytest

from ocrcore import progress
from ocrcore.progress import Progress, mute, said, shown


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def fast(monkeypatch):
    """Lines every 60 ms, for tests that wait for some."""
    monkeypatch.setattr(progress, "EVERY", 0.06)
    said()


def timeless(lines):
    return {re.sub(r"[\d:]+ left", "T left", re.sub(r"0:\d\d", "T", line)) for line in lines}


def test_lines_while_one_item_takes_long(fast, capsys):
    for number in shown([3, 4, 5, 6], "indexing", unit="crop"):
        time.sleep(0.3 * (number == 5))
    lines = capsys.readouterr().err.splitlines()
    assert "indexing: 2 of 4 crops, T, about T left" in timeless(lines)


def test_lines_of_what_counts_nothing(fast, capsys):
    with Progress("compiling"):
        time.sleep(0.2)
    assert timeless(capsys.readouterr().err.splitlines()) == {"compiling: T"}


def test_only_the_innermost_task_has_lines_and_none_after_others(fast, monkeypatch, capsys):
    with Progress("training", unit="step", total=9, bar=False) as outer:
        outer.update(1)
        with Progress("evaluating", unit="page"):
            time.sleep(0.2)
        assert timeless(capsys.readouterr().err.splitlines()) == {"evaluating: 0 pages, T"}
        real = time.monotonic
        with monkeypatch.context() as later:
            later.setattr(progress.time, "monotonic", lambda: real() + 100)
            said()
        time.sleep(0.2)
        assert capsys.readouterr().err == ""
        said()
        time.sleep(0.2)
    assert timeless(capsys.readouterr().err.splitlines()) == {"training: 1 of 9 steps, T"}


def test_time_left_does_not_count_what_was_done_before(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    task = Progress("drawing", unit="page", total=1000)
    task.update(900)
    now[0] = 160.0
    task.update(930)
    assert task._line(now[0]) == "drawing: 930 of 1,000 pages, 1:00, about 2:20 left"


def test_a_short_task_says_nothing_without_a_terminal(capsys):
    said()
    assert list(shown(range(1000), "indexing", unit="crop")) == list(range(1000))
    with Progress("packing", unit="sample") as one:
        one.update(3, 9, task="packing photos")
    assert capsys.readouterr() == ("", "")


def test_other_hosts_say_nothing(fast, monkeypatch, capsys):
    monkeypatch.setattr(progress, "_muted", [False])
    mute()
    with Progress("training"):
        time.sleep(0.15)
    assert capsys.readouterr() == ("", "")


def test_a_closed_output_ends_no_task(fast, monkeypatch):
    class Closed(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    monkeypatch.setattr("sys.stderr", Closed())
    with Progress("packing", unit="sample"):
        time.sleep(0.15)


def test_a_bar_on_a_terminal(fast, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with Progress("packing", unit="sample") as one:
        one._bar.mininterval = 0
        one.update(3, 9, task="packing photos")
        one.update(9)
        one.write("left out", file=terminal)
    with Progress("compiling"):
        time.sleep(0.15)
    with Progress("training", unit="step", bar=False):
        time.sleep(0.15)
    text = terminal.getvalue()
    assert "packing photos:  33%" in text and " 9/9 " in text and "left out\n" in text
    assert "compiling: 00:00" in text and "training" not in text
