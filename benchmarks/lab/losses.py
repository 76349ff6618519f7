"""The sum of the k largest errors, computed in three ways, and the losses that need it.

    python benchmarks/lab/losses.py

`search` is `craftjax.losses.sum_of_largest`; `sort` and `top_k` sort all values, since k is only
known on the device, and sum the first k. Forward and gradient, compiled, on errors of two maps like
those of a page: most nearly 0, one in ten exactly 0. Values and gradients must agree. The whole
losses are timed with the search. The ways take turns.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from craftjax.losses import loss_v2, loss_v3, sum_of_largest

SHAPES = ((5, 384, 384), (1, 192, 192))  # batch, height and width of one map


def by_order(values: jax.Array, k: jax.Array, *, whole: bool, top_k: bool) -> jax.Array:
    """Return the result of `by_search`, computed by sorting."""
    rows = values.reshape(2, 1 if whole else values.shape[1], -1)
    size = rows.shape[-1]
    ordered = lax.top_k(rows, size)[0] if top_k else -jnp.sort(-rows, axis=-1)
    return jnp.sum(jnp.where(jnp.arange(size) < k.reshape(2, -1, 1), ordered, 0), axis=-1)


def by_search(values: jax.Array, k: jax.Array, *, whole: bool) -> jax.Array:
    """Return the sums for both maps, over the whole batch or each image."""
    found = sum_of_largest(values, k, axis=(1, 2, 3) if whole else (2, 3))
    return found.reshape(2, -1)


def gradient(function: Callable[..., jax.Array]) -> Callable[..., Any]:
    """Compile a sum with its gradient."""
    return jax.jit(jax.value_and_grad(lambda values, k: function(values, k).sum()))


def in_turn(calls: dict[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """Return milliseconds of each call, taking turns; the first call of each is not counted."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(repeats + 1):
        for name, call in calls.items():
            begin = time.perf_counter()
            jax.block_until_ready(call())
            if turn:
                times[name].append(1000 * (time.perf_counter() - begin))
    return times


def measure(shape: tuple[int, int, int], *, whole: bool, repeats: int) -> dict[str, Any]:
    """Times the three ways and the loss for one shape."""
    rng = np.random.default_rng(0)
    errors = rng.random((2, *shape)) ** 8 * (rng.random((2, *shape)) < 0.9)
    values = jnp.asarray(errors, jnp.float32)
    group = shape if whole else shape[1:]
    k = jnp.full((2, 1 if whole else shape[0], 1, 1), int(0.05 * np.prod(group)), jnp.int32)
    ways = {
        "search": gradient(partial(by_search, whole=whole)),
        "sort": gradient(partial(by_order, whole=whole, top_k=False)),
        "top_k": gradient(partial(by_order, whole=whole, top_k=True)),
    }
    total, slope = ways["search"](values, k)
    for way in ways.values():
        other = way(values, k)
        np.testing.assert_allclose(other[0], total, rtol=1e-5)
        np.testing.assert_array_equal(other[1] * (values > 0), slope * (values > 0))

    label = jnp.asarray((rng.random((2, *shape)) < 0.05) * rng.random((2, *shape)), jnp.float32)
    pred = jnp.asarray(rng.normal(0, 0.1, (2, *shape)), jnp.float32)
    mask = jnp.ones(shape, jnp.float32)
    function, options = (loss_v2, (0.3, 5000)) if whole else (loss_v3, (1.0, 1000))

    def loss(pred: jax.Array, label: jax.Array, mask: jax.Array) -> jax.Array:
        neg_rto, n_min_neg = options
        return function(*label, *pred, mask, neg_rto=neg_rto, n_min_neg=n_min_neg)[0]

    step = jax.jit(jax.value_and_grad(loss))
    calls = {name: partial(way, values, k) for name, way in ways.items()}
    times = in_turn({**calls, function.__name__: partial(step, pred, label, mask)}, repeats)
    return {
        "shape": shape,
        "over": "batch" if whole else "image",
        "loss": function.__name__,
        "median_ms": {name: median(value) for name, value in times.items()},
        "least_ms": {name: min(value) for name, value in times.items()},
    }


def main() -> None:
    """Print a table and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("exp/benchmarks/losses.json"))
    args = parser.parse_args()
    device = jax.devices()[0]
    print(f"two maps, value and gradient, {device.device_kind}, ms: median (least)")
    print("| shape | k largest of each | sort | top_k | search | search / sort | whole loss |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    results = []
    for shape in SHAPES:
        for whole in (True, False):
            row = measure(shape, whole=whole, repeats=args.repeats)
            results.append(row)
            middle, least = row["median_ms"], row["least_ms"]
            cells = {name: f"{middle[name]:.1f} ({least[name]:.1f})" for name in middle}
            print(
                f"| {'x'.join(map(str, shape))} | {row['over']} | {cells['sort']} | "
                f"{cells['top_k']} | {cells['search']} | {middle['search'] / middle['sort']:.3f} | "
                f"{row['loss']} {cells[row['loss']]} |"
            )
    args.out.parent.mkdir(parents=True, exist_ok=True)
    report = {
        "machine": platform.platform(),
        "device": device.device_kind,
        "jax": jax.__version__,
        "results": results,
    }
    args.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
