"""LCNetV4, the features of PP-OCRv6's small networks (Cui et al. 2026, arXiv 2606.13108).

It has a stem that divides both sides by four, then blocks of a depthwise convolution,
squeeze-and-excitation in some of them, and two 1x1 convolutions. Published weights have each
BatchNorm folded into its convolution; for training from scratch the layers have BatchNorm.

An image may be padded on the right. Given its true width, every convolution sees zeros in the
padding and every mean excludes it, so that the result equals that of the unpadded image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial, reduce
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jax import lax

from ocrcore.layers import BATCH_NORM_EPSILON, BatchNorm, Frozen, add_bias, never

Array = jax.Array
Padding = tuple[tuple[int, int], tuple[int, int]]

_REDUCTION = 4  # channel reduction of the squeeze


class Block(NamedTuple):
    """A block of LCNetV4.

    Attributes:
        share: its channels relative to the last block's.
        stride: vertical and horizontal stride.
        excite: whether it has squeeze-and-excitation.
    """

    share: float
    stride: tuple[int, int] = (1, 1)
    excite: bool = False


RECOGNIZER_BLOCKS = (
    *(Block(0.25, excite=True), Block(0.25), Block(0.25)),
    *(Block(0.5, (2, 1)), *(Block(0.5, excite=index % 2 == 0) for index in range(6))),
    *(Block(1, (2, 1)), Block(1, excite=True), Block(1)),
)
"""The blocks of PP-OCRv6's small recognizer."""
DETECTOR_BLOCKS = (
    *(Block(0.125, excite=True), Block(0.125)),
    *(Block(0.25, (2, 2)), Block(0.25, excite=True), Block(0.25)),
    *(Block(0.5, (2, 2)), *(Block(0.5, excite=index % 2 == 0) for index in range(4))),
    *(Block(1, (2, 2)), Block(1, excite=True), Block(1)),
)
"""The blocks of its small detector."""


class Layer(nn.Module):
    """A convolution with a bias or with BatchNorm.

    Attributes:
        features: output channels.
        size: height and width of the kernel.
        stride: vertical and horizontal stride.
        padding: rows of zeros above and below, columns before and after.
        depthwise: whether each channel has its own kernel.
        batch_norm: whether it has BatchNorm instead of a bias.
        frozen: tells which parameters are not trained.
        dtype: dtype of the computation.
    """

    features: int
    size: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: Padding = ((0, 0), (0, 0))
    depthwise: bool = False
    batch_norm: bool = False
    frozen: Frozen = never
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """Map `(B, H, W, C)` to `(B, H', W', features)`."""
        channels = 1 if self.depthwise else x.shape[-1]
        shape = (*self.size, channels, self.features)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape).astype(self.dtype)
        x = x.astype(self.dtype)
        if self.size == (1, 1):
            # As one matrix product, XLA:CPU computes the kernel's gradient faster.
            x = jnp.dot(x.reshape(-1, channels), kernel[0, 0]).reshape(*x.shape[:-1], -1)
        elif jax.default_backend() != "cpu":
            x = _convolve(x, kernel, self.stride, self.padding)
        elif self.depthwise:
            x = depthwise_on_cpu(x, kernel[:, :, 0], self.stride, self.padding)
        else:
            x = convolve_on_cpu(x, kernel, self.stride, self.padding)
        if self.batch_norm:
            norm = BatchNorm(dtype=self.dtype, frozen=self.frozen, name="bn")
            return norm(x, train=train)
        return add_bias(x, self.param("bias", nn.initializers.zeros, (self.features,)))


