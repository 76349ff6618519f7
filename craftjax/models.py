"""The CRAFT network: VGG16-BN encoder, U-net decoder, region and affinity scores at half size.

Functional Flax (linen), NHWC. Layer for layer the network of Baek et al., "Character Region
Awareness for Text Detection" (2019), as EasyOCR and the official code run it, so that their weights
give the same scores: see `craftjax.convert` for the names. Facts that decide parity:

* The encoder's slices end in a BatchNorm and the next slice begins with an *in-place* ReLU. So the
  skip connections of slices 1 to 3 have passed a ReLU, those of slice 4 and fc7 have not.
* Max-pooling floors, and every upsampling goes to the size of the skip connection it joins, so any
  input size from 16x16 on works.
* Upsampling is bilinear with half-pixel centers (`align_corners=False`).
* torch's BatchNorm keeps the unbiased variance as running variance.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from craftjax.lcnet import LCNetCRAFT
from ocrcore.layers import BatchNorm, Frozen, add_bias, convolve, max_pool, never

Array = jax.Array
Variables = Mapping[str, Any]

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
MIN_SIZE = 16

# Slices 1 to 4 are torchvision's `vgg16_bn().features[0:39]`. Each entry is the index there of a
# convolution, its channels, and what comes before it; its BatchNorm has the next index.
ENCODER: Mapping[str, tuple[tuple[int, int, tuple[str, ...]], ...]] = {
    "slice1": ((0, 64, ()), (3, 64, ("relu",)), (7, 128, ("relu", "pool")), (10, 128, ("relu",))),
    "slice2": ((14, 256, ("pool",)), (17, 256, ("relu",))),
    "slice3": ((20, 256, ()), (24, 512, ("relu", "pool")), (27, 512, ("relu",))),
    "slice4": ((30, 512, ()), (34, 512, ("relu", "pool")), (37, 512, ("relu",))),
}
DECODER = {"upconv1": (512, 256), "upconv2": (256, 128), "upconv3": (128, 64), "upconv4": (64, 32)}
HEAD = ((0, 32, 3), (2, 32, 3), (4, 16, 3), (6, 16, 1), (8, 2, 1))


def normalize(images: Array, *, dtype: Any = jnp.float32) -> Array:
    """Subtract ImageNet's mean and divide by its standard deviation.

    Args:
        images: `(..., 3)`, RGB, 0 to 255, uint8 or float.
        dtype: dtype of the result.
    """
    mean = np.asarray(MEAN, np.float32) * 255
    std = np.asarray(STD, np.float32) * 255
    return ((images.astype(jnp.float32) - mean) / std).astype(dtype)


def _max_of_neighbors(x: Array) -> Array:
    """3x3 max-pooling with stride 1; the border is padded with -inf; NHWC."""
    for axis in (1, 2):
        pad = [(0, 0)] * 4
        pad[axis] = (1, 1)
        wide = jnp.pad(x, pad, constant_values=-jnp.inf)
        n = x.shape[axis]
        first, last = (lax.slice_in_dim(wide, i, i + n, axis=axis) for i in (0, 2))
        x = jnp.maximum(jnp.maximum(first, x), last)
    return x


def resize_bilinear(x: Array, height: int, width: int) -> Array:
    """Upsample bilinearly with half-pixel centers and clamped edges, as `F.interpolate` does.

    Args:
        x: `(B, H, W, C)`.
        height: height of the result, at least `H`.
        width: width of the result, at least `W`.

    Returns:
        `(B, height, width, C)` of the same dtype.
    """
    return _resize_axis(_resize_axis(x, height, axis=1), width, axis=2)


def _resize_axis(x: Array, size: int, *, axis: int) -> Array:
    n = x.shape[axis]
    if size == n:
        return x
    if size == 2 * n:
        # Doubling the size needs no gather: each value interpolates two neighbors by .25 and .75.
        first = lax.slice_in_dim(x, 0, 1, axis=axis)
        last = lax.slice_in_dim(x, n - 1, n, axis=axis)
        before = jnp.concatenate([first, lax.slice_in_dim(x, 0, n - 1, axis=axis)], axis)
        after = jnp.concatenate([lax.slice_in_dim(x, 1, n, axis=axis), last], axis)
        pair = jnp.stack([0.25 * before + 0.75 * x, 0.75 * x + 0.25 * after], axis + 1)
        return pair.reshape(*x.shape[:axis], size, *x.shape[axis + 1 :])
    center = np.maximum((np.arange(size) + 0.5) * (n / size) - 0.5, 0)
    low = np.minimum(np.floor(center).astype(np.int32), n - 1)
    high = np.minimum(low + 1, n - 1)
    shape = [1] * x.ndim
    shape[axis] = size
    weight = jnp.asarray((center - low).reshape(shape), x.dtype)
    return jnp.take(x, low, axis) * (1 - weight) + jnp.take(x, high, axis) * weight


class Conv(nn.Module):
    """A convolution with bias, stride 1 and "same" zero padding.

    Attributes:
        features: output channels.
        size: side of the kernel, 1 or 3.
        dilation: dilation of a 3x3 kernel; the padding grows with it.
        dtype: dtype of the computation.
    """

    features: int
    size: int
    dilation: int = 1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, *inputs: Array) -> Array:
        """Convolve the channel-wise concatenation of the inputs without materializing it.

        Inputs of a lower resolution than the last one are convolved at their own resolution and
        then upsampled: a 1x1 convolution and bilinear interpolation commute.
        """
        channels = sum(x.shape[-1] for x in inputs)
        shape = (self.size, self.size, channels, self.features)
        kernel = self.param("kernel", nn.initializers.xavier_uniform(), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        kernel = kernel.astype(self.dtype)
        if self.size == 1:
            height, width = inputs[-1].shape[1:3]
            parts, start = [], 0
            for x in inputs:
                part = jnp.dot(x.astype(self.dtype), kernel[0, 0, start : start + x.shape[-1]])
                parts.append(resize_bilinear(part, height, width))
                start += x.shape[-1]
            return add_bias(sum(parts[1:], parts[0]), bias)
        (x,) = inputs
        return add_bias(convolve(x.astype(self.dtype), kernel, self.dilation), bias)


class DoubleConv(nn.Module):
    """The decoder's block: 1x1 convolution of a concatenation, then 3x3, each with BN and ReLU."""

    middle: int
    features: int
    dtype: Any = jnp.float32
    frozen: Frozen = never

    @nn.compact
    def __call__(self, coarse: Array, skip: Array, train: bool) -> Array:
        """Join the inputs at the size of `skip`."""
        x = Conv(self.middle, 1, dtype=self.dtype, name="conv0")(coarse, skip)
        x = nn.relu(BatchNorm(self.dtype, self.frozen, name="bn1")(x, train=train))
        x = Conv(self.features, 3, dtype=self.dtype, name="conv3")(x)
        return nn.relu(BatchNorm(self.dtype, self.frozen, name="bn4")(x, train=train))


