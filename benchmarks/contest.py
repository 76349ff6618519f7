"""Runs contestants in turns, each in its own process, so that all see the same machine.

A script starts itself once for each contestant with `--worker`; there it calls `serve`. `race` lets
the contestants prepare, then runs rounds: A B C, A B C.
"""

from __future__ import annotations

import ctypes.util
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

Answer = dict[str, Any]


class Race(NamedTuple):
    """The result of a race.

    Attributes:
        firsts: what each contestant reported when it was ready; `first` is the duration of its
            first run in seconds.
        rounds: for each contestant, `seconds`, `cpu` (seconds of CPU time) and `peak_mib` of each
            round.
    """

    firsts: dict[str, Answer]
    rounds: dict[str, list[dict[str, float]]]

    def median(self, name: str, what: str = "seconds") -> float:
        """Return the median over the rounds of a contestant."""
        return statistics.median(row[what] for row in self.rounds[name])

    def row(self, name: str) -> str:
        """Format median, minimum and CPU time, time of the first run, and peak memory."""
        runs = self.rounds[name]
        return (
            f"{name:18s}  {self.median(name):8.3f}  {min(row['seconds'] for row in runs):6.3f}  "
            f"{self.median(name, 'cpu'):6.2f}  {self.firsts[name]['first']:7.2f}  "
            f"{runs[-1]['peak_mib']:8.0f}"
        )


HEAD = f"{'':18s}  median s   min s   cpu s  first s  peak MiB"


def serve(run: Callable[[], object], about: Callable[[Any], Answer]) -> None:
    """Serve as a contestant: runs once, reports the result, then runs once per input line.

    Args:
        run: the function to measure.
        about: converts the first run's result to further values to report.
    """
    begin = time.perf_counter()
    result = run()
    first = time.perf_counter() - begin
    print(json.dumps({"first": first, **about(result)}), flush=True)
    for _ in sys.stdin:
        begin, cpu = time.perf_counter(), time.process_time()
        run()
        row = {"seconds": time.perf_counter() - begin, "cpu": time.process_time() - cpu}
        row["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps(row), flush=True)


def race(
    script: str,
    contestants: Mapping[str, tuple[str, bool]],
    *,
    rounds: int,
    arguments: Sequence[str] = (),
    check: Callable[[dict[str, Answer]], object] = lambda firsts: None,
) -> Race:
    """Run the contestants in turns.

    Args:
        script: the file of the benchmark.
        contestants: by name, the value of `--worker` and whether to preload tcmalloc.
        rounds: number of rounds.
        arguments: further arguments of the script.
        check: raises if the contestants did not compute the same.
    """
    workers = {
        name: _start([sys.executable, script, "--worker", kind, *arguments], preload)
        for name, (kind, preload) in contestants.items()
    }
    firsts = {name: _answer(process) for name, process in workers.items()}
    check(firsts)
    found: dict[str, list[dict[str, float]]] = {name: [] for name in workers}
    for _ in range(rounds):
        for name, process in workers.items():
            assert process.stdin
            process.stdin.write("go\n")
            process.stdin.flush()
            found[name].append(_answer(process))
    for process in workers.values():
        process.communicate()
    return Race(firsts, found)


def find_tcmalloc() -> str | None:
    """Return the library's name; None, with a message, if it is not installed."""
    for name in ("tcmalloc_minimal", "tcmalloc"):
        if found := ctypes.util.find_library(name):
            return found
    print("tcmalloc is not installed (Debian: libtcmalloc-minimal4): left out")
    return None


def _start(command: list[str], preload: bool) -> subprocess.Popen[str]:
    environment = dict(os.environ, PYTHONWARNINGS="ignore", JAX_PLATFORMS="cpu")
    if preload and (library := find_tcmalloc()):
        environment["LD_PRELOAD"] = library
    return subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def _answer(process: subprocess.Popen[str]) -> Answer:
    assert process.stdout
    line = process.stdout.readline()
    if not line:
        raise SystemExit(f"a contestant died: {process.args}")
    answer: Answer = json.loads(line)
    return answer
