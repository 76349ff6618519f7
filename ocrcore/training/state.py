"""The state of a training run and its update by a step, as pure functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from ocrcore.runtime.mesh import batch_sharding, replicated

Tree = Any
Metrics = Mapping[str, tuple[jax.Array, jax.Array]]


class TrainState(flax.struct.PyTreeNode):
    """Everything that a step changes; immutable, replicated on every device.

    Attributes:
        step: int32 scalar, number of updates.
        params: the network's parameters.
        batch_stats: running statistics of BatchNorm; empty if there are none.
        opt_state: the optimizer state.
        ema: moving average of `{"params": ..., "batch_stats": ...}`, or None.
    """

    step: jax.Array
    params: Tree
    batch_stats: Tree
    opt_state: Tree
    ema: Tree | None

    @property
    def variables(self) -> dict[str, Tree]:
        """The variables to train the network with."""
        return {"params": self.params, "batch_stats": self.batch_stats}

    @property
    def eval_variables(self) -> dict[str, Tree]:
        """The variables to evaluate and save: the moving average if there is one."""
        return self.variables if self.ema is None else self.ema


def create_state(
    variables: Mapping[str, Tree],
    optimizer: optax.GradientTransformation,
    *,
    mesh: Mesh,
    ema: bool = True,
) -> TrainState:
    """Create the state before the first step, on every device of the mesh.

    Args:
        variables: `{"params": ...}` and optionally `"batch_stats"`, the same on all hosts; copied.
        optimizer: for example from `ocrcore.training.optimizers.make_optimizer`.
        mesh: from `ocrcore.runtime.mesh.make_mesh`.
        ema: whether to keep a moving average.
    """

    def init(variables: Mapping[str, Tree]) -> TrainState:
        params, batch_stats = variables["params"], variables.get("batch_stats", {})
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=params,
            batch_stats=batch_stats,
            opt_state=optimizer.init(params),
            ema={"params": params, "batch_stats": batch_stats} if ema else None,
        )

    # Compiled with given shardings, every output has its own buffer; a donated state must not share
    # buffers with its source or within itself.
    everywhere = replicated(mesh)
    return jax.jit(init, out_shardings=everywhere)(jax.device_put(dict(variables), everywhere))


def update_ema(
    ema: Tree, variables: Tree, *, step: jax.Array, decay: float, warmup: bool = True
) -> Tree:
    """Move an average one step toward the variables.

    Args:
        ema: the average.
        variables: a tree of the same structure.
        step: number of updates, including this one.
        decay: fraction of the average that is kept.
        warmup: limit the decay to `step / (step + 9)`, so that the average quickly forgets the
            start of a run (the rule of TensorFlow's ExponentialMovingAverage).
    """
    kept = jnp.asarray(decay, jnp.float32)
    if warmup:
        kept = jnp.minimum(kept, step / (step + 9))
    return jax.tree.map(lambda mean, new: mean + (1 - kept) * (new - mean), ema, variables)


def apply_gradients(
    state: TrainState,
    gradients: Tree,
    *,
    optimizer: optax.GradientTransformation,
    batch_stats: Tree,
    ema_decay: float = 0.999,
    ema_warmup: bool = True,
) -> TrainState:
    """Apply one update: parameters, optimizer, running statistics, average, step."""
    updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    step = state.step + 1
    ema = state.ema
    if ema is not None:
        new = {"params": params, "batch_stats": batch_stats}
        ema = update_ema(ema, new, step=step, decay=ema_decay, warmup=ema_warmup)
    return TrainState(
        step=step, params=params, batch_stats=batch_stats, opt_state=opt_state, ema=ema
    )


def accumulate_gradients(
    gradients: Callable[[Tree, Tree, jax.Array], tuple[Tree, Tree, Metrics]],
    batch_stats: Tree,
    batch: Tree,
    *,
    count: int,
) -> tuple[Tree, Tree, Metrics]:
    """Compute the gradients of a batch that is too large for the device, part by part.

    This happens inside one step rather than by `optax.MultiSteps`: a step stays one update, so the
    schedule, the average, checkpoints and stopping all count the same thing, no partial gradient
    has to be saved, and the optimizer runs once instead of once per part.

    A part takes every `count`-th row, so that rows stay on their device if `count` divides the
    number of rows on each device; otherwise the result is the same, but rows are moved. Each part
    updates the running statistics once, and all parts have the same weight.

    Args:
        gradients: `(batch_stats, part, index of the part) -> (gradients, batch_stats, metrics)`;
            metrics are (sum, count) pairs.
        batch_stats: running statistics before the batch.
        batch: a tree of arrays `(B, ...)`.
        count: number of parts.

    Returns:
        The mean of the gradients, the running statistics after the batch, the summed metrics.

    Raises:
        ValueError: `count` does not divide the number of rows.
    """
    rows = jax.tree.leaves(batch)[0].shape[0]
    if count < 1 or rows % count:
        raise ValueError(
            f"config.optimizer.accumulate is {count}, expected a divisor of the batch's {rows} rows"
        )
    if count == 1:
        return gradients(batch_stats, batch, jnp.zeros((), jnp.int32))
    parts = jax.tree.map(
        lambda x: jnp.swapaxes(x.reshape(rows // count, count, *x.shape[1:]), 0, 1), batch
    )
    indices = jnp.arange(count)
    part = jax.tree.map(lambda x: x[0], (parts, indices))
    shapes = jax.eval_shape(gradients, batch_stats, *part)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), (shapes[0], shapes[2]))

    def add(carry: tuple[Tree, Tree], part: Tree) -> tuple[tuple[Tree, Tree], None]:
        sums, stats = carry
        new, stats, metrics = gradients(stats, *part)
        return (jax.tree.map(jnp.add, sums, (new, metrics)), stats), None

    ((total, metrics), stats), _ = jax.lax.scan(add, (zeros, batch_stats), (parts, indices))
    return jax.tree.map(lambda x: x / count, total), stats, metrics


def compile_step(
    step: Callable[[TrainState, Tree], tuple[TrainState, Tree]], mesh: Mesh
) -> Callable[[TrainState, Tree], tuple[TrainState, Tree]]:
    """Compile a step for a mesh; the input state is donated.

    Args:
        step: `(state, batch) -> (state, metrics)`, written for the whole batch: a mean over rows
            is a mean over all devices of all hosts.
        mesh: from `ocrcore.runtime.mesh.make_mesh`; batches come from `put_batch`.
    """
    everywhere = replicated(mesh)
    return jax.jit(
        step,
        donate_argnums=0,
        in_shardings=(everywhere, batch_sharding(mesh)),
        out_shardings=(everywhere, everywhere),
    )
