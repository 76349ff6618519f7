"""A network of two layers trained by `ocrcore.runtime`, for its tests; also run as a process.

python toy_training.py PROCESS PROCESSES PORT WORKDIR STEPS [SLEEP]
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from ocrcore.runtime.mesh import host_rows, initialize_distributed, make_mesh, put_batch
from ocrcore.training.checkpoints import RunCheckpoints
from ocrcore.training.loop import every
from ocrcore.training.metrics import Deferred, MetricsWriter, mean
from ocrcore.training.optimizer_options import OptimizerOptions
from ocrcore.training.optimizers import make_optimizer
from ocrcore.training.signals import StopSignal
from ocrcore.training.state import (
    TrainState,
    accumulate_gradients,
    apply_gradients,
    compile_step,
    create_state,
)

ROWS, FEATURES, HIDDEN = 16, 6, 8
OPTIONS = OptimizerOptions(
    learning_rate=0.01,
    weight_decay=1e-3,
    schedule="step",
    decay_every=4,
    gamma=0.5,
    clip_norm=1.0,
    freeze=("frozen",),
)


def variables() -> dict[str, Any]:
    random = np.random.default_rng(0)

    def layer(*shape: int) -> dict[str, np.ndarray]:
        kernel = random.normal(size=shape).astype(np.float32) / np.sqrt(np.float32(shape[0]))
        return {"kernel": kernel, "bias": np.zeros(shape[1], np.float32)}

    return {
        "params": {
            "frozen": layer(FEATURES, FEATURES),
            "first": layer(FEATURES, HIDDEN),
            "second": layer(HIDDEN, 1),
        },
        "batch_stats": {"mean": np.zeros(HIDDEN, np.float32)},
    }


def batch(step: int) -> dict[str, np.ndarray]:
    """Batch `step`, a function of the step alone."""
    random = np.random.default_rng([1, step])
    x = random.normal(size=(ROWS, FEATURES)).astype(np.float32)
    return {"x": x, "y": np.sin(x.sum(1, keepdims=True))}


def make_step(mesh: Mesh, options: OptimizerOptions = OPTIONS) -> tuple[TrainState, Any]:
    optimizer, _ = make_optimizer(options, steps=100)

    def loss(params: Any, stats: Any, part: Any) -> Any:
        x = part["x"] @ params["frozen"]["kernel"] + params["frozen"]["bias"]
        x = x @ params["first"]["kernel"]
        average = jnp.mean(x, 0)
        # A bias before the centring would get rounding noise for a gradient, which Adam enlarges.
        x = jax.nn.relu(x - average + params["first"]["bias"])
        x = x @ params["second"]["kernel"] + params["second"]["bias"]
        errors = jnp.square(x - part["y"])
        stats = {"mean": 0.9 * stats["mean"] + 0.1 * average}
        metrics = {"loss": (jnp.sum(errors), jnp.float32(errors.size))}
        return jnp.mean(errors), (stats, metrics)

    def step(state: TrainState, whole: Any) -> Any:
        def gradients(stats: Any, part: Any, index: Any) -> Any:
            found, (stats, metrics) = jax.grad(loss, has_aux=True)(state.params, stats, part)
            return found, stats, metrics

        found, stats, metrics = accumulate_gradients(
            gradients, state.batch_stats, whole, count=options.accumulate
        )
        state = apply_gradients(state, found, optimizer=optimizer, batch_stats=stats, ema_decay=0.9)
        return state, metrics

    return create_state(variables(), optimizer, mesh=mesh), compile_step(step, mesh)


def train(
    workdir: Path,
    steps: int,
    mesh: Mesh,
    toy: tuple[TrainState, Any] | None = None,
    sleep: float = 0,
) -> TrainState:
    """The loop of a real run in small: resumes, logs, saves every third step, stops on request."""
    state, step_fn = toy or make_step(mesh)
    first = 0
    with RunCheckpoints(workdir / "checkpoints") as checkpoints, StopSignal(mesh) as stop:
        if checkpoints.steps:
            state, run = checkpoints.restore(state)
            first = run["position"]
        writer, deferred = MetricsWriter(workdir, restored_step=first), Deferred()
        rows = host_rows(ROWS, mesh)
        for step in range(first + 1, steps + 1):
            part = put_batch({k: v[rows] for k, v in batch(step).items()}, mesh)
            state, metrics = step_fn(state, part)
            deferred.push(step, metrics)
            stopping = stop.reached(step)
            if every(step, 3) or stopping or step == steps:
                writer.write(step, mean(deferred.flush()))
                checkpoints.save(step, state, run={"position": step})
            if stopping:
                break
            print("step", step, flush=True)
            time.sleep(sleep)
    return state


def main() -> None:
    process, processes, port = (int(argument) for argument in sys.argv[1:4])
    initialize_distributed(
        coordinator=f"127.0.0.1:{port}", process_count=processes, process_id=process
    )
    workdir, steps = Path(sys.argv[4]), int(sys.argv[5])
    sleep = float(sys.argv[6]) if len(sys.argv) > 6 else 0
    state = train(workdir, steps, make_mesh(), sleep=sleep)
    if jax.process_index() == 0:
        leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(state)]
        np.savez(workdir / "final.npz", *leaves)


if __name__ == "__main__":
    main()
