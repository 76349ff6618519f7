"""Pages per second of `ocrjax synth` with 1 and 2 processes, its own and Apache Beam's.

    python benchmarks/lab/spread_synth.py OUT [--counts 8 48] [--preset scene]

It needs a Python environment with Apache Beam (tests/in_beam/README.md). Each variant makes both
numbers of pages: the difference gives the time per page, the rest is startup. Processor time is
summed over all processes.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

BEAM = "--beam-options=--direct_running_mode=multi_processing --direct_num_workers="
WAYS = {
    "--workers 1": ["--workers=1"],
    "--workers 2": ["--workers=2"],
    "Beam, 1 process": ["--beam-runner=DirectRunner", f"{BEAM}1"],
    "Beam, 2 processes": ["--beam-runner=DirectRunner", f"{BEAM}2"],
}


def measure(preset: str, count: int, out: Path, options: list[str]) -> tuple[float, float]:
    """Make a set; return wall-clock seconds and processor seconds."""
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "ocrjax", "synth", "--preset", preset, "--count", str(count)]
    command += ["--format", "arrayrecord", "--records-per-file", "4", "--out", str(out)]
    command += options
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, busy


def main() -> None:
    """Measure all variants and print the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--counts", type=int, nargs=2, default=(8, 48))
    parser.add_argument("--preset", default="scene")
    arguments = parser.parse_args()
    few, many = arguments.counts
    for name, options in WAYS.items():
        first = measure(arguments.preset, few, arguments.out, options)
        last = measure(arguments.preset, many, arguments.out, options)
        wall, busy = (b - a for a, b in zip(first, last, strict=True))
        print(
            f"{name}: {few} pages {first[0]:.1f} s ({first[1]:.1f} s of processors), {many} pages "
            f"{last[0]:.1f} s ({last[1]:.1f} s); {(many - few) / wall:.2f} pages/s by the clock, "
            f"{(many - few) / busy:.2f} a second of processors",
            flush=True,
        )


if __name__ == "__main__":
    main()
