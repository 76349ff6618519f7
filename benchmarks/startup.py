"""Measures import time, time to the first box with a warm compile cache, and many small pictures.

Command: python benchmarks/startup.py
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

_FIRST_BOX = """
import time
begin = time.perf_counter()
from craftjax.detector import Detector
from ocrcore.runtime.tuning import tune_process
imported = time.perf_counter()
tune_process()
detector = Detector.from_weights("craft_mlt_25k")
loaded = time.perf_counter()
page = detector.detect("docs/example.jpg")
print(imported - begin, loaded - begin, time.perf_counter() - begin, len(page.words))
"""


def _seconds(code: str) -> float:
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


def _resident_mib() -> float:
    """Return the resident memory of the process, in MiB (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


def _folder(count: int) -> list[dict[str, float]]:
    """Run detection on many small pictures of mixed sizes; return a row for each tenth."""
    from craftjax.detector import Detector
    from ocrcore.runtime.tuning import tune_process

    tune_process()
    rng = np.random.default_rng(0)
    sizes = rng.integers(24, 160, (count, 2))
    images = [rng.integers(0, 256, (*size, 3), np.uint8) for size in sizes]
    detector = Detector.from_weights("craft_mlt_25k")
    rows = []
    begin = time.perf_counter()
    for done, _ in enumerate(detector.stream(images), 1):
        if done % (count // 10) == 0:
            now = time.perf_counter()
            rows.append(
                {
                    "done": done,
                    "ms_each": 1000 * (now - begin) / (count // 10),
                    "resident_mib": _resident_mib(),
                    "programs": detector.programs,
                }
            )
            begin = now
    return rows


def main() -> None:
    """Measure and print the results."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--out", default="exp/benchmarks/startup.json")
    arguments = parser.parse_args()
    report: dict[str, object] = {}
    for code in ("pass", "import craftjax", "import ocrjax.cli.main", "import craftjax.detector"):
        _seconds(code)
        report[code] = statistics.median(_seconds(code) for _ in range(arguments.rounds))
        print(f"python -c '{code}': {report[code]:.2f} s")
    firsts = []
    for _ in range(arguments.rounds + 1):  # the first fills the cache
        done = subprocess.run(
            [sys.executable, "-c", _FIRST_BOX], check=True, capture_output=True, text=True
        )
        firsts.append([float(field) for field in done.stdout.split()])
    imported, loaded, boxed, words = np.median(firsts[1:], axis=0)
    report["first_box"] = {"imported": imported, "loaded": loaded, "boxed": boxed}
    print(
        f"docs/example.jpg, warm cache: imported after {imported:.2f} s, weights loaded after "
        f"{loaded:.2f} s, {words:.0f} words after {boxed:.2f} s"
    )
    report["folder"] = rows = _folder(arguments.pictures)
    print(f"{arguments.pictures} pictures of 24 to 160 pixels:\n  done  ms each  MiB  programs")
    for row in rows:
        print(
            f"  {row['done']:4d}  {row['ms_each']:7.1f}  {row['resident_mib']:4.0f}"
            f"  {row['programs']:3d}"
        )
    out = Path(arguments.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
