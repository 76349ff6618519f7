"""Layers shared by networks: convolution, pooling, and BatchNorm as torch defines it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

Frozen = Callable[[str], bool]
"""Whether a parameter is frozen, by its path, like `encoder/conv0/kernel`."""

BATCH_NORM_EPSILON = 1e-5
BATCH_NORM_MOMENTUM = 0.9  # torch's momentum 0.1
_PIXELS = 1536  # pixels per block when computing a kernel's gradient


def never(path: str) -> bool:
    """`Frozen`: all parameters are trained."""
    return False


def always(path: str) -> bool:
    """`Frozen`: no parameter is trained."""
    return True


def max_pool(x: jax.Array, *, height: int = 2, width: int = 2) -> jax.Array:
    """Max-pooling with stride equal to the window; leftover rows and columns are dropped.

    Implemented by reshape: XLA differentiates it into an elementwise mask rather than a scatter.

    Args:
        x: `(B, H, W, C)`.
        height: height of the window.
        width: width of the window.
    """
    b, h, w, c = x.shape
    x = x[:, : h // height * height, : w // width * width, :]
    x = x.reshape(b, h // height, height, w // width, width, c)
    return jnp.max(x, axis=(2, 4))


def convolve(x: jax.Array, kernel: jax.Array, dilation: int = 1) -> jax.Array:
    """3x3 convolution with stride 1 and "same" zero padding.

    XLA derives the kernel's gradient as a convolution whose window is the whole map, which is slow
    on CPUs (docs/benchmarks.md): there, `_kernel_gradient` computes it. On other devices the
    plain convolution is used.

    Args:
        x: `(B, H, W, C)`.
        kernel: `(3, 3, C, D)`.
        dilation: dilation of the kernel; the padding grows with it.

    Returns:
        `(B, H, W, D)`.
    """
    if dilation == 1 and x.shape[-1] > 1 and jax.default_backend() == "cpu":
        return _convolve_on_cpu(x, kernel)
    return _convolve(x, kernel, dilation)


def _convolve(x: jax.Array, kernel: jax.Array, dilation: int = 1) -> jax.Array:
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(1, 1),
        padding=((dilation, dilation),) * 2,
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


@jax.custom_vjp
def _convolve_on_cpu(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return _convolve(x, kernel)


def _keep_inputs(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _convolve(x, kernel), (x, kernel)


def _gradients(
    saved: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    (to_x,) = jax.vjp(lambda x: _convolve(x, kernel), x)[1](gradient)
    small = x.shape[0] > 1 and x.shape[1] * x.shape[2] <= 4 * _PIXELS
    return to_x, (_kernel_gradient_by_images if small else _kernel_gradient)(x, gradient)


_convolve_on_cpu.defvjp(_keep_inputs, _gradients)


def _kernel_gradient(x: jax.Array, gradient: jax.Array) -> jax.Array:
    """Return the gradient of a 3x3 kernel as matrix products of row blocks, summed in a loop.

    The input, shifted by three columns, times the output's gradient, shifted by three rows: all
    nine taps in one product, of blocks small enough for the cache.
    """
    b, h, w, c = x.shape
    d = gradient.shape[-1]
    rows = -(-h // -(-h * w // _PIXELS))
    blocks = -(-h // rows)
    rest = blocks * rows - h
    x = jnp.pad(x, ((0, 0), (0, rest), (1, 1), (0, 0)))
    gradient = jnp.pad(gradient, ((0, 0), (1, 1 + rest), (0, 0), (0, 0)))

    def add(total: jax.Array, block: jax.Array) -> tuple[jax.Array, None]:
        part = lax.dynamic_slice_in_dim(x, block * rows, rows, axis=1)
        wide = lax.dynamic_slice_in_dim(gradient, block * rows, rows + 2, axis=1)
        left = jnp.concatenate([part[:, :, j : j + w] for j in range(3)], -1)
        right = jnp.concatenate([wide[:, 2 - i : 2 - i + rows] for i in range(3)], -1)
        # One sum per image, so that a batch spread over devices is reduced once, after the loop.
        found = jnp.einsum("bhwc,bhwd->bcd", left, right, preferred_element_type=jnp.float32)
        return total + found, None

    total, _ = lax.scan(add, jnp.zeros((b, 3 * c, 3 * d), jnp.float32), jnp.arange(blocks))
    taps = total.sum(0).reshape(3, c, 3, d).transpose(2, 0, 1, 3)
    return taps.astype(x.dtype)


def _kernel_gradient_by_images(x: jax.Array, gradient: jax.Array) -> jax.Array:
    """Return the same for small maps, where a block is one or more images."""
    b, h, w, c = x.shape
    d = gradient.shape[-1]
    count = max(n for n in range(1, min(b, max(1, _PIXELS // (h * w))) + 1) if b % n == 0)

    def add(total: jax.Array, block: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        part = jnp.pad(block[0], ((0, 0), (0, 0), (1, 1), (0, 0)))
        wide = jnp.pad(block[1], ((0, 0), (1, 1), (0, 0), (0, 0)))
        left = jnp.concatenate([part[:, :, j : j + w] for j in range(3)], -1)
        right = jnp.concatenate([wide[:, 2 - i : 2 - i + h] for i in range(3)], -1)
        found = jnp.einsum("bhwc,bhwd->cd", left, right, preferred_element_type=jnp.float32)
        return total + found, None

    def split(z: jax.Array) -> jax.Array:
        return z.reshape(b // count, count, *z.shape[1:])

    blocks = split(x), split(gradient)
    total, _ = lax.scan(add, jnp.zeros((3 * c, 3 * d), jnp.float32), blocks)
    return total.reshape(3, c, 3, d).transpose(2, 0, 1, 3).astype(x.dtype)


@jax.custom_vjp
def add_bias(x: jax.Array, bias: jax.Array) -> jax.Array:
    """Add a bias whose gradient is summed in float32, whatever the type of `x`.

    XLA would sum in the type of `x`. In bfloat16, devices that accumulate in it (CPUs do not) would
    lose all but the first few hundred pixels of a map.

    Args:
        x: `(..., C)`.
        bias: `(C,)`.

    Returns:
        `(..., C)` of the type of `x`.
    """
    return x + bias.astype(x.dtype)


def _add_bias(x: jax.Array, bias: jax.Array) -> tuple[jax.Array, jax.Array]:
    return add_bias(x, bias), bias


def _bias_gradients(bias: jax.Array, gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    axes = tuple(range(gradient.ndim - 1))
    return gradient, jnp.sum(gradient, axes, dtype=jnp.float32).astype(bias.dtype)


add_bias.defvjp(_add_bias, _bias_gradients)


class BatchNorm(nn.Module):
    """Batch normalization over all but the last axis, with torch's running statistics.

    The batch is normalized with its biased variance, while the running variance takes the unbiased
    one: `flax.linen.BatchNorm` would keep the biased one.

    Attributes:
        dtype: type of the result; statistics are float32.
        frozen: which parameters are frozen. A layer whose scale is frozen normalizes by its
            running statistics and does not update them.
    """

    dtype: Any = jnp.float32
    frozen: Frozen = never

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Normalize `(..., C)`; with `train` by the batch statistics, updating `batch_stats`."""
        c = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (c,))
        bias = self.param("bias", nn.initializers.zeros, (c,))
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (c,))
        running_var = self.variable("batch_stats", "var", jnp.ones, (c,))
        # One conversion for statistics and result, so that their gradients are added in float32.
        x32 = x.astype(jnp.float32)
        if train and not self.frozen("/".join((*self.path, "scale"))):
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
        return (x32 * factor + (bias - mean * factor)).astype(self.dtype)


class Linear(nn.Module):
    """A matrix product with bias."""

    features: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `(..., C)` to `(..., features)`."""
        shape = (x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape).astype(self.dtype)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return add_bias(jnp.dot(x.astype(self.dtype), kernel), bias)
