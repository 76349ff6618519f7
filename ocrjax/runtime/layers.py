"""Layers that torch defines in its own way, for networks that exchange weights with it."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from ocrjax.runtime.optimizers import matches

BATCH_NORM_EPSILON = 1e-5
BATCH_NORM_MOMENTUM = 0.9  # torch's momentum 0.1


def max_pool(x: jax.Array, *, height: int = 2, width: int = 2) -> jax.Array:
    """Max-pooling whose stride is its window; rows and columns that are left over are dropped.

    By reshape: XLA differentiates it into an elementwise mask rather than a scatter.

    Args:
        x: `(B, H, W, C)`.
        height: of the window.
        width: of the window.
    """
    b, h, w, c = x.shape
    x = x[:, : h // height * height, : w // width * width, :]
    x = x.reshape(b, h // height, height, w // width, width, c)
    return jnp.max(x, axis=(2, 4))


class BatchNorm(nn.Module):
    """Batch normalisation over all but the last axis, with torch's running statistics.

    The batch is normalised with its biased variance, the running variance takes the unbiased one:
    `flax.linen.BatchNorm` would keep the biased one.

    Attributes:
        dtype: of the result; statistics are float32.
        freeze: patterns of parameters that are not trained (`ocrjax.runtime.optimizers.matches`).
            A layer whose scale is among them uses its running statistics and keeps them.
    """

    dtype: Any = jnp.float32
    freeze: tuple[str, ...] = ()

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Normalises `(..., C)`; with `train` by the batch, updating `batch_stats`."""
        c = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (c,))
        bias = self.param("bias", nn.initializers.zeros, (c,))
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (c,))
        running_var = self.variable("batch_stats", "var", jnp.ones, (c,))
        path = "/".join((*self.path, "scale"))
        if train and not any(matches(path, pattern) for pattern in self.freeze):
            x32 = x.astype(jnp.float32)
            axes = tuple(range(x.ndim - 1))
            mean = jnp.mean(x32, axes)
            var = jnp.maximum(jnp.mean(jnp.square(x32), axes) - jnp.square(mean), 0)
            n = x.size // c
            keep = BATCH_NORM_MOMENTUM
            running_mean.value = keep * running_mean.value + (1 - keep) * mean
            unbiased = var * (n / max(n - 1, 1))
            running_var.value = keep * running_var.value + (1 - keep) * unbiased
        else:
            mean, var = running_mean.value, running_var.value
        factor = scale * lax.rsqrt(var + BATCH_NORM_EPSILON)
        return (x * factor + (bias - mean * factor)).astype(self.dtype)
