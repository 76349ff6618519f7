"""Forward pass of CRAFT: ours against EasyOCR's PyTorch, as it comes and with tcmalloc.

Each contestant is a process of its own that waits its turn, so that all of them see the same
machine: rounds go A B C A B C. Medians, ratios to ours and peak memory are printed and written as
JSON. Needs the weights, and EasyOCR for the comparison (`pip install easyocr`); tcmalloc is
Debian's libtcmalloc-minimal4.

Command: python benchmarks/network.py --sizes 768 1280 --rounds 7
"""

from __future__ import annotations

import argparse
import ctypes.util
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def _image(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (1, height, width, 3), np.uint8)


def _ours(images: np.ndarray) -> Callable[[], np.ndarray]:
    import jax

    from craftjax.convert import from_state_dict
    from craftjax.models import CRAFT
    from ocrjax.runtime.memory import reuse_freed_memory
    from ocrjax.torch_io import load_weights
    from ocrjax.weights import find_weights

    reuse_freed_memory()  # as the Detector does
    variables = jax.device_put(from_state_dict(load_weights(find_weights("craft_mlt_25k"))))
    apply = jax.jit(lambda variables, images: CRAFT().apply(variables, images)[0])
    return lambda: np.asarray(apply(variables, images))


def _torch(images: np.ndarray) -> Callable[[], np.ndarray]:
    from peers import import_easyocr

    import_easyocr()
    import torch
    from easyocr.craft import CRAFT
    from easyocr.detection import copyStateDict

    from craftjax.models import MEAN, STD
    from ocrjax.weights import find_weights

    network = CRAFT()
    state = torch.load(find_weights("craft_mlt_25k"), map_location="cpu", weights_only=True)
    network.load_state_dict(copyStateDict(state))
    network.eval()
    # EasyOCR normalises on the host, outside the network; that is not counted here.
    normal = (images.astype(np.float32) / 255 - MEAN) / STD
    tensor = torch.from_numpy(normal.astype(np.float32).transpose(0, 3, 1, 2).copy())

    def run() -> np.ndarray:
        with torch.no_grad():
            return network(tensor)[0].numpy()

    return run


def _worker(kind: str, height: int, width: int) -> None:
    run = {"ours": _ours, "torch": _torch}[kind](_image(height, width))
    begin = time.perf_counter()
    scores = run()
    first = time.perf_counter() - begin
    print(json.dumps({"first": first, "sum": float(np.abs(scores).sum())}), flush=True)
    for _ in sys.stdin:
        begin = time.perf_counter()
        cpu = time.process_time()
        run()
        row = {"seconds": time.perf_counter() - begin, "cpu": time.process_time() - cpu}
        row["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps(row), flush=True)


def _start(kind: str, size: tuple[int, int], preload: str | None) -> subprocess.Popen[str]:
    environment = dict(os.environ, PYTHONWARNINGS="ignore")
    if preload:
        environment["LD_PRELOAD"] = preload
    command = [sys.executable, __file__, "--worker", kind, "--sizes", f"{size[0]}x{size[1]}"]
    return subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def _ask(process: subprocess.Popen[str], *, go: bool = True) -> dict[str, Any]:
    assert process.stdin and process.stdout
    if go:
        process.stdin.write("go\n")
        process.stdin.flush()
    line = process.stdout.readline()
    if not line:
        raise SystemExit(f"a contestant died: {process.args}")
    answer: dict[str, Any] = json.loads(line)
    return answer


def _tcmalloc() -> str | None:
    for name in ("tcmalloc_minimal", "tcmalloc"):
        if found := ctypes.util.find_library(name):
            return found
    return None


def _parse_size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    return int(height), int(width or height)


def main() -> None:
    """Runs the rounds and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sizes", nargs="+", default=["768", "1280"], help="SIDE or HEIGHTxWIDTH")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", default="exp/benchmarks/network.json")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    sizes = [_parse_size(text) for text in arguments.sizes]
    if arguments.worker:
        _worker(arguments.worker, *sizes[0])
        return
    tcmalloc = _tcmalloc()
    contestants: dict[str, tuple[str, str | None]] = {
        "ours": ("ours", None),
        "PyTorch": ("torch", None),
    }
    if tcmalloc:
        contestants["PyTorch, tcmalloc"] = ("torch", tcmalloc)
    else:
        print("tcmalloc is not installed (Debian: libtcmalloc-minimal4): left out")
    report = {"machine": f"{platform.machine()}, {os.cpu_count()} cores", "sizes": {}}
    print("size        network             median s  min s   cpu s   first s  peak MiB  ours/it")
    for size in sizes:
        workers = {name: _start(kind, size, pre) for name, (kind, pre) in contestants.items()}
        firsts = {name: _ask(process, go=False) for name, process in workers.items()}
        sums = [answer["sum"] for answer in firsts.values()]
        assert max(sums) - min(sums) < 1e-3 * max(sums), f"the networks disagree: {firsts}"
        rows: dict[str, list[dict[str, float]]] = {name: [] for name in workers}
        for _ in range(arguments.rounds):
            for name, process in workers.items():
                rows[name].append(_ask(process))
        for process in workers.values():
            process.communicate()
        ours = statistics.median(row["seconds"] for row in rows["ours"])
        for name, runs in rows.items():
            seconds = [row["seconds"] for row in runs]
            median = statistics.median(seconds)
            cpu = statistics.median(row["cpu"] for row in runs)
            peak = runs[-1]["peak_mib"]
            print(
                f"{size[0]:4d}x{size[1]:<5d}  {name:18s}  {median:8.3f}  {min(seconds):5.3f}  "
                f"{cpu:6.2f}  {firsts[name]['first']:7.2f}  {peak:8.0f}  {ours / median:7.2f}",
                flush=True,
            )
        report["sizes"]["x".join(map(str, size))] = {"rounds": rows, "first": firsts}
    out = Path(arguments.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
