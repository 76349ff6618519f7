"""Speed of making synthetic pages: pages per second on one core, and two workers against one.

    python benchmarks/synth_pages.py [--presets plain scene] [--seconds 20] [--out FILE]

Every figure is the median over chunks of pages, after a warm-up that fills the glyph caches. OpenCV
uses one thread. "of CPU" uses the CPU time of this process, which is what matters on a busy
machine. The workers are spawned processes that each make their own pages; their rate is the total
while all are busy, by wall time and by CPU time.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path

import cv2
import numpy as np

from ocrcore.synth.config import preset
from ocrcore.synth.pages import PageSource

CHUNK = 20


def rates(name: str, *, seconds: float, warm: int, start: int = 0) -> list[tuple[float, float]]:
    """Return pages per second by wall time and CPU time, chunk by chunk, in this process."""
    cv2.setNumThreads(0)
    source = PageSource(preset(name), seed=1)
    for index in range(warm):
        source[start + index]
    index = start + warm
    out = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        begin, busy = time.perf_counter(), time.process_time()
        for _ in range(CHUNK):
            source[index]
            index += 1
        wall, cpu = time.perf_counter() - begin, time.process_time() - busy
        out.append((CHUNK / wall, CHUNK / cpu))
    return out


def _work(
    name: str, seconds: float, warm: int, start: int, ready: Barrier, out: multiprocessing.Queue
) -> None:
    cv2.setNumThreads(0)
    source = PageSource(preset(name), seed=1)
    for index in range(warm):
        source[start + index]
    ready.wait()
    count, begin, busy = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - begin < seconds:
        source[start + warm + count]
        count += 1
    out.put((count / (time.perf_counter() - begin), count / (time.process_time() - busy)))


def together(name: str, workers: int, *, seconds: float, warm: int) -> tuple[float, float]:
    """Return total pages/s of spawned workers started together, by wall time and CPU time."""
    context = multiprocessing.get_context("spawn")
    ready, out = context.Barrier(workers), context.Queue()
    jobs = [
        context.Process(target=_work, args=(name, seconds, warm, k * 100_000, ready, out))
        for k in range(workers)
    ]
    for job in jobs:
        job.start()
    each = [out.get(timeout=30 * seconds + 300) for _ in jobs]
    for job in jobs:
        job.join()
    return sum(wall for wall, _ in each), sum(cpu for _, cpu in each)


def main() -> None:
    """Print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--presets", nargs="+", default=["plain", "scene"])
    parser.add_argument("--seconds", type=float, default=15.0, help="for each figure")
    parser.add_argument("--warm", type=int, default=150, help="pages of warm-up")
    parser.add_argument("--workers", type=int, default=2, help="0 skips the workers")
    parser.add_argument("--out", type=Path, default=Path("exp/benchmarks/synth_pages.json"))
    args = parser.parse_args()
    table = {}
    print(f"{'preset':8s}{'pages/s':>10s}{'of CPU':>10s}{'slowest':>10s}{'fastest':>10s}   workers")
    for name in args.presets:
        chunks = rates(name, seconds=args.seconds, warm=args.warm)
        wall, cpu = (statistics.median(values) for values in zip(*chunks, strict=True))
        row: dict[str, object] = {"median": wall, "median_cpu": cpu, "chunks": chunks}
        slow, fast = min(chunks)[0], max(chunks)[0]
        line = f"{name:8s}{wall:10.1f}{cpu:10.1f}{slow:10.1f}{fast:10.1f}   "
        if args.workers:
            # One and several take turns, so that other load on the machine affects both.
            turns = [
                [
                    together(name, count, seconds=args.seconds / 3, warm=args.warm)
                    for count in (1, args.workers)
                ]
                for _ in range(3)
            ]
            one = [statistics.median(turn[0][k] for turn in turns) for k in (0, 1)]
            several = [statistics.median(turn[1][k] for turn in turns) for k in (0, 1)]
            row |= {"one_worker": one, "workers": several}
            line += f"1: {one[0]:.1f}, {args.workers}: {several[0]:.1f}, "
            line += f"{several[0] / one[0]:.2f}x ({several[1] / one[1]:.2f}x of CPU)"
        print(line, flush=True)
        table[name] = row
    machine = {
        "cpu": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "opencv": cv2.__version__,
        "numpy": np.__version__,
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps({"machine": machine, "presets": table}, indent=1) + "\n")


if __name__ == "__main__":
    main()
