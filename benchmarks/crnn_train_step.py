"""A recognizer training step: ours against PyTorch, with the default allocator and tcmalloc.

In float32 on CPU, from the same weights on the same batch: forward in training mode, CTC over all
columns, backward, gradients clipped to 5, Adadelta. None-VGG-BiLSTM-CTC from random weights: `dtrb`
is 512 channels, 37 classes and 192 crops of 32x100, `easyocr` 256 channels, 97 classes and 32 crops
of 64x256. `ppocr` is `ppocrv6_small` with the charset en95 and 64 crops of 48x160; in PyTorch it is
the module that we export for EasyOCR. Ours is `crnnjax.training.make_train_step` with the
allocator settings of training (`ocrcore.runtime.memory`); PyTorch's is `torch_crnn.py`. Each
contestant is a process of its own and rounds alternate; the losses of the first steps must agree.
Needs torch; tcmalloc is Debian's libtcmalloc-minimal4.

Command: python benchmarks/crnn_train_step.py --rounds 5
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

CASES: dict[str, dict[str, int]] = {
    "dtrb": {"classes": 37, "channels": 512, "rows": 192, "height": 32, "width": 100},
    "easyocr": {"classes": 97, "channels": 256, "rows": 32, "height": 64, "width": 256},
    "ppocr": {"classes": 96, "rows": 64, "height": 48, "width": 160},
}


def make_batch(case: dict[str, int]) -> dict[str, np.ndarray]:
    """Make a batch of noise images, and labels of 3 to 10 characters."""
    rng, rows = np.random.default_rng(0), case["rows"]
    shape = (rows, case["height"], case["width"], 1)
    return {
        "image": rng.integers(0, 256, shape, np.uint8),
        "width": np.full(rows, case["width"], np.int32),
        "label": rng.integers(1, case["classes"], (rows, 25)).astype(np.int32),
        "length": rng.integers(3, 11, rows).astype(np.int32),
    }


def _network(case: dict[str, int]) -> tuple[Any, Any]:
    """Return our network and its weights."""
    from crnnjax.models import CRNN, init_variables, options_of
    from crnnjax.recognizer import load_recognizer

    if "channels" not in case:
        variables = load_recognizer("ppocrv6_small", charset="en95").variables
        return CRNN(**options_of(variables)), variables
    model = CRNN(case["classes"], channels=case["channels"])
    return model, init_variables(model)


def _ours(case: dict[str, int]) -> Callable[[], float]:
    import jax

    from crnnjax.training import make_train_step
    from ocrcore.runtime.mesh import make_mesh, put_batch
    from ocrcore.runtime.tuning import tune_process
    from ocrcore.training.optimizer_options import OptimizerOptions
    from ocrcore.training.optimizers import make_optimizer
    from ocrcore.training.state import create_state

    tune_process(one_arena=True)  # as `crnnjax.main` does
    options = OptimizerOptions(name="adadelta", learning_rate=1.0, b2=0.95, eps=1e-8, clip_norm=5.0)
    optimizer, _ = make_optimizer(options, steps=100)
    mesh, (model, variables) = make_mesh(), _network(case)
    step = make_train_step(model, optimizer, mesh=mesh, options=options)
    state = create_state(variables, optimizer, mesh=mesh, ema=False)
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

    _, variables = _network(case)
    state = to_state_dict(variables, prefix="")
    make = torch_crnn.make_network if "channels" in case else torch_crnn.make_compact_network
    step = torch_crnn.make_step(make(state))
    tensors = torch_crnn.make_batch(make_batch(case))
    return lambda: step(tensors)


def _check(firsts: dict[str, Answer]) -> None:
    losses = np.array([answer["losses"] for answer in firsts.values()])
    assert (np.ptp(losses, axis=0) < 1e-2 * losses.max(axis=0)).all(), f"unequal: {firsts}"


def main() -> None:
    """Run the rounds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("exp/benchmarks/crnn_train_step.json"))
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        run = {"ours": _ours, "torch": _torch}[arguments.worker](CASES[arguments.cases[0]])
        # The second loss shows whether the first update was the same.
        serve(run, lambda loss: {"losses": [loss, run()]})
        return
    contestants = {"PyTorch": ("torch", False), "ours": ("ours", False)}
    if find_tcmalloc():
        contestants |= {"PyTorch, tcmalloc": ("torch", True), "ours, tcmalloc": ("ours", True)}
    report: dict[str, Any] = {"machine": f"{platform.machine()}, {os.cpu_count()} cores"}
    print(f"case      {HEAD}  / PyTorch")
    for case in arguments.cases:
        found = race(
            __file__,
            contestants,
            rounds=arguments.rounds,
            arguments=["--cases", case],
            check=_check,
        )
        for name in contestants:
            ratio = found.median(name) / found.median(name.replace("ours", "PyTorch"))
            print(f"{case:8s}  {found.row(name)}  {ratio:9.2f}", flush=True)
        report[case] = {"rounds": found.rounds, "first": found.firsts}
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
