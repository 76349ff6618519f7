"""LightSVTR: the sequence model of PP-OCRv6's small recognizer (arXiv 2606.13108).

A convolution along the columns for local context and two transformer blocks for global context,
with a shortcut around both (SVTR: Du et al. 2022, arXiv 2205.00159).
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from crnnjax.lcnet import Layer, masked
from ocrcore.layers import Frozen, Linear, never

Array = jax.Array

DEPTH, HEADS = 2, 8
_SPAN = 7  # columns of the convolution
_EXPANSION = 2
# As in the published file.
_EPSILON, _LAST_EPSILON = 1e-5, 1e-6


class LightSVTR(nn.Module):
    """The sequence model.

    Attributes:
        hidden: channels, a multiple of 8, the number of heads; 120 in the published network.
        frozen: tells which parameters are not trained.
        dtype: dtype of the computation.
        batch_norm: whether convolutions have BatchNorm instead of a bias.
    """

    hidden: int = 120
    frozen: Frozen = never
    dtype: Any = jnp.float32
    batch_norm: bool = False

    @nn.compact
    def __call__(self, x: Array, steps: Array | None = None, *, train: bool) -> Array:
        """`(B, T, C)` to `(B, T, hidden)`; `steps` `(B,)` is the number of valid steps, or None."""

        def layer(name: str, x: Array, **options: Any) -> Array:
            made = Layer(
                self.hidden,
                batch_norm=self.batch_norm,
                frozen=self.frozen,
                dtype=self.dtype,
                name=name,
                **options,
            )
            return nn.silu(made(x, train=train))

        x = x[:, None]
        skip, x = layer("skip", x), masked(layer("reduce", x), steps)
        near = ((0, 0), (_SPAN // 2, _SPAN // 2))
        x = (x + layer("local", x, size=(1, _SPAN), padding=near, depthwise=True))[:, 0]
        valid = None if steps is None else jnp.arange(x.shape[1]) < steps[:, None]
        for index in range(DEPTH):
            x = Transformer(self.dtype, name=f"block{index}")(x, valid)
        return _norm("norm", x, _LAST_EPSILON, self.dtype) + skip[:, 0]


class Transformer(nn.Module):
    """A pre-norm transformer block: self-attention over all columns and an MLP."""

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, valid: Array | None = None) -> Array:
        """`(B, T, C)` to the same; `valid` `(B, T)` masks the attention, None for all."""
        b, t, c = x.shape

        def product(name: str, features: int, x: Array) -> Array:
            return Linear(features, self.dtype, name=name)(x)

        y = product("qkv", 3 * c, _norm("norm1", x, _EPSILON, self.dtype))
        query, key, value = jnp.moveaxis(y.reshape(b, t, 3, HEADS, c // HEADS), 2, 0)
        scores = jnp.einsum("bqhd,bkhd->bhqk", query, key).astype(jnp.float32)
        scores = scores * (c // HEADS) ** -0.5
        if valid is not None:
            scores = jnp.where(valid[:, None, None], scores, -1e30)
        weights = nn.softmax(scores).astype(self.dtype)
        y = jnp.einsum("bhqk,bkhd->bqhd", weights, value).reshape(b, t, c)
        x = x + product("out", c, y)
        y = nn.silu(product("mlp1", _EXPANSION * c, _norm("norm2", x, _EPSILON, self.dtype)))
        return x + product("mlp2", c, y)


def _norm(name: str, x: Array, epsilon: float, dtype: Any) -> Array:
    # The fast variance, mean of squares minus square of mean, loses digits.
    return nn.LayerNorm(epsilon, dtype=dtype, use_fast_variance=False, name=name)(x)
