"""A step of the detector's training: ours against PyTorch, as it comes and with tcmalloc.

The whole network, float32, on CPU, from the same random weights on the same batch: forward in
training mode, loss v3, backward, Adam with weight decay in the gradient (configs/synthtext.py has
this recipe). Ours is `craftjax.train.make_train_step` with the settings of the allocator that
training makes (`ocrjax.runtime.memory`); PyTorch's is `torch_craft.py`. Neither keeps a moving
average of the weights; "ours, average" does. "ours, derived" leaves the gradients of 3x3 kernels to
XLA (`ocrjax.runtime.layers.convolve`). As in `network.py`, each contestant is a process of its own
and rounds alternate; the losses of the first step must agree. Needs torch; tcmalloc is Debian's
libtcmalloc-minimal4.

Command: python benchmarks/train_step.py --shapes 384x1 384x2 768x1 --rounds 5
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

LOSS = {"neg_rto": 1.0, "n_min_neg": 1000}
ADAM = {"learning_rate": 1e-4, "weight_decay": 1e-5}
_OURS: dict[str, dict[str, bool]] = {
    "ours": {},
    "average": {"ema": True},
    "derived": {"derived": True},
}
# Name: kind of worker, whether with tcmalloc, and what it is divided by.
_CONTESTANTS = {
    "PyTorch": ("torch", False, "PyTorch"),
    "ours": ("ours", False, "PyTorch"),
    "ours, average": ("average", False, "PyTorch"),
    "ours, derived": ("derived", False, "PyTorch"),
    "PyTorch, tcmalloc": ("torch", True, "PyTorch, tcmalloc"),
    "ours, tcmalloc": ("ours", True, "PyTorch, tcmalloc"),
}


def make_batch(rows: int, size: int) -> dict[str, np.ndarray]:
    """Noise for images, and smooth bumps for labels, about a tenth of whose pixels are text."""
    half = size // 2
    y, x = np.mgrid[:half, :half].astype(np.float32)
    bumps = np.maximum(np.sin(x / 4) * np.sin(y / 6) - 0.3, 0) * (y % 64 < 24)
    labels = np.repeat(bumps[None].astype(np.float32), rows, axis=0)
    return {
        "image": np.random.default_rng(0).integers(0, 256, (rows, size, size, 3), np.uint8),
        "region": labels,
        "affinity": np.ascontiguousarray(labels[:, ::-1]),
        "confidence": np.ones_like(labels),
    }


def _ours(
    batch: dict[str, np.ndarray], *, ema: bool = False, derived: bool = False
) -> Callable[[], float]:
    import jax

    from craftjax import models
    from craftjax.models import CRAFT, init_variables
    from craftjax.train import make_loss, make_train_step
    from ocrjax.runtime import layers
    from ocrjax.runtime.cache import enable_compile_cache
    from ocrjax.runtime.memory import reuse_freed_memory
    from ocrjax.runtime.mesh import make_mesh, put_batch
    from ocrjax.runtime.optimizers import OptimizerOptions, make_optimizer
    from ocrjax.runtime.state import create_state

    enable_compile_cache()
    reuse_freed_memory()  # both as training does
    if derived:
        models.convolve = layers._convolve
    options = OptimizerOptions(name="adam", **ADAM)
    optimizer, _ = make_optimizer(options, steps=100)
    mesh = make_mesh()
    step = make_train_step(
        CRAFT(), optimizer, mesh=mesh, loss=make_loss({"version": 3, **LOSS}), options=options
    )
    state = create_state(init_variables(CRAFT()), optimizer, mesh=mesh, ema=ema)
    placed = put_batch(batch, mesh)

    def run() -> float:
        nonlocal state
        state, metrics = step(state, placed)
        jax.block_until_ready(state)
        total, count = metrics["loss"]
        return float(total / count)

    return run


def _torch(batch: dict[str, np.ndarray]) -> Callable[[], float]:
    import torch_craft

    from craftjax.convert import to_state_dict
    from craftjax.models import CRAFT, init_variables

    network = torch_craft.make_network(to_state_dict(init_variables(CRAFT())))
    adam = {"lr": ADAM["learning_rate"], "weight_decay": ADAM["weight_decay"]}
    step, _ = torch_craft.make_step(network, loss=LOSS, optimizer=adam)
    tensors = torch_craft.make_batch(batch)
    return lambda: step(tensors)


def _worker(kind: str, rows: int, size: int) -> None:
    batch = make_batch(rows, size)
    run = _torch(batch) if kind == "torch" else _ours(batch, **_OURS[kind])
    begin = time.perf_counter()
    loss = run()
    print(json.dumps({"first": time.perf_counter() - begin, "loss": loss}), flush=True)
    for _ in sys.stdin:
        begin, cpu = time.perf_counter(), time.process_time()
        run()
        row = {"seconds": time.perf_counter() - begin, "cpu": time.process_time() - cpu}
        row["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps(row), flush=True)


def _start(kind: str, shape: str, preload: str | None) -> subprocess.Popen[str]:
    environment = dict(os.environ, PYTHONWARNINGS="ignore", JAX_PLATFORMS="cpu")
    if preload:
        environment["LD_PRELOAD"] = preload
    command = [sys.executable, __file__, "--worker", kind, "--shapes", shape]
    return subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def main() -> None:
    """Runs the rounds and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--shapes", nargs="+", default=["384x1", "384x2", "768x1"], help="SIDExBATCH"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--without", nargs="*", default=[], choices=list(_CONTESTANTS), metavar="STEP"
    )
    parser.add_argument("--out", type=Path, default=Path("exp/benchmarks/train_step.json"))
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        side, _, rows = arguments.shapes[0].partition("x")
        _worker(arguments.worker, int(rows), int(side))
        return
    tcmalloc = _tcmalloc()
    if not tcmalloc:
        print("tcmalloc is not installed (Debian: libtcmalloc-minimal4): left out")
    contestants = {
        name: entry
        for name, entry in _CONTESTANTS.items()
        if name not in arguments.without and (tcmalloc or not entry[1])
    }
    report: dict[str, Any] = {"machine": f"{platform.machine()}, {os.cpu_count()} cores"}
    for shape in arguments.shapes:
        workers = {
            name: _start(kind, shape, tcmalloc if preload else None)
            for name, (kind, preload, _) in contestants.items()
        }
        firsts = {name: _ask(process, go=False) for name, process in workers.items()}
        losses = [answer["loss"] for answer in firsts.values()]
        assert max(losses) - min(losses) < 1e-3 * max(losses), f"the losses disagree: {firsts}"
        print(
            f"{shape:8s}  step              median s  min s   cpu s  first s  MiB     / PyTorch",
            flush=True,
        )
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
            over = contestants[name][2]
            ratio = f"{medians[name] / medians[over]:.2f}" if over in medians else "-"
            print(
                f"{shape:8s}  {name:17s}  {medians[name]:7.3f}  {least:6.3f}  {cpu:6.2f}  "
                f"{firsts[name]['first']:6.1f}  {runs[-1]['peak_mib']:6.0f}  {ratio:>8s}",
                flush=True,
            )
        report[shape] = {"medians": medians, "rounds": rounds, "first": firsts}
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
