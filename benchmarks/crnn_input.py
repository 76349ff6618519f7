"""Measures the recognizer's input pipeline alone: crops per second on one core.

    python benchmarks/crnn_input.py [--crops 3000] [--out exp/benchmarks/crnn_input.json]

The same crops (synthetic words as JPEG files, heights of 24 to 64 pixels) are in an LMDB in the
layout of deep-text-recognition-benchmark, and in files with a list. Batches of 192 are made in one
thread, measured in CPU time, which on a busy machine is more stable than wall time.

The peer is the loop of that benchmark's data loader, rewritten from a description of it: a
transaction per record, Pillow to decode, convert to gray and resize to 32x100 (bicubic), floats in
-1..1, and stacking to a batch. It has no augmentation. The peer and ours take turns; the ratio is
of medians.
"""

from __future__ import annotations

import argparse
import io
import json
import platform
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
from PIL import Image

from crnnjax.charset import NAMED, named
from crnnjax.crop_index import Index, Rules, filter_crops, open_crops, read_index
from crnnjax.input_pipeline import BatchSource, make_batches
from ocrcore.data.readers.crops import Crop, import_lmdb
from ocrcore.images import encode_image
from ocrcore.synth.words import WordConfig, WordRenderer
from ocrcore.synth.write import LmdbWriter

BATCH = 192
TURNS = 5


def write_sets(folder: Path, count: int) -> None:
    """Write the crops as an LMDB and as files with a list."""
    writer = LmdbWriter(folder / "lmdb")
    files = folder / "files"
    files.mkdir()
    lines = []
    for index in range(count):
        height = (24, 31, 31, 40, 48, 64)[index % 6]
        crop = WordRenderer(WordConfig(height=height), seed=1)[index]
        data = encode_image(crop.image, suffix=".jpg")
        writer.add(index, data, crop.text)
        (files / f"{index}.jpg").write_bytes(data)
        lines.append(f"{index}.jpg\t{crop.text}\n")
    writer.commit()
    writer.close()
    (files / "labels.tsv").write_text("".join(lines), encoding="utf-8")


def peer(folder: Path, count: int) -> Callable[[], None]:
    """Return the loop of deep-text-recognition-benchmark's loader, one batch per call."""
    shutil.copytree(folder / "lmdb", folder / "peer")  # a process can open a database only once
    environment = import_lmdb().open(
        str(folder / "peer"), max_readers=32, readonly=True, lock=False, readahead=False
    )
    rng = np.random.default_rng(0)

    def batch() -> None:
        images, labels = [], []
        for index in rng.integers(1, count + 1, BATCH).tolist():
            with environment.begin(write=False) as transaction:
                labels.append(transaction.get(f"label-{index:09d}".encode()).decode("utf-8"))
                data = transaction.get(f"image-{index:09d}".encode())
            image = Image.open(io.BytesIO(data)).convert("L")
            scaled = image.resize((100, 32), Image.Resampling.BICUBIC)
            array = np.asarray(scaled, np.float32)[None] / 255
            images.append((array - 0.5) / 0.5)
        np.stack(images)

    return batch


def opened(folder: Path, train: dict[str, Any], **data: Any) -> BatchSource:
    """Open a source of batches."""
    data = {"charset": "english_g2", "cache": str(folder / "cache"), **data}
    config = {"batch_size": BATCH, "data": {"train": {"set": train}, **data}}
    return make_batches(config, seed=0, rows=slice(0, BATCH))


def loops(folder: Path, count: int) -> dict[str, Callable[[], None]]:
    """Return the contestants by name; each call makes one batch."""
    lmdb = {"kind": "lmdb", "path": str(folder / "lmdb")}
    files = {"kind": "tsv", "path": str(folder / "files" / "labels.tsv")}
    words = {"kind": "words"}
    fixed = {"mode": "fixed"}
    sources = {
        "LMDB, 32x100, bicubic by Pillow": opened(folder, {**lmdb, "resize": "bicubic"}, **fixed),
        "LMDB, 32x100, bilinear": opened(folder, lmdb, **fixed),
        "LMDB, 32x100, light augmentation": opened(folder, {**lmdb, "augment": "light"}, **fixed),
        "LMDB, 32x100, strong augmentation": opened(folder, {**lmdb, "augment": "strong"}, **fixed),
        "LMDB, buckets, light augmentation": opened(folder, {**lmdb, "augment": "light"}),
        "files, 32x100, light augmentation": opened(folder, {**files, "augment": "light"}, **fixed),
        "synthetic words, 32x100": opened(folder, words, **fixed),
        "synthetic words, buckets": opened(folder, words),
    }

    def one(source: BatchSource) -> Callable[[], None]:
        steps = iter(range(1 << 30))
        return lambda: source.note(source.build(next(steps))) and None

    return {
        "peer: LMDB, 32x100, bicubic by Pillow": peer(folder, count),
        **{name: one(source) for name, source in sources.items()},
    }


