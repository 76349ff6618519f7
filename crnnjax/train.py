"""Trains the recogniser."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from crnnjax.losses import ctc_loss
from crnnjax.models import CRNN, time_steps
from ocrjax.runtime.optimizers import OptimizerOptions
from ocrjax.runtime.training import Step, make_step

Tree = Any


def make_train_step(
    model: CRNN,
    optimizer: optax.GradientTransformation,
    *,
    mesh: Mesh,
    options: OptimizerOptions,
    ema_decay: float = 0.999,
    true_lengths: bool = True,
) -> Step:
    """Compiles a step of training for a mesh, one program for each width of batch as it comes.

    Args:
        model: the network; its `freeze` is that of the options.
        optimizer: of `options`.
        mesh: of `ocrjax.runtime.mesh.make_mesh`.
        options: of the optimiser, for what is frozen and in how many parts a batch is taken.
        ema_decay: of the moving average, where the state has one.
        true_lengths: read each picture in its true width only; False reads the padding, too, as
            EasyOCR does.

    Returns:
        `(state, batch) -> (state, metrics)`; the state that goes in is used up. The batch holds
        `image` `(B, H, W, 1)` uint8, `width` `(B,)` int32 in pixels, `label` `(B, L)` int32 and
        `length` `(B,)` int32; metrics are (sum, count) pairs: `loss`, `infeasible`, `grad_norm`.
    """

    def loss_of(params: Tree, stats: Tree, part: Tree) -> tuple[jax.Array, tuple[Tree, Tree]]:
        variables = {"params": params, "batch_stats": stats}
        images, widths = part["image"], part["width"]
        logits, new = model.apply(
            variables,
            images,
            widths if true_lengths else None,
            train=True,
            mutable=["batch_stats"],
        )
        if true_lengths:
            steps = time_steps(widths, features=model.features)
        else:
            steps = jnp.full_like(widths, logits.shape[1])
        value, metrics = ctc_loss(logits, steps, part["label"], part["length"])
        return value, (new.get("batch_stats", stats), metrics)

    return make_step(loss_of, optimizer, mesh=mesh, options=options, ema_decay=ema_decay)