def _convolve(x: Array, kernel: Array, stride: tuple[int, int], padding: Padding) -> Array:
    """Apply XLA's convolution; the kernel's input channels tell whether it is depthwise."""
    return lax.conv_general_dilated(
        x,
        kernel,
        stride,
        padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1] // kernel.shape[2],
    )


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def convolve_on_cpu(x: Array, kernel: Array, stride: tuple[int, int], padding: Padding) -> Array:
    """Convolve, with the gradient of the kernel computed image by image as a matrix product.

    XLA's own gradient, a convolution with a window as large as the map, is slow on CPUs.

    Args:
        x: `(B, H, W, C)`.
        kernel: `(height, width, C, D)`.
        stride: vertical and horizontal.
        padding: as for `Layer`.

    Returns:
        `(B, H', W', D)`.
    """
    return _convolve(x, kernel, stride, padding)


def _keep_convolved(
    x: Array, kernel: Array, stride: tuple[int, int], padding: Padding
) -> tuple[Array, tuple[Array, Array]]:
    return _convolve(x, kernel, stride, padding), (x, kernel)


def _convolution_gradients(
    stride: tuple[int, int], padding: Padding, saved: tuple[Array, Array], gradient: Array
) -> tuple[Array, Array]:
    x, kernel = saved
    (to_x,) = jax.vjp(lambda x: _convolve(x, kernel, stride, padding), x)[1](gradient)

    def of_image(x: Array, gradient: Array) -> Array:
        parts = jnp.concatenate(list(_shifts(x, kernel.shape, stride, gradient.shape)), -1)
        return jnp.einsum("hwc,hwd->cd", parts, gradient, preferred_element_type=jnp.float32)

    total = _sum_over_images(of_image, _padded(x, padding), gradient)
    return to_x, total.reshape(kernel.shape).astype(kernel.dtype)


convolve_on_cpu.defvjp(_keep_convolved, _convolution_gradients)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def depthwise_on_cpu(x: Array, kernel: Array, stride: tuple[int, int], padding: Padding) -> Array:
    """Convolve depthwise by a sum of shifted products, with gradients of the same kind.

    On CPUs XLA's own depthwise convolution is 15 to 35 times slower.

    Args:
        x: `(B, H, W, C)`.
        kernel: `(height, width, C)`.
        stride: vertical and horizontal.
        padding: as for `Layer`.

    Returns:
        `(B, H', W', C)`.
    """
    return _shifted_sums(_padded(x, padding), kernel, stride)


def _keep_shifted(
    x: Array, kernel: Array, stride: tuple[int, int], padding: Padding
) -> tuple[Array, tuple[Array, Array]]:
    return _shifted_sums(_padded(x, padding), kernel, stride), (x, kernel)


def _depthwise_gradients(
    stride: tuple[int, int], padding: Padding, saved: tuple[Array, Array], gradient: Array
) -> tuple[Array, Array]:
    x, kernel = saved
    sides = []
    for side, axis in enumerate((1, 2)):
        size, step, out = kernel.shape[side], stride[side], gradient.shape[axis]
        low = size - 1 - padding[side][0]
        # Dilate and pad the gradient with zeros, as in a transposed convolution.
        high = x.shape[axis] + size - 1 - low - ((out - 1) * step + 1)
        sides.append((low, high, step - 1))
    spread = lax.pad(gradient, jnp.zeros((), gradient.dtype), ((0, 0, 0), *sides, (0, 0, 0)))
    to_x = _shifted_sums(spread, kernel[::-1, ::-1], (1, 1))

    def of_image(x: Array, gradient: Array) -> Array:
        parts = _shifts(x, kernel.shape, stride, gradient.shape)
        products = (part.astype(jnp.float32) * gradient.astype(jnp.float32) for part in parts)
        return jnp.stack([jnp.sum(product, axis=(0, 1)) for product in products])

    total = _sum_over_images(of_image, _padded(x, padding), gradient)
    return to_x, total.reshape(kernel.shape).astype(kernel.dtype)


depthwise_on_cpu.defvjp(_keep_shifted, _depthwise_gradients)


def _padded(x: Array, padding: Padding) -> Array:
    return jnp.pad(x, ((0, 0), *padding, (0, 0)))