def start_up(folder: Path) -> dict[str, float]:
    """Return microseconds per crop of an LMDB: the index, once, and the filters, at each start."""
    path = folder / "lmdb"
    crops = open_crops("lmdb", path)
    begun = time.process_time()
    index = read_index(crops, path, cache=folder / "other cache")
    scanned = time.process_time()
    filter_crops(index, Rules(named("english_g2"), 32, 384), crops, name="set")
    ended = time.process_time()
    return {
        "index_us": (scanned - begun) / len(crops) * 1e6,
        "filters_us": (ended - scanned) / len(crops) * 1e6,
    }


def many(count: int = 14_400_000) -> dict[str, float]:
    """Times the filters that run at each start, with as many labels as MJSynth and SynthText."""
    rng = np.random.default_rng(0)
    ends = np.cumsum(rng.integers(3, 12, count)).astype(np.int64)
    letters = np.frombuffer(NAMED["english_g2"].replace("€", "").encode(), np.uint8)
    points = letters[rng.integers(0, len(letters), int(ends[-1]), np.uint8)]
    sizes = np.stack([np.full(count, 31), rng.integers(30, 250, count)], axis=1).astype(np.int32)
    index = Index(points, ends, sizes, np.zeros(count, np.uint8))
    crops = [Crop("name", "text", b"")] * count
    begun = time.process_time()
    rules = Rules(named("english_g2"), 32, 384)
    filter_crops(index, rules, crops, name="set")
    return {"labels": count, "filter_s": time.process_time() - begun}


def padding(folder: Path) -> dict[str, float]:
    """Return the fraction of the columns of batches that is padding."""
    out = {}
    files = {"kind": "tsv", "path": str(folder / "files" / "labels.tsv")}
    for name, train in (("files", files), ("words", {"kind": "words"})):
        for label, widths in (("buckets", None), ("one width of 384", (384,))):
            source = opened(folder, train, widths=widths, p_reader_pad=0.0, p_random_pad=0.0)
            made = [source.build(step).batch for step in range(source.options.window)]
            read = sum(int(batch["width"].sum()) for batch in made)
            out[f"{name}, {label}"] = 1 - read / sum(
                BATCH * batch["image"].shape[2] for batch in made
            )
    return out


def main() -> None:
    """Print a table and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--crops", type=int, default=3000)
    parser.add_argument("--batches", type=int, default=4, help="batches per loop and turn")
    parser.add_argument("--out", type=Path, default=Path("exp/benchmarks/crnn_input.json"))
    args = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_sets(folder, args.crops)
        starting = start_up(folder)
        made = loops(folder, args.crops)
        times: dict[str, list[float]] = {name: [] for name in made}
        for turn in range(TURNS + 1):  # the first turn warms caches and does not count
            for label, loop in made.items():
                begun = time.process_time()
                for _ in range(args.batches):
                    loop()
                if turn:
                    times[label].append((time.process_time() - begun) / (args.batches * BATCH))
        idle = padding(folder)
    large = many()
    first = median(next(iter(times.values())))
    print(f"crops per second of one core's CPU time, batches of {BATCH}, median of {TURNS}")
    print("| input | crops/s | µs per crop | relative to the peer |")
    print("| --- | --- | --- | --- |")
    rows = []
    for label, values in times.items():
        middle = median(values)
        rows.append({"input": label, "seconds": values, "crops_per_second": 1 / middle})
        print(f"| {label} | {1 / middle:,.0f} | {middle * 1e6:.0f} | {middle / first:.2f} |")
    print(
        f"{large['labels']:,} labels: filters {large['filter_s']:.1f} s at each start; "
        f"columns of padding: " + ", ".join(f"{name} {share:.0%}" for name, share in idle.items())
    )
    print(f"index {starting['index_us']:.1f} µs per crop, filters {starting['filters_us']:.2f} µs")
    report = {
        "machine": platform.platform(),
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "rows": rows,
        **starting,
        "many": large,
        "padding": idle,
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
