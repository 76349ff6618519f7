"""Distillation: a student network learns a teacher's score maps.

It needs no labels: the teacher scores each crop during training, and the student can be used with
the teacher's thresholds.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from craftjax.config import DistillOptions
from craftjax.detector import read_variables
from craftjax.models import CRAFT, width_of
from ocrcore.runtime.mesh import batch_sharding, replicated
from ocrcore.training.loop import Step

Tree = Any
Maps = dict[str, jax.Array]


def make_teacher(options: DistillOptions, *, mesh: Mesh) -> Callable[[jax.Array], Maps]:
    """Load the teacher.

    Args:
        options: the weights and the dtype of the computation.
        mesh: a mesh of `ocrcore.runtime.mesh.make_mesh`.

    Returns:
        A function from images `(B, H, W, 3)` uint8, sharded over the mesh, to `region`, `affinity`
        and `confidence`, `(B, H // 2, W // 2)` float32: the teacher's scores, clipped to [0, 1],
        and ones.

    Raises:
        ValueError: (subclasses) as for `craftjax.detector.Detector.from_weights`.
    """
    variables = read_variables(options.teacher)
    model = CRAFT(width_of(variables), jnp.dtype(options.dtype))
    known = {name: variables[name] for name in ("params", "batch_stats")}
    placed = jax.device_put(known, replicated(mesh))
    teach = jax.jit(
        partial(_maps, model),
        in_shardings=(replicated(mesh), batch_sharding(mesh)),
        out_shardings=batch_sharding(mesh),
    )
    return lambda images: teach(placed, images)


def taught(step: Step, teacher: Callable[[jax.Array], Maps]) -> Step:
    """Return a train step on the teacher's maps, which replace the labels of the batch."""
    return lambda state, batch: step(state, {**batch, **teacher(batch["image"])})


def _maps(model: CRAFT, variables: Tree, images: jax.Array) -> Maps:
    scores = jnp.clip(model.apply(variables, images)[0], 0.0, 1.0)
    return {
        "region": scores[..., 0],
        "affinity": scores[..., 1],
        "confidence": jnp.ones(scores.shape[:3], jnp.float32),
    }
