"""A detector training step: ours against PyTorch, with the default allocator and tcmalloc.

The whole network, float32, on CPU, from the same random weights on the same batch: forward in
training mode, loss v3, backward, Adam with weight decay in the gradient (the recipe of
configs/synthtext.py). Ours is `craftjax.training.make_train_step` with the allocator settings of
training (`ocrcore.runtime.memory`); PyTorch's is `torch_craft.py`. Neither keeps a moving average
of the weights; "ours, average" does. "ours, derived" leaves the gradients of 3x3 kernels to XLA
(`ocrcore.layers.convolve`). As in `network.py`, each contestant is a process of its own and rounds
alternate; the losses of the first step must agree. Needs torch; tcmalloc is Debian's
libtcmalloc-minimal4.

Command: python benchmarks/train_step.py --shapes 384x1 384x2 768x1 --rounds 5
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from contest import HEAD, Answer, find_tcmalloc, race, serve

LOSS = {"neg_rto": 1.0, "n_min_neg": 1000}
ADAM = {"learning_rate": 1e-4, "weight_decay": 1e-5}
_OURS: dict[str, dict[str, bool]] = {
    "ours": {},
    "average": {"ema": True},
    "derived": {"derived": True},
}
# Name: kind of worker, whether to preload tcmalloc, and the contestant to divide by.
_CONTESTANTS = {
    "PyTorch": ("torch", False, "PyTorch"),
    "ours": ("ours", False, "PyTorch"),
    "ours, average": ("average", False, "PyTorch"),
    "ours, derived": ("derived", False, "PyTorch"),
    "PyTorch, tcmalloc": ("torch", True, "PyTorch, tcmalloc"),
    "ours, tcmalloc": ("ours", True, "PyTorch, tcmalloc"),
}


def make_batch(rows: int, size: int) -> dict[str, np.ndarray]:
    """Make noise images, and smooth bumps as labels; about a tenth of the pixels are text."""
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
    from craftjax.training import make_loss, make_train_step
    from ocrcore import layers
    from ocrcore.runtime.mesh import make_mesh, put_batch
    from ocrcore.runtime.tuning import tune_process
    from ocrcore.training.optimizer_options import OptimizerOptions
    from ocrcore.training.optimizers import make_optimizer
    from ocrcore.training.state import create_state

    tune_process()  # as `craftjax.main` does
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


def _check(firsts: dict[str, Answer]) -> None:
    losses = [answer["loss"] for answer in firsts.values()]
    assert max(losses) - min(losses) < 1e-3 * max(losses), f"the losses disagree: {firsts}"


def main() -> None:
    """Run the rounds and print the table."""
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
        batch, kind = make_batch(int(rows), int(side)), arguments.worker
        run = _torch(batch) if kind == "torch" else _ours(batch, **_OURS[kind])
        serve(run, lambda loss: {"loss": loss})
        return
    tcmalloc = find_tcmalloc()
    over = {
        name: base
        for name, (_, preload, base) in _CONTESTANTS.items()
        if name not in arguments.without and (tcmalloc or not preload)
    }
    contestants = {name: _CONTESTANTS[name][:2] for name in over}
    report: dict[str, Any] = {"machine": f"{platform.machine()}, {os.cpu_count()} cores"}
    print(f"shape     {HEAD}  / PyTorch")
    for shape in arguments.shapes:
        found = race(
            __file__,
            contestants,
            rounds=arguments.rounds,
            arguments=["--shapes", shape],
            check=_check,
        )
        for name, base in over.items():
            ratio = f"{found.median(name) / found.median(base):.2f}" if base in over else "-"
            print(f"{shape:8s}  {found.row(name)}  {ratio:>9s}", flush=True)
        report[shape] = {"rounds": found.rounds, "first": found.firsts}
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
