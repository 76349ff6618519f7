"""Packing a data set, and reading samples from it, packed and as files.

    python benchmarks/lab/packing.py

Makes a SynthText folder (as many labels per picture as SynthText has on average; JPEG files of
600 x 450 pixels), packs it with 0 and 2 workers (their start included), and reads samples in random
order, from files and packed in turn. Two kinds of read are timed: decoded pictures with their
labels (what training needs), and the encoded bytes with their labels (the part that packing
changes). "Cold" drops the files' contents from the page cache before each round (`posix_fadvise`;
names and sizes stay cached). One thread.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
from synthtext_index import write_labels

from craftjax.packing import pack_source
from craftjax.sources import SourceOptions
from ocrcore.data.readers.packed import PackedSamples
from ocrcore.data.readers.synthtext_index import IndexedSynthText
from ocrcore.images import write_image

ROUNDS = 7


def write_set(folder: Path, count: int) -> None:
    """Write a SynthText folder of `count` samples."""
    folder.mkdir(parents=True)
    write_labels(folder / "gt.mat", count, compressed=False)
    rng = np.random.default_rng(0)
    ground = rng.integers(0, 256, (16, 450, 600, 3), np.uint8)
    ground = np.stack([cv2.GaussianBlur(one, (0, 0), 1.5) for one in ground])
    for index in range(count):
        name = f"{index % 200}/picture_{index}.jpg_{index % 50}.jpg"
        write_image(folder / name, np.roll(ground[index % 16], index, axis=1))


def forget(folder: Path) -> None:
    """Drops the contents of a folder's files from the page cache."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def rate(read: Callable[[int], Any], indices: np.ndarray) -> float:
    """Return reads per second."""
    begin = time.perf_counter()
    for index in indices.tolist():
        read(index)
    return len(indices) / (time.perf_counter() - begin)


def compare(
    raw: Callable[[int], Any], packed: Callable[[int], Any], count: int, before: Callable[[], None]
) -> dict[str, float]:
    """Read in turn; return the medians of the rates and of their ratios."""
    rng = np.random.default_rng(1)
    rates = []
    for turn in range(ROUNDS):
        indices = rng.permutation(count)[: max(count // 8, 1)]
        before()
        # The second one would profit from a warm processor, so the order alternates.
        if turn % 2:
            two = rate(packed, indices)
            one = rate(raw, indices)
        else:
            one = rate(raw, indices)
            two = rate(packed, indices)
        rates.append((one, two, two / one))
    return dict(
        zip(("files", "packed", "ratio"), map(median, zip(*rates, strict=True)), strict=True)
    )


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=1000, help="pictures")
    parser.add_argument("--out", type=Path, default=Path("exp/benchmarks/packing.json"))
    arguments = parser.parse_args()
    count = arguments.count
    cv2.setNumThreads(1)
    results: dict[str, Any] = {"machine": platform.processor(), "cpus": os.cpu_count()}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "SynthText"
        write_set(folder, count)
        source = IndexedSynthText(folder, cache=Path(temporary) / "cache")
        options = SourceOptions("synthtext", str(folder))
        size = sum(path.stat().st_size for path in folder.rglob("*.jpg"))
        print(f"{count} pictures, {size / count / 1e3:.0f} kB each")
        for workers in (0, 2):
            out = Path(temporary) / f"packed{workers}"
            begin, cpu = time.perf_counter(), time.process_time()
            pack = partial(pack_source, name="synthtext", cache=source.cache, workers=workers)
            done = pack(options, out)
            seconds = time.perf_counter() - begin
            if not workers:
                results["packing, CPU ms per sample"] = (time.process_time() - cpu) / count * 1e3
                print(f"packing: {results['packing, CPU ms per sample']:.2f} ms of CPU per sample")
            results[f"packing, {workers} workers"] = count / seconds
            results["size"] = done.size / size
            print(
                f"packing, {workers} workers: {count / seconds:8.0f} samples/s "
                f"{size / 1e6 / seconds:8.0f} MB/s, {done.size / size:.2f} of the files' size"
            )
        packed = PackedSamples(out, root=folder)
        assert all(packed[index] == source[index] for index in range(0, count, max(count // 20, 1)))

        def cold() -> None:
            forget(folder)
            forget(out)

        for name, raw, own in (
            ("bytes and labels", source.encoded, packed._packed),
            ("decoded samples", source.__getitem__, packed.__getitem__),
        ):
            for state, before in (("warm", lambda: None), ("cold", cold)):
                found = compare(raw, own, count, before)
                results[f"{name}, {state}"] = found
                print(
                    f"{name:18} {state}: files {found['files']:8.0f} /s, packed "
                    f"{found['packed']:8.0f} /s, ratio {found['ratio']:.2f}"
                )
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(results, indent=1) + "\n")
    print(f"written: {arguments.out}")


if __name__ == "__main__":
    main()
