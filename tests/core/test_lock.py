"""One process at a time in the folder of a run."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from ocrcore.training import lock
from ocrcore.training.lock import RunLockError, run_lock

HOLD = """
import sys, time
from pathlib import Path
from ocrcore.training.lock import RunLockError, run_lock
sys.stdin.readline()  # all begin together
try:
    with run_lock(Path(sys.argv[1]), patience=0):
        print("holds", flush=True)
        sys.stdin.read()
except RunLockError as error:
    print(error)
"""


def start(folder):
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_two_processes_at_once_ten_times(tmp_path):
    """One of the two holds the folder, the other one says which."""
    two = [start(tmp_path / str(number // 2)) for number in range(20)]
    for process in two:
        process.stdin.write("\n")
        process.stdin.flush()
    said = [process.stdout.readline() for process in two]
    for process in two:
        process.communicate()
    for number in range(0, 20, 2):
        winner = number + (said[number] != "holds\n")
        loser = number + (number + 1 - winner)
        assert said[winner] == "holds\n"
        who = f"process {two[winner].pid} on {platform.node()}, since "
        # The other one may not have written yet who it is.
        assert f"{tmp_path / str(number // 2)} is in use by " in said[loser]
        assert who in said[loser] or "by another process, which" in said[loser]
        assert "or choose another folder with --workdir" in said[loser]
        assert not list((tmp_path / str(number // 2)).iterdir())


def test_a_killed_process_holds_nothing(tmp_path):
    process = start(tmp_path)
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == "holds\n"
    try:
        with (
            pytest.raises(RunLockError, match=f"process {process.pid} on "),
            run_lock(tmp_path, patience=0),
        ):
            pass
    finally:
        process.kill()  # and it is not waited for
    with run_lock(tmp_path):
        assert str(os.getpid()) in (tmp_path / "run.lock").read_text()
        with pytest.raises(RunLockError), run_lock(tmp_path, patience=0.1):
            pass
    process.communicate()
    assert not list(tmp_path.iterdir())


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch):
    def refuse(file, kind):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(lock.fcntl, "flock", refuse)
    said = []
    with run_lock(tmp_path, log=said.append):
        (line,) = said
    assert line.startswith(
        f"{tmp_path / 'run.lock'}: this file system does not support locks (No locks av"
    )