class Slice(nn.Module):
    """One slice of the VGG encoder; ends in a BatchNorm without ReLU."""

    layers: tuple[tuple[int, int, tuple[str, ...]], ...]
    dtype: Any = jnp.float32
    frozen: Frozen = never

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """Apply the slice to `(B, H, W, C)`."""
        for index, features, before in self.layers:
            for step in before:
                x = nn.relu(x) if step == "relu" else max_pool(x)
            x = Conv(features, 3, dtype=self.dtype, name=f"conv{index}")(x)
            x = BatchNorm(self.dtype, self.frozen, name=f"bn{index + 1}")(x, train=train)
        return x


class Bottom(nn.Module):
    """Slice 5: fc6 (dilated by 6) and fc7 as convolutions, without BN or ReLU."""

    features: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """`(B, H, W, C)` to `(B, H, W, features)`."""
        x = _max_of_neighbors(x)
        x = Conv(self.features, 3, dilation=6, dtype=self.dtype, name="conv1")(x)
        return Conv(self.features, 1, dtype=self.dtype, name="conv2")(x)


class Encoder(nn.Module):
    """VGG16-BN up to conv5_2 and slice 5."""

    width: float = 1.0
    dtype: Any = jnp.float32
    remat: bool = False
    frozen: Frozen = never

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> tuple[Array, ...]:
        """Return the skip connections from coarse to fine: fc7, /16, /8, /4, /2."""
        skips = []
        for name, layers in ENCODER.items():
            scaled = tuple((i, scale_channels(c, self.width), before) for i, c, before in layers)
            block = _block(Slice, 2, self.remat)
            x = block(scaled, self.dtype, self.frozen, name=name)(x, train)
            if name != "slice4":
                x = nn.relu(x)
            skips.append(x)
        fc7 = Bottom(scale_channels(1024, self.width), dtype=self.dtype, name="slice5")(x)
        return (fc7, *reversed(skips))


class Head(nn.Module):
    """conv_cls: five convolutions down to the two score maps."""

    width: float = 1.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """`(B, H, W, C)` to `(B, H, W, 2)`."""
        for index, features, size in HEAD:
            last = index == HEAD[-1][0]
            features = features if last else scale_channels(features, self.width)
            x = Conv(features, size, dtype=self.dtype, name=f"conv{index}")(x)
            x = x if last else nn.relu(x)
        return x


