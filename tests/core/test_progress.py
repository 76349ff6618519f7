"""What a user sees of long tasks."""

from __future__ import annotations

import io

from ocrcore import progress
from ocrcore.progress import Progress, shown


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_lines_where_there_is_no_terminal(monkeypatch, capsys):
    times = iter((0.0, 5.0, 16.0, 20.0, 31.0))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(times))
    assert list(shown([3, 4, 5, 6], "indexing", unit="crop")) == [3, 4, 5, 6]
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["indexing: 1 of 4 crops", "indexing: 3 of 4 crops"]


def test_a_short_task_says_nothing_without_a_terminal(capsys):
    assert list(shown(range(1000), "indexing", unit="crop")) == list(range(1000))
    with Progress("packing", unit="sample") as one:
        one.update(3, 9, task="packing photos")
    assert capsys.readouterr() == ("", "")


def test_a_bar_on_a_terminal(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with Progress("packing", unit="sample") as one:
        one._bar.mininterval = 0
        one.update(3, 9, task="packing photos")
        one.update(9)
    assert "packing photos:  33%" in terminal.getvalue() and " 9/9 " in terminal.getvalue()
