"""The bidirectional LSTM: its custom gradient against autodiff of the same scan, and flax's RNN.

Forward, and forward with backward (to input and weights), float32, at the shapes of the first LSTM
of deep-text-recognition-benchmark (`dtrb`: 192 crops of 32x100) and of EasyOCR's generation 2
(`easyocr`: 32 crops of 64x256). Rounds alternate in one process; medians, and ratios to ours.
flax's is `nn.Bidirectional(nn.RNN(nn.OptimizedLSTMCell))`, with its own weights; the first two must
give the same gradients.

Command: python benchmarks/lab/lstm.py [--rounds 15]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from crnnjax import lstm
from crnnjax.lstm import BiLSTM
from ocrcore.runtime.tuning import tune_process

CASES = {"dtrb": (192, 24, 512, 256), "easyocr": (32, 63, 256, 256)}  # batch, steps, in, features


def contestants(features: int, x: jax.Array) -> dict[str, tuple[Any, Any]]:
    """Return by name a function of variables and input, and the variables."""
    ours = BiLSTM(features)
    variables = ours.init(jax.random.key(0), x)
    cell = nn.OptimizedLSTMCell
    theirs = nn.Bidirectional(nn.RNN(cell(features)), nn.RNN(cell(features)))

    def derived(variables: Any, x: jax.Array) -> jax.Array:
        written = lstm.scan_both
        lstm.scan_both = lambda *arguments: lstm._scan_forward(*arguments)[0]  # while it is traced
        try:
            return ours.apply(variables, x)
        finally:
            lstm.scan_both = written

    return {
        "written": (ours.apply, variables),
        "autodiff": (derived, variables),
        "flax RNN": (theirs.apply, theirs.init(jax.random.key(0), x)),
    }


def programs(features: int, x: jax.Array) -> dict[str, dict[str, Any]]:
    """Return compiled programs by contestant: `forward` and `training`."""
    out: dict[str, dict[str, Any]] = {}
    for name, (apply, variables) in contestants(features, x).items():

        def loss(variables: Any, x: jax.Array, apply: Any = apply) -> jax.Array:
            return jnp.sum(jnp.sin(apply(variables, x)))

        forward = jax.jit(apply).lower(variables, x).compile()
        training = jax.jit(jax.grad(loss, argnums=(0, 1))).lower(variables, x).compile()
        out[name] = {
            "forward": lambda f=forward, v=variables: jax.block_until_ready(f(v, x)),
            "training": lambda f=training, v=variables: jax.block_until_ready(f(v, x)),
        }
    return out


def main() -> None:
    """Run the rounds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path, default=Path("exp/benchmarks/lstm.json"))
    arguments = parser.parse_args()
    tune_process(one_arena=True)  # as training does
    report: dict[str, Any] = {"machine": f"{platform.machine()}, {os.cpu_count()} cores"}
    print(
        f"{'case':8s} {'':10s} {'forward ms':>11s} {'ratio':>6s} {'training ms':>12s} {'ratio':>6s}"
    )
    for case, (batch, steps, inputs, features) in CASES.items():
        x = jnp.asarray(
            np.random.default_rng(0).standard_normal((batch, steps, inputs)), jnp.float32
        )
        ready = programs(features, x)
        grads = [ready[name]["training"]() for name in ("written", "autodiff")]
        for one, two in zip(*map(jax.tree.leaves, grads), strict=True):
            np.testing.assert_allclose(one, two, rtol=0, atol=1e-4 * float(jnp.abs(two).max()))
        times: dict[str, dict[str, list[float]]] = {
            name: {"forward": [], "training": []} for name in ready
        }
        for _ in range(arguments.rounds + 1):
            for name, both in ready.items():
                for what, run in both.items():
                    begin = time.perf_counter()
                    run()
                    times[name][what].append(time.perf_counter() - begin)
        medians = {
            name: {what: 1e3 * statistics.median(runs[1:]) for what, runs in both.items()}
            for name, both in times.items()
        }
        for name, found in medians.items():
            ratios = {what: found[what] / medians["written"][what] for what in found}
            print(
                f"{case:8s} {name:10s} {found['forward']:11.1f} {ratios['forward']:6.2f} "
                f"{found['training']:12.1f} {ratios['training']:6.2f}"
            )
        report[case] = medians
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
