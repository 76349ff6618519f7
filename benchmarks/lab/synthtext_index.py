"""Opening all of SynthText: how long it takes, and how much memory.

    python benchmarks/lab/synthtext_index.py

Makes a `gt.mat` of a tenth of SynthText's 858,750 pictures (`--share 0.1`) with as many labels per
picture as SynthText has on average (8.5 words of 5 characters), uncompressed and compressed.
Indexes it, and then opens it again, each in a process of its own (Linux). Time and the peak
resident memory beyond that of the imports are extrapolated in proportion.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io

PICTURES = 858_750  # in SynthText
WORDS, LETTERS = 17, 5  # words per two pictures, characters per word

CHILD = """
import sys, time
from pathlib import Path
from ocrcore.data.readers.synthtext_index import IndexedSynthText
def memory():
    # Not of getrusage, which counts the parent's before the program was loaded.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
before = memory()
begin = time.perf_counter()
found = IndexedSynthText(sys.argv[1], cache=sys.argv[2])
seconds = time.perf_counter() - begin
for index in range(0, len(found), max(1, len(found) // 100)):
    found.page(index, height=10, width=10)
size = sum(path.stat().st_size for path in found.location.iterdir()) / 2**20
print(len(found), seconds, memory(), before, size)
"""


def write_labels(path: Path, pictures: int, *, compressed: bool) -> None:
    """Write a synthetic `gt.mat`."""
    rng = np.random.default_rng(0)
    fields: dict[str, Any] = {
        name: np.empty((1, pictures), object) for name in ("imnames", "txt", "charBB", "wordBB")
    }
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    boxes = rng.uniform(0, 600, (2, 4, 1 << 16)).astype(np.float32)
    texts = ["".join(row) for row in rng.choice(letters, (1 << 12, LETTERS))]
    for index in range(pictures):
        words = WORDS // 2 + index % 2
        start = int(rng.integers(len(texts) - words))
        at = int(rng.integers(boxes.shape[2] - words * LETTERS))
        fields["imnames"][0, index] = f"{index % 200}/picture_{index}.jpg_{index % 50}.jpg"
        fields["txt"][0, index] = np.array([" ".join(texts[start : start + words])])
        fields["charBB"][0, index] = boxes[:, :, at : at + words * LETTERS]
        fields["wordBB"][0, index] = boxes[:, :, at : at + words]
    scipy.io.savemat(path, fields, do_compression=compressed)


def start(folder: Path, cache: Path) -> dict[str, float]:
    """Open the set in a new process, and return what it took."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, folder, cache], capture_output=True, text=True, check=True
    )
    count, seconds, memory, before, size = (float(value) for value in done.stdout.split())
    scale = PICTURES / count
    return {
        "pictures": count,
        "seconds": seconds,
        "memory_mb": memory,
        "index_mb": size,
        "seconds_of_all": seconds * scale,
        "memory_mb_of_all": before + (memory - before) * scale,
        "index_mb_of_all": size * scale,
    }


def main() -> None:
    """Run the benchmark, print the table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--share", type=float, default=0.1, help="size of the `gt.mat`, as a fraction of SynthText"
    )
    parser.add_argument("--out", type=Path, default=Path("exp/benchmarks/synthtext_index.json"))
    args = parser.parse_args()
    pictures = round(PICTURES * args.share)
    results = []
    print(f"{pictures:,} pictures, extrapolated to {PICTURES:,}")
    print("| gt.mat | start | s | MB | s for all | MB for all | index on disk, MB for all |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for compressed in (False, True):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_labels(folder / "gt.mat", pictures, compressed=compressed)
            kind = f"{(folder / 'gt.mat').stat().st_size / 2**20:.0f} MB"
            kind += ", compressed" if compressed else ""
            for which in ("first", "second"):
                row = start(folder, folder / "cache")
                results.append({"compressed": compressed, "start": which, **row})
                print(
                    f"| {kind} | {which} | {row['seconds']:.2f} | {row['memory_mb']:.0f} | "
                    f"{row['seconds_of_all']:.1f} | {row['memory_mb_of_all']:.0f} | "
                    f"{row['index_mb_of_all']:.0f} |"
                )
    args.out.parent.mkdir(parents=True, exist_ok=True)
    report = {"machine": platform.platform(), "numpy": np.__version__, "results": results}
    args.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