class CRAFT(nn.Module):
    """The detector's network.

    Attributes:
        width: multiplies every layer's channels; 1.0 is the original (20,770,466 parameters).
        dtype: dtype of the computation, float32 or bfloat16; parameters and scores are float32.
        remat: keep only activations between blocks for the backward pass and recompute the rest:
            less memory, more time.
        frozen: tells which parameters are not trained; frozen BatchNorm keeps its running
            statistics and normalizes by them.
    """

    width: float = 1.0
    dtype: Any = jnp.float32
    remat: bool = False
    frozen: Frozen = never

    @nn.compact
    def __call__(self, images: Array, *, train: bool = False) -> tuple[Array, Array]:
        """Score images.

        Args:
            images: `(B, H, W, 3)`, RGB, 0 to 255, uint8 or float; H and W at least 16.
            train: normalize by the batch's statistics and update `batch_stats`.

        Returns:
            `(B, H // 2, W // 2, 2)` float32, region and affinity scores (a regression, not clipped
            to [0, 1]); and `(B, H // 2, W // 2, 32)` float32, the features below the last layers.
        """
        if images.ndim != 4 or images.shape[-1] != 3 or min(images.shape[1:3]) < MIN_SIZE:
            raise ValueError(
                f"images of shape {images.shape}: expected (B, H, W, 3) with H and W at least "
                f"{MIN_SIZE}"
            )
        x = normalize(images, dtype=self.dtype)
        encoder = Encoder(self.width, self.dtype, self.remat, self.frozen, name="basenet")
        skips = encoder(x, train=train)
        y = skips[0]
        for (name, (middle, out)), skip in zip(DECODER.items(), skips[1:], strict=True):
            middle, out = scale_channels(middle, self.width), scale_channels(out, self.width)
            block = _block(DoubleConv, 3, self.remat)
            y = block(middle, out, self.dtype, self.frozen, name=name)(y, skip, train)
        scores = Head(self.width, dtype=self.dtype, name="conv_cls")(y)
        return scores.astype(jnp.float32), y.astype(jnp.float32)


def _block(module: Any, train_at: int, remat: bool) -> Any:
    """The module, rematerialized or not; `train_at` is the position of its argument `train`."""
    return nn.remat(module, static_argnums=(train_at,)) if remat else module


def scale_channels(channels: int, width: float) -> int:
    """Return the channels of a layer at a width: a multiple of 8, at least 8."""
    return max(8, round(channels * width / 8) * 8)


Network = CRAFT | LCNetCRAFT


def make_network(
    features: str = "vgg", width: float = 1.0, *, dtype: Any = jnp.float32, remat: bool = False
) -> Network:
    """Make a network.

    Args:
        features: "vgg" for CRAFT; "lcnetv4" for the compact detector, which has only one width.
        width: width of CRAFT.
        dtype: dtype of the computation.
        remat: `remat` of CRAFT.
    """
    return LCNetCRAFT(dtype) if features == "lcnetv4" else CRAFT(width, dtype, remat)


def options_of(variables: Variables) -> dict[str, Any]:
    """Return the arguments `features` and `width` of `make_network` for variables."""
    if "features" in variables["params"]:
        return {"features": "lcnetv4", "width": 1.0}
    return {"features": "vgg", "width": width_of(variables)}


def width_of(variables: Variables) -> float:
    """Return the width of CRAFT from its variables."""
    fc6 = variables["params"]["basenet"]["slice5"]["conv1"]["kernel"]
    return float(fc6.shape[-1] / 1024)


def init_variables(model: Network, *, seed: int = 0) -> dict[str, Any]:
    """Make random variables: Xavier-uniform kernels, zero biases, identity BatchNorm.

    NumPy fills them, since XLA takes seconds to compile one random generator per shape. The same
    seed gives the same values on every platform.

    Returns:
        `{"params": ..., "batch_stats": ...}` of float32 NumPy arrays.
    """
    shapes = jax.eval_shape(
        model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.uint8)
    )
    paths, tree = jax.tree_util.tree_flatten_with_path(shapes)
    leaves = []
    for index, (path, leaf) in enumerate(paths):
        name = path[-1].key
        if name == "kernel":
            kh, kw, cin, cout = leaf.shape
            limit = np.sqrt(6 / ((cin + cout) * kh * kw))
            rng = np.random.default_rng((seed, index))
            leaves.append(rng.uniform(-limit, limit, leaf.shape).astype(np.float32))
        else:
            leaves.append(np.full(leaf.shape, float(name in ("scale", "var")), np.float32))
    variables: dict[str, Any] = jax.tree_util.tree_unflatten(tree, leaves)
    return {"batch_stats": {}, **variables}


def count_parameters(variables: Variables) -> int:
    """Return the number of trained values, without running statistics."""
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree_util.tree_leaves(variables["params"]))
