"""A step of the recogniser's training: ours against PyTorch, as it comes and with tcmalloc.

None-VGG-BiLSTM-CTC in float32 on CPU, from the same random weights on the same batch: forward in
training mode, CTC over all columns, backward, gradients clipped to 5, Adadelta. `dtrb` is 512
channels, 37 classes and 192 crops of 32x100, `easyocr` 256 channels, 97 classes and 32 crops of
64x256. Ours is `crnnjax.train.make_train_step` with the allocator's settings that training makes
(`ocrjax.runtime.memory`); PyTorch's is `torch_crnn.py`. Each contestant is a process of its own and
rounds alternate; the losses of the first steps must agree. Needs torch; tcmalloc is Debian's
libtcmalloc-minimal4.

Command: python benchmarks/crnn_train_step.py --rounds 5
"""

from __future__ import annotations

import argparse
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
from network import _ask, _tcmalloc

CASES: dict[str, dict[str, int]] = {
    "dtrb": {"classes": 37, "channels": 512, "rows": 192, "height": 32, "width": 100},
    "easyocr": {"classes": 97, "channels": 256, "rows": 32, "height": 64, "width": 256},
}


def make_batch(case: dict[str, int]) -> dict[str, np.ndarray]:
    """Noise for images, and words of 3 to 10 characters."""
    rng, rows = np.random.default_rng(0), case["rows"]
    shape = (rows, case["height"], case["width"], 1)
    return {
        "image": rng.integers(0, 256, shape, np.uint8),
        "width": np.full(rows, case["width"], np.int32),
        "label": rng.integers(1, case["classes"], (rows, 25)).astype(np.int32),
        "length": rng.integers(3, 11, rows).astype(np.int32),
    }


def _ours(case: dict[str, int]) -> Callable[[], float]:
    import jax

    from crnnjax.models import CRNN, init_variables
    from crnnjax.train import make_train_step
    from ocrjax.runtime.memory import reuse_freed_memory
    from ocrjax.runtime.mesh import make_mesh, put_batch
    from ocrjax.runtime.optimizers import OptimizerOptions, make_optimizer
    from ocrjax.runtime.state import create_state

    reuse_freed_memory(one_arena=True)  # as training does
    options = OptimizerOptions(name="adadelta", learning_rate=1.0, b2=0.95, eps=1e-8, clip_norm=5.0)
    optimizer, _ = make_optimizer(options, steps=100)
    mesh, model = make_mesh(), CRNN(case["classes"], channels=case["channels"])
    step = make_train_step(model, optimizer, mesh=mesh, options=options)
    state = create_state(init_variables(model), optimizer, mesh=mesh, ema=False)
    placed = put_batch(make_batch(case), mesh)

    def run() -> float:
        nonlocal state
        state, metrics = step(state, placed)
        jax.block_until_ready(state)
        total, count = metrics["loss"]
        return float(total / count)

    return run


def _torch(case: dict[str, int]) -> Callable[[], float]:
    import torch_crnn

    from crnnjax.convert import to_state_dict
    from crnnjax.models import CRNN, init_variables

    model = CRNN(case["classes"], channels=case["channels"])
    step = torch_crnn.make_step(
        torch_crnn.make_network(to_state_dict(init_variables(model), prefix=""))
    )
    tensors = torch_crnn.make_batch(make_batch(case))
    return lambda: step(tensors)


def _worker(kind: str, case: dict[str, int]) -> None:
    run = {"ours": _ours, "torch": _torch}[kind](case)
    begin = time.perf_counter()
    losses = [run()]
    first = time.perf_counter() - begin
    losses.append(run())  # the second loss tells whether the first update was the same
    print(json.dumps({"first": first, "losses": losses}), flush=True)
    for _ in sys.stdin:
        begin, cpu = time.perf_counter(), time.process_time()
        run()
        row = {"seconds": time.perf_counter() - begin, "cpu": time.process_time() - cpu}
        row["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps(row), flush=True)


def _start(kind: str, case: str, preload: str | None) -> subprocess.Popen[str]:
    environment = dict(os.environ, PYTHONWARNINGS="ignore", JAX_PLATFORMS="cpu")
    if preload:
        environment["LD_PRELOAD"] = preload
    command = [sys.executable, __file__, "--worker", kind, "--cases", case]
    return subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def main() -> None:
    """Runs the rounds and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("exp/benchmarks/crnn_train_step.json"))
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        _worker(arguments.worker, CASES[arguments.cases[0]])
        return
    contestants: dict[str, tuple[str, str | None, str]] = {
        "PyTorch": ("torch", None, "PyTorch"),
        "ours": ("ours", None, "PyTorch"),
    }
    if tcmalloc := _tcmalloc():
        contestants["PyTorch, tcmalloc"] = ("torch", tcmalloc, "PyTorch, tcmalloc")
        contestants["ours, tcmalloc"] = ("ours", tcmalloc, "PyTorch, tcmalloc")
    else:
        print("tcmalloc is not installed (Debian: libtcmalloc-minimal4): left out")
    report: dict[str, Any] = {"machine": f"{platform.machine()}, {os.cpu_count()} cores"}
    print("case      step               median s  min s   cpu s   first s  peak MiB  / PyTorch")
    for case in arguments.cases:
        workers = {name: _start(kind, case, pre) for name, (kind, pre, _) in contestants.items()}
        firsts = {name: _ask(process, go=False) for name, process in workers.items()}
        losses = np.array([answer["losses"] for answer in firsts.values()])
        assert (np.ptp(losses, axis=0) < 1e-2 * losses.max(axis=0)).all(), f"unequal: {firsts}"
        rounds: dict[str, list[dict[str, float]]] = {name: [] for name in workers}
        for _ in range(arguments.rounds):
            for name, process in workers.items():
                rounds[name].append(_ask(process))
        for process in workers.values():
            process.communicate()
        medians = {
            name: statistics.median(row["seconds"] for row in runs) for name, runs in rounds.items()
        }
        for name, runs in rounds.items():
            least = min(row["seconds"] for row in runs)
            cpu = statistics.median(row["cpu"] for row in runs)
            print(
                f"{case:8s}  {name:17s}  {medians[name]:8.3f}  {least:5.3f}  {cpu:6.2f}  "
                f"{firsts[name]['first']:7.2f}  {runs[-1]['peak_mib']:8.0f}  "
                f"{medians[name] / medians[contestants[name][2]]:9.2f}",
                flush=True,
            )
        report[case] = {"medians": medians, "rounds": rounds, "first": firsts}
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
