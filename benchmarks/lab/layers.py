"""Our implementations of layers against the plain ones: forward, and forward with backward.

The whole network at full width with one layer replaced at a time: pooling by `lax.reduce_window`,
upsampling by `jax.image.resize`, and the decoder's first convolution after a real concatenation.
Rounds alternate; medians of CPU and wall seconds, and the ratio to ours.

Command: python benchmarks/lab/layers.py --size 384 --rounds 5
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from craftjax import models


def _window_pool(x: jax.Array) -> jax.Array:
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def _image_resize(x: jax.Array, height: int, width: int) -> jax.Array:
    return jax.image.resize(x, (x.shape[0], height, width, x.shape[3]), "bilinear")


_conv = models.Conv.__call__


def _concatenated(self: models.Conv, *inputs: jax.Array) -> jax.Array:
    if len(inputs) == 1:
        return _conv(self, *inputs)
    height, width = inputs[-1].shape[1:3]
    parts = [models.resize_bilinear(x, height, width) for x in inputs]
    return _conv(self, jnp.concatenate(parts, axis=-1))


_VARIANTS: dict[str, dict[str, Any]] = {
    "ours": {},
    "pooling by reduce_window": {"max_pool": _window_pool},
    "upsampling by jax.image.resize": {"resize_bilinear": _image_resize},
    "concatenation": {"Conv.__call__": _concatenated},
}


def _programs(size: int) -> dict[str, dict[str, Callable[[], Any]]]:
    variables = jax.device_put(models.init_variables(models.CRAFT()))
    images = np.random.default_rng(0).integers(0, 256, (1, size, size, 3), np.uint8)

    def forward(variables: Any, images: Any) -> jax.Array:
        return models.CRAFT().apply(variables, images)[0]

    def loss(params: Any, variables: Any, images: Any) -> jax.Array:
        (scores, _), _ = models.CRAFT().apply(
            {**variables, "params": params}, images, train=True, mutable=["batch_stats"]
        )
        return jnp.square(scores).mean()

    out: dict[str, dict[str, Callable[[], Any]]] = {"forward": {}, "with backward": {}}
    for name, changes in _VARIANTS.items():
        with contextlib.ExitStack() as stack:
            for target, change in changes.items():
                stack.enter_context(mock.patch(f"craftjax.models.{target}", change))
            one = jax.jit(lambda v, x: forward(v, x)).lower(variables, images).compile()
            two = jax.jit(lambda p, v, x: jax.grad(loss)(p, v, x))
            back = two.lower(variables["params"], variables, images).compile()
        out["forward"][name] = lambda one=one: one(variables, images)
        out["with backward"][name] = lambda back=back: back(variables["params"], variables, images)
    return out


def main() -> None:
    """Run the rounds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", type=int, default=384)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("exp/benchmarks/layers.json"))
    args = parser.parse_args()
    report: dict[str, Any] = {}
    for what, programs in _programs(args.size).items():
        rows: dict[str, list[tuple[float, float]]] = {name: [] for name in programs}
        for round_ in range(args.rounds + 1):
            for name, run in programs.items():
                wall, cpu = time.perf_counter(), time.process_time()
                jax.block_until_ready(run())
                if round_:  # the first warms up
                    rows[name].append((time.perf_counter() - wall, time.process_time() - cpu))
        medians = {
            name: [statistics.median(column) for column in zip(*values, strict=True)]
            for name, values in rows.items()
        }
        print(f"{what}, {args.size}x{args.size}:        wall s  cpu s  cpu / ours")
        for name, (wall, cpu) in medians.items():
            print(f"  {name:32s} {wall:7.3f} {cpu:6.3f}  {cpu / medians['ours'][1]:6.2f}")
        report[what] = medians
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