def _shifts(
    x: Array, kernel: Sequence[int], stride: tuple[int, int], out: Sequence[int]
) -> Iterator[Array]:
    """Yield for each kernel position the shifted part, of size `out`, that it multiplies."""
    (down, across), (rows, columns) = stride, out[-3:-1]
    for i in range(kernel[0]):
        part = x[..., i : i + (rows - 1) * down + 1 : down, :, :]
        for j in range(kernel[1]):
            yield part[..., j : j + (columns - 1) * across + 1 : across, :]


def _shifted_sums(x: Array, kernel: Array, stride: tuple[int, int]) -> Array:
    """Convolve `(B, H, W, C)` depthwise with `(height, width, C)`, without padding."""
    sides = zip(x.shape[1:3], kernel.shape[:2], stride, strict=True)
    rows, columns = ((side - size) // step + 1 for side, size, step in sides)
    parts = _shifts(x, kernel.shape, stride, (rows, columns, x.shape[-1]))
    products = [p * k for p, k in zip(parts, kernel.reshape(-1, x.shape[-1]), strict=True)]
    return reduce(jnp.add, products)


def _sum_over_images(of_image: Callable[[Array, Array], Array], x: Array, y: Array) -> Array:
    """Sum `of_image` over the batch in a loop, whose arrays fit the CPU cache."""

    def add(total: Array, image: tuple[Array, Array]) -> tuple[Array, None]:
        return total + of_image(*image), None

    shape = jax.eval_shape(of_image, x[0], y[0])
    return lax.scan(add, jnp.zeros(shape.shape, shape.dtype), (x, y))[0]


def masked(x: Array, widths: Array | None) -> Array:
    """Set the columns of `(B, H, W, C)` beyond `widths` `(B,)` to zero; None changes nothing."""
    if widths is None:
        return x
    inside = jnp.arange(x.shape[2]) < widths[:, None]
    return jnp.where(inside[:, None, :, None], x, 0)


class LCNetV4(nn.Module):
    """Features of an image, coarser from stage to stage.

    Attributes:
        blocks: blocks of the network.
        channels: channels of the last block; 384 in the published network.
        frozen: tells which parameters are not trained.
        dtype: dtype of the computation.
        batch_norm: whether convolutions have BatchNorm instead of a bias; published weights have it
            folded into the bias.
    """

    blocks: Sequence[Block]
    channels: int = 384
    frozen: Frozen = never
    dtype: Any = jnp.float32
    batch_norm: bool = False

    @nn.compact
    def __call__(
        self, x: Array, widths: Array | None = None, *, train: bool
    ) -> tuple[list[Array], Array | None]:
        """Compute the features.

        Args:
            x: `(B, H, W, C)`, values from -1 to 1.
            widths: `(B,)`, widths without padding; None reads all columns.
            train: normalize by the batch's statistics.

        Returns:
            For each stage `(B, H', W', C')`: the first at a quarter of the image size, the others
            divided further by the strides of their first block; and the widths in the last stage.
        """

        def layer(name: str, features: int, size: int, x: Array, **options: Any) -> Array:
            made = Layer(
                features,
                (size, size),
                batch_norm=self.batch_norm,
                frozen=self.frozen,
                dtype=self.dtype,
                name=name,
                **options,
            )
            return made(x, train=train)

        first = round(self.channels * self.blocks[0].share)
        stem = first // 2
        same, after = ((1, 1), (1, 1)), ((0, 1), (0, 1))
        x = masked(x, widths)
        x = nn.relu(layer("stem1", stem, 3, x, stride=(2, 2), padding=same))
        widths = _halved(widths)
        x = masked(x, widths)
        y = nn.relu(layer("stem2a", stem // 2, 2, x, padding=after))
        y = nn.relu(layer("stem2b", stem, 2, masked(y, widths), padding=after))
        x = jnp.concatenate([_pooled(x), y], axis=-1)
        x = nn.relu(layer("stem3", stem, 3, masked(x, widths), stride=(2, 2), padding=same))
        widths = _halved(widths)
        x = nn.relu(layer("stem4", first, 1, x))
        stages = []
        for index, block in enumerate(self.blocks):
            features, before = round(self.channels * block.share), x.shape[-1]
            name = f"block{index}"
            if block.stride != (1, 1):
                stages.append(x)
            x = masked(x, widths)
            shape = {"stride": block.stride, "padding": same}
            y = layer(f"{name}_depthwise", before, 3, x, depthwise=True, **shape)
            widths = _halved(widths) if block.stride[1] == 2 else widths
            if self.batch_norm and block.stride == (1, 1):
                y = y + x  # an identity branch, which `fold_batch_norm` adds to the kernel
            if block.excite:
                y = y * self._excitation(name, y, widths)
            expanded = nn.gelu(layer(f"{name}_expand", 2 * before, 1, y), approximate=False)
            x = layer(f"{name}_project", features, 1, expanded)
            if features == before:
                x = x + y
        return [*stages, x], widths

    def _excitation(self, name: str, x: Array, widths: Array | None) -> Array:
        """Return channel factors `(B, 1, 1, C)` by squeeze-and-excitation."""
        channels = x.shape[-1]
        y = masked(x, widths).astype(jnp.float32)
        columns: Any = x.shape[2] if widths is None else widths[:, None, None, None]
        y = jnp.sum(y, axis=(1, 2), keepdims=True) / (x.shape[1] * columns)

        def layer(what: str, features: int, x: Array) -> Array:
            made = Layer(features, dtype=self.dtype, frozen=self.frozen, name=f"{name}_{what}")
            return made(x, train=False)

        y = nn.relu(layer("squeeze", channels // _REDUCTION, y))
        return nn.hard_sigmoid(layer("excite", channels, y)).astype(self.dtype)


def _halved(widths: Array | None) -> Array | None:
    return None if widths is None else (widths + 1) // 2


def _pooled(x: Array) -> Array:
    """Max-pool 2x2 with stride 1, padded with zeros after the last row and column.

    Values are nonnegative, so the zeros never win.
    """
    x = jnp.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)))
    x = jnp.maximum(x[:, :-1], x[:, 1:])
    return jnp.maximum(x[:, :, :-1], x[:, :, 1:])


def fold_batch_norm(
    variables: Mapping[str, Any], blocks: Sequence[Block] = RECOGNIZER_BLOCKS
) -> dict[str, Any]:
    """Fold each BatchNorm into its convolution: same results, without running statistics.

    Args:
        variables: variables of a network with an `LCNetV4`; returned unchanged if they have no
            BatchNorm.
        blocks: blocks of the `LCNetV4`.

    Returns:
        `{"params": ..., "batch_stats": {}}` of float32 NumPy arrays.
    """
    flat = flatten_dict(variables["params"])
    stats = flatten_dict(variables.get("batch_stats", {}))
    found = {path: np.asarray(value, np.float32) for path, value in flat.items()}
    for path in [path[:-2] for path in flat if path[-2:] == ("bn", "scale")]:
        scale, shift = found.pop((*path, "bn", "scale")), found.pop((*path, "bn", "bias"))
        variance = np.asarray(stats[(*path, "bn", "var")], np.float32)
        factor = scale / np.sqrt(variance + np.float32(BATCH_NORM_EPSILON))
        kernel = found[(*path, "kernel")] * factor
        index, _, what = path[-1].removeprefix("block").partition("_")
        if what == "depthwise" and blocks[int(index)].stride == (1, 1):
            kernel[1, 1] += 1
        found[(*path, "kernel")] = kernel
        found[(*path, "bias")] = shift - np.asarray(stats[(*path, "bn", "mean")]) * factor
    return {"params": unflatten_dict(found), "batch_stats": {}}
